//! Errors as Atlas answers them: one table from situations to status, `errorCode` and text.

use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use tidemark_catalog::{CatalogError, DatabaseError};
use tidemark_model::{InstanceId, OplogTime, ProjectId, format_instant};

/// An error answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) detail: String,
    pub(crate) parameters: Vec<Value>,
    /// What is wrong with which attribute, where that is said one by one.
    pub(crate) violations: Box<[Violation]>,
    /// When to try again, in seconds.
    pub(crate) retry_after: Option<u64>,
    /// What the recorded text does not say: what to do. Sent as a header, so that bodies stay as
    /// the real service writes them.
    pub(crate) hint: Option<Box<str>>,
}

/// What is wrong with one attribute of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The attribute.
    pub(crate) field: String,
    /// What is wrong.
    pub(crate) description: String,
}

pub(crate) type Result<T> = std::result::Result<T, ApiError>;

fn error(
    status: StatusCode,
    code: &'static str,
    detail: impl Into<String>,
    parameters: &[&str],
) -> ApiError {
    let parameters = parameters.iter().map(|parameter| Value::from(*parameter)).collect();
    ApiError {
        status,
        code,
        detail: detail.into(),
        parameters,
        violations: Box::default(),
        retry_after: None,
        hint: None,
    }
}

const BAD: StatusCode = StatusCode::BAD_REQUEST;
const NOT_FOUND: StatusCode = StatusCode::NOT_FOUND;
const CONFLICT: StatusCode = StatusCode::CONFLICT;
const UNAUTHORIZED: StatusCode = StatusCode::UNAUTHORIZED;
const FORBIDDEN: StatusCode = StatusCode::FORBIDDEN;
/// Seconds after which a server that is busy may be asked again.
const BUSY_SECONDS: u64 = 5;

/// The shortest password of a database user, in characters.
pub(crate) const SHORTEST_PASSWORD: usize = 8;

impl ApiError {
    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into().into_boxed_str()), ..self }
    }

    pub(crate) fn body(&self) -> Value {
        let mut body = json!({
            "detail": self.detail,
            "error": self.status.as_u16(),
            "errorCode": self.code,
            "parameters": self.parameters,
            "reason": self.status.canonical_reason().unwrap_or("Error"),
        });
        if let (false, Some(body)) = (self.violations.is_empty(), body.as_object_mut()) {
            let fields: Vec<Value> = self
                .violations
                .iter()
                .map(|violation| {
                    json!({ "description": violation.description, "field": violation.field })
                })
                .collect();
            body.insert("badRequestDetail".to_owned(), json!({ "fields": fields }));
        }
        body
    }

    /// The errors of a body that were found together.
    pub(crate) fn validation(violations: Vec<Violation>) -> Self {
        let detail = "The request content produced validation errors.";
        Self { violations: violations.into_boxed_slice(), ..error(BAD, "BAD_REQUEST", detail, &[]) }
    }

    pub(crate) fn unexpected() -> Self {
        error(StatusCode::INTERNAL_SERVER_ERROR, "UNEXPECTED_ERROR", "Unexpected error.", &[])
    }

    /// Nothing was done, or it is not known whether it was.
    pub(crate) fn records_away() -> Self {
        let detail = "The records of this server cannot be reached at the moment; try again.";
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self {
            retry_after: Some(BUSY_SECONDS),
            ..error(status, "SERVICE_UNAVAILABLE", detail, &[])
        }
    }

    pub(crate) fn out_of_time() -> Self {
        let detail = "The request took too long; it may still be carried out.";
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self {
            retry_after: Some(BUSY_SECONDS),
            ..error(status, "SERVICE_UNAVAILABLE", detail, &[])
        }
    }

    pub(crate) fn invalid_version() -> Self {
        let detail = "Invalid accept header or version date.";
        let hint = "send a header as `Accept: application/vnd.atlas.2024-08-05+json`";
        error(StatusCode::NOT_ACCEPTABLE, "INVALID_VERSION_DATE", detail, &[]).with_hint(hint)
    }

    pub(crate) fn version_gone(version: &str, path: &str) -> Self {
        let path = path.trim_start_matches('/');
        let detail = format!("Version {version} of {path} is no longer available.");
        error(StatusCode::GONE, "VERSION_GONE", detail, &[version, path])
    }

    pub(crate) fn unknown_route(path: &str) -> Self {
        error(NOT_FOUND, "RESOURCE_NOT_FOUND", format!("Cannot find resource {path}."), &[path])
    }

    pub(crate) fn unsupported_media_type(given: &str) -> Self {
        let detail = format!("Content type {given} is not supported; send application/json.");
        error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", detail, &[given])
    }

    pub(crate) fn body_too_large(limit: usize) -> Self {
        let limit = limit.to_string();
        let detail = format!("The request body is larger than {limit} bytes.");
        error(StatusCode::PAYLOAD_TOO_LARGE, "REQUEST_TOO_LARGE", detail, &[&limit])
    }

    pub(crate) fn not_authorized() -> Self {
        let detail = "Current user is not authorized to perform this action.";
        error(UNAUTHORIZED, "USER_UNAUTHORIZED", detail, &[])
    }

    pub(crate) fn not_in_group() -> Self {
        let detail = "The current user is not in the group, or the group does not exist.";
        error(UNAUTHORIZED, "NOT_IN_GROUP", detail, &[])
    }

    pub(crate) fn cannot_restore_to_target() -> Self {
        let detail =
            "Cannot restore with insufficient permission on source snapshot or target cluster.";
        error(FORBIDDEN, "CANNOT_RESTORE_TO_TARGET", detail, &[])
    }

    pub(crate) fn invalid_group_id(id: &str) -> Self {
        error(
            NOT_FOUND,
            "INVALID_GROUP_ID",
            format!("An invalid group ID {id} was specified."),
            &[id],
        )
    }

    pub(crate) fn invalid_org_id(id: &str) -> Self {
        error(
            NOT_FOUND,
            "INVALID_ORG_ID",
            format!("An invalid organization ID {id} was specified."),
            &[id],
        )
    }

    pub(crate) fn invalid_snapshot_id(id: &str) -> Self {
        error(
            NOT_FOUND,
            "INVALID_SNAPSHOT_ID",
            format!("An invalid snapshot ID {id} was specified."),
            &[id],
        )
    }

    pub(crate) fn invalid_job_id(id: &str) -> Self {
        error(
            NOT_FOUND,
            "INVALID_JOB_ID",
            format!("An invalid restore job ID {id} was specified."),
            &[id],
        )
    }

    pub(crate) fn group_not_found(id: ProjectId) -> Self {
        let id = id.to_string();
        error(NOT_FOUND, "GROUP_NOT_FOUND", format!("No group with ID {id} exists."), &[&id])
    }

    pub(crate) fn org_not_found(id: &str) -> Self {
        error(NOT_FOUND, "ORG_NOT_FOUND", format!("No organization with ID {id} exists."), &[id])
    }

    pub(crate) fn cluster_not_found(name: &str, project: ProjectId) -> Self {
        let project = project.to_string();
        let detail = format!("No cluster named {name} exists in group {project}.");
        error(NOT_FOUND, "CLUSTER_NOT_FOUND", detail, &[name, &project])
    }

    pub(crate) fn snapshot_not_found(id: &str, cluster: &str) -> Self {
        let detail = format!("No snapshot with ID {id} exists for cluster {cluster}.");
        error(NOT_FOUND, "SNAPSHOT_NOT_FOUND", detail, &[id, cluster])
    }

    pub(crate) fn event_not_found(id: &str) -> Self {
        error(NOT_FOUND, "EVENT_NOT_FOUND", format!("No event with ID {id} exists."), &[id])
    }

    pub(crate) fn restore_job_not_found(id: &str, cluster: &str) -> Self {
        let detail = format!("No restore job with ID {id} exists for cluster {cluster}.");
        error(NOT_FOUND, "RESTORE_JOB_NOT_FOUND", detail, &[id, cluster])
    }

    pub(crate) fn username_not_found(name: &str) -> Self {
        error(
            NOT_FOUND,
            "USERNAME_NOT_FOUND",
            format!("No user with username {name} exists."),
            &[name],
        )
    }

    /// An attribute that is given twice: either value could be the one that was meant.
    pub(crate) fn duplicate_json_key(key: &str) -> Self {
        let violation = Violation {
            field: key.to_owned(),
            description: "The attribute is given more than once.".to_owned(),
        };
        Self { violations: Box::new([violation]), ..Self::malformed_json() }
    }

    pub(crate) fn malformed_json() -> Self {
        error(BAD, "MALFORMED_JSON", "Received JSON is malformed.", &[])
    }

    pub(crate) fn invalid_json() -> Self {
        error(BAD, "INVALID_JSON", "Received JSON does not match expected format.", &[])
    }

    pub(crate) fn invalid_json_attribute(name: &str) -> Self {
        let detail =
            format!("Received JSON for the {name} attribute does not match expected format.");
        error(BAD, "INVALID_JSON_ATTRIBUTE", detail, &[name])
    }

    pub(crate) fn invalid_attribute(name: &str) -> Self {
        error(BAD, "INVALID_ATTRIBUTE", format!("Invalid attribute {name} specified."), &[name])
    }

    pub(crate) fn missing_attribute(name: &str) -> Self {
        let detail = format!("The required attribute {name} was not specified.");
        error(BAD, "MISSING_ATTRIBUTE", detail, &[name])
    }

    pub(crate) fn missing_one_of(first: &str, second: &str) -> Self {
        let detail =
            format!("Either the {first} attribute or the {second} attribute must be specified.");
        error(BAD, "MISSING_ONE_OF_ATTRIBUTES", detail, &[first, second])
    }

    pub(crate) fn invalid_enum_value(value: &str) -> Self {
        error(
            BAD,
            "INVALID_ENUM_VALUE",
            format!("An invalid enumeration value {value} was specified."),
            &[value],
        )
    }

    pub(crate) fn invalid_query_parameter(name: &str) -> Self {
        error(
            BAD,
            "INVALID_QUERY_PARAMETER",
            format!("Invalid query parameter {name} specified."),
            &[name],
        )
    }

    pub(crate) fn invalid_group_name(name: &str) -> Self {
        error(
            BAD,
            "INVALID_GROUP_NAME",
            format!("An invalid group name \"{name}\" was specified."),
            &[name],
        )
    }

    pub(crate) fn group_already_exists(name: &str) -> Self {
        error(
            CONFLICT,
            "GROUP_ALREADY_EXISTS",
            format!("A group with name \"{name}\" already exists."),
            &[name],
        )
    }

    pub(crate) fn group_has_clusters() -> Self {
        let detail =
            "Cannot close group while it has active clusters; please terminate all clusters.";
        error(CONFLICT, "CANNOT_CLOSE_GROUP_ACTIVE_ATLAS_CLUSTERS", detail, &[])
    }

    pub(crate) fn cluster_name_invalid(name: &str) -> Self {
        let detail = format!(
            "The cluster name {name} is invalid. The name can only contain ASCII letters, numbers, and hyphens."
        );
        error(BAD, "CLUSTER_NAME_INVALID", detail, &[name])
    }

    pub(crate) fn cluster_name_too_long(name: &str, limit: usize) -> Self {
        let limit = limit.to_string();
        let detail = format!("Cluster name {name} is limited to {limit} characters.");
        error(BAD, "CLUSTER_NAME_TOO_LONG", detail, &[name, &limit])
    }

    pub(crate) fn duplicate_cluster_name(name: &str, project: ProjectId) -> Self {
        let project = project.to_string();
        let detail = format!(
            "A cluster or serverless instance named {name} is already present in group {project}."
        );
        error(
            BAD,
            "DUPLICATE_CLUSTER_NAME",
            detail,
            &["cluster or serverless instance", name, &project],
        )
    }

    pub(crate) fn already_deleting(name: &str) -> Self {
        let detail = format!("The cluster {name} has already been requested for deletion.");
        error(BAD, "CLUSTER_ALREADY_REQUESTED_DELETION", detail, &[name])
    }

    pub(crate) fn termination_protected(name: &str, project: ProjectId) -> Self {
        let detail = "Cannot terminate a cluster when termination protection is enabled. Disable termination protection and try again.";
        let parameter = format!(
            "Cannot terminate cluster {name} in group {project} because termination protection is enabled. Disable termination protection and try again."
        );
        error(
            BAD,
            "CANNOT_TERMINATE_CLUSTER_WHEN_TERMINATION_PROTECTION_ENABLED",
            detail,
            &[&parameter],
        )
    }

    pub(crate) fn not_updatable(what: &str) -> Self {
        error(BAD, "ATLAS_GENERAL_ERROR", format!("Reason: {what}."), &[what])
    }

    pub(crate) fn restore_in_progress() -> Self {
        let detail = "The update can not succeed because cluster restore is in progress. Please try again once the restore is finished.";
        error(BAD, "CLUSTER_RESTORE_IN_PROGRESS_CANNOT_UPDATE", detail, &[])
    }

    pub(crate) fn target_unavailable() -> Self {
        let detail =
            "The target cluster for the tenant restore is currently unavailable. Please try again.";
        error(BAD, "TENANT_RESTORE_DESTINATION_UNAVAILABLE", detail, &[])
    }

    /// The recorded text, and after it the nearest moments that can be restored.
    pub(crate) fn invalid_restore_time(
        attribute: &str,
        nearest: (Option<OplogTime>, Option<OplogTime>),
    ) -> Self {
        let say = |at: OplogTime| format!("{}, increment {}", at.seconds, at.increment);
        let nearest = match nearest {
            (None, None) => String::new(),
            (Some(at), None) | (None, Some(at)) => {
                format!(" The nearest moment that can be restored is ts {}.", say(at))
            }
            (Some(before), Some(after)) => format!(
                " The nearest moments that can be restored are ts {} and ts {}.",
                say(before),
                say(after)
            ),
        };
        let detail = format!("Please provide a valid UTC time or an operation time (ts).{nearest}");
        error(BAD, "INVALID_PIT_RESTORE_TIME", detail, &[attribute])
    }

    pub(crate) fn last_org_owner() -> Self {
        let detail = "This is the last credential of an owner of the organization; give ORG_OWNER to another API key or service account first.";
        error(CONFLICT, "CANNOT_REMOVE_LAST_ORG_OWNER", detail, &[])
    }

    pub(crate) fn deployment_not_found(name: &str, project: ProjectId) -> Self {
        let detail = format!("No deployment named {name} is attached to group {project}.");
        error(NOT_FOUND, "DEPLOYMENT_NOT_FOUND", detail, &[name])
    }

    pub(crate) fn invalid_namespaces(reason: &str) -> Self {
        error(
            BAD,
            "INVALID_NAMESPACES",
            format!("The namespaces cannot be restored so: {reason}."),
            &[],
        )
    }

    pub(crate) fn alert_channel_not_found(name: &str) -> Self {
        let detail = format!("No alert channel named {name} is configured.");
        error(NOT_FOUND, "ALERT_CHANNEL_NOT_FOUND", detail, &[name])
    }

    pub(crate) fn alert_not_sent(reason: &str) -> Self {
        let detail = format!("The alert did not arrive: {reason}.");
        error(StatusCode::BAD_GATEWAY, "ALERT_NOT_SENT", detail, &[])
    }

    pub(crate) fn invalid_schedule(reason: &str) -> Self {
        let detail = format!("There cannot be such a schedule: {reason}.");
        error(BAD, "INVALID_SCHEDULE", detail, &[])
    }

    pub(crate) fn invalid_documents(reason: &str) -> Self {
        let detail = format!("The documents cannot be restored so: {reason}.");
        error(BAD, "INVALID_DOCUMENTS", detail, &[])
    }

    pub(crate) fn cannot_rehearse(reason: &str) -> Self {
        error(BAD, "CANNOT_PLAN_RESTORE", format!("The restore cannot be planned: {reason}."), &[])
    }

    pub(crate) fn invalid_drill(reason: &str) -> Self {
        error(BAD, "INVALID_DRILL", format!("The drill cannot be done so: {reason}."), &[])
    }

    pub(crate) fn drill_not_now(reason: &str) -> Self {
        error(StatusCode::CONFLICT, "DRILL_NOT_POSSIBLE", format!("Not now: {reason}."), &[])
    }

    pub(crate) fn drill_not_found(id: &str, instance: &str) -> Self {
        let detail = format!("No drill with ID {id} exists for cluster {instance}.");
        error(StatusCode::NOT_FOUND, "DRILL_NOT_FOUND", detail, &[])
    }

    pub(crate) fn cannot_inspect(reason: &str) -> Self {
        error(
            BAD,
            "CANNOT_LOOK_INTO_BACKUP",
            format!("The backup cannot be looked into: {reason}."),
            &[],
        )
    }

    pub(crate) fn cannot_inspect_now(reason: &str) -> Self {
        let detail = format!("The backup cannot be looked into now: {reason}.");
        error(StatusCode::SERVICE_UNAVAILABLE, "BACKUP_NOT_READABLE", detail, &[])
    }

    pub(crate) fn deployment_unreachable(reason: &str) -> Self {
        let detail = format!("The deployment could not be looked at: {reason}.");
        error(BAD, "DEPLOYMENT_UNREACHABLE", detail, &[])
    }

    pub(crate) fn no_place(reason: &str) -> Self {
        let detail = format!("The instance cannot be kept where the configuration says: {reason}.");
        error(CONFLICT, "CANNOT_PLACE_INSTANCE", detail, &[])
    }

    pub(crate) fn holds_other_instances(name: &str) -> Self {
        let detail = format!(
            "Other instances are kept on the deployment {name}; delete them, or detach them to leave their data there."
        );
        error(CONFLICT, "DEPLOYMENT_HOLDS_INSTANCES", detail, &[name])
    }

    pub(crate) fn part_of_deployment(name: &str, host: &str) -> Self {
        let detail = format!(
            "{name} is a part of the deployment {host} and reached as that is; change that one."
        );
        error(BAD, "INSTANCE_IS_PART_OF_DEPLOYMENT", detail, &[name])
    }

    pub(crate) fn no_port_left(ports: usize) -> Self {
        let detail = format!(
            "This server has ports for {ports} instances and all are in use; delete one or widen the range from instances.first_port to instances.last_port."
        );
        error(CONFLICT, "NO_INSTANCE_PORT_LEFT", detail, &[])
    }

    pub(crate) fn snapshot_incomplete() -> Self {
        let detail = "Cannot start restore job for incomplete cluster snapshot.";
        error(CONFLICT, "CANNOT_START_RESTORE_JOB_FOR_INCOMPLETE_CLUSTER_SNAPSHOT", detail, &[])
    }

    pub(crate) fn download_incomplete() -> Self {
        let detail = "Cannot download incomplete cluster snapshot.";
        error(CONFLICT, "CANNOT_DOWNLOAD_INCOMPLETE_SNAPSHOT", detail, &[])
    }

    pub(crate) fn snapshot_in_progress(id: &str) -> Self {
        let detail = format!("Cannot delete an in progress snapshot {id}.");
        error(BAD, "CANNOT_DELETE_IN_PROGRESS_SNAPSHOT", detail, &[id])
    }

    pub(crate) fn snapshot_kept(id: &str, until: Timestamp) -> Self {
        let until = format_instant(until);
        let detail = format!("Cannot delete snapshot {id} before {until}: the vault is immutable.");
        error(CONFLICT, "CANNOT_DELETE_KEPT_SNAPSHOT", detail, &[id, &until])
    }

    pub(crate) fn unfinished_snapshot() -> Self {
        let detail = "Another on-demand snapshot is queued or in progress.";
        error(BAD, "UNFINISHED_ON_DEMAND_SNAPSHOT", detail, &[])
    }

    pub(crate) fn retention_invalid() -> Self {
        error(
            BAD,
            "BACKUP_SNAPSHOT_RETENTION_VALUE_INVALID",
            "Retention value of snapshot is invalid.",
            &["retentionInDays"],
        )
    }

    pub(crate) fn automated_restore_not_cancellable() -> Self {
        let detail = "Automated restore cannot be cancelled.";
        error(BAD, "CANNOT_CANCEL_AUTOMATED_RESTORE", detail, &[])
    }

    pub(crate) fn retention_unchangeable() -> Self {
        let detail = "Snapshot retention can only be modified once it is completed.";
        error(BAD, "CANNOT_MODIFY_IN_PROGRESS_SNAPSHOT_RETENTION", detail, &[])
    }

    pub(crate) fn no_backup_schedule(cluster: InstanceId, project: ProjectId) -> Self {
        let (cluster, project) = (cluster.to_string(), project.to_string());
        let detail =
            format!("No backup configuration exists for cluster {cluster} in group {project}.");
        error(NOT_FOUND, "BACKUP_CONFIG_NOT_FOUND", detail, &[&cluster, &project])
    }

    pub(crate) fn several_policies() -> Self {
        error(BAD, "INVALID_NUM_OF_POLICIES", "Must have exactly one policy.", &[])
    }

    pub(crate) fn no_policy_items() -> Self {
        error(BAD, "INVALID_NUM_OF_POLICY_ITEMS", "Must have at least one policy item.", &[])
    }

    pub(crate) fn invalid_policy_id(id: &str) -> Self {
        error(BAD, "INVALID_POLICY_ID", format!("The policy id {id} is invalid."), &[id])
    }

    pub(crate) fn invalid_policy_item_id(id: &str) -> Self {
        let detail = format!("The policy item id {id} is invalid.");
        error(BAD, "INVALID_POLICY_ITEM_ID", detail, &[id])
    }

    pub(crate) fn policy_item_frequency_is_fixed(id: &str) -> Self {
        let detail = format!("The frequency type of policy item {id} cannot be changed.");
        error(BAD, "INVALID_FREQUENCY_TYPE_CHANGE", detail, &[id])
    }

    pub(crate) fn invalid_backup_policy(reason: &str) -> Self {
        let detail = format!("The backup policy is invalid: {reason}.");
        error(BAD, "INVALID_BACKUP_POLICY", detail, &[reason])
    }

    pub(crate) fn invalid_reference_hour() -> Self {
        let detail = "The reference hour of the day must be between 0 and 23.";
        error(BAD, "INVALID_REFERENCE_HOUR_OF_DAY", detail, &[])
    }

    pub(crate) fn invalid_reference_minute() -> Self {
        let detail = "The reference minute of the hour must be between 0 and 59.";
        error(BAD, "INVALID_REFERENCE_MINUTE_OF_HOUR", detail, &[])
    }

    pub(crate) fn invalid_restore_window() -> Self {
        let detail = "The restore window must be a positive number of days.";
        error(BAD, "INVALID_RESTORE_WINDOW", detail, &[])
    }

    /// An attribute of the real service for something that this one does not do.
    pub(crate) fn attribute_not_offered(attribute: &str) -> Self {
        let detail = format!("{attribute} is not offered by this service.");
        error(BAD, "FEATURE_UNSUPPORTED", detail, &[attribute])
    }

    pub(crate) fn not_cancellable(state: &str) -> Self {
        let detail = format!("The restore job is {state} and cannot be cancelled any more.");
        error(CONFLICT, "RESTORE_JOB_NOT_CANCELLABLE", detail, &[state])
    }

    pub(crate) fn user_already_exists(name: &str) -> Self {
        error(
            CONFLICT,
            "USER_ALREADY_EXISTS",
            format!("A user with username {name} already exists."),
            &[name],
        )
    }

    pub(crate) fn invalid_username(name: &str) -> Self {
        let detail =
            format!("The specified username {name} is not valid for an Atlas database user.");
        error(BAD, "ATLAS_INVALID_USERNAME", detail, &[name])
    }

    pub(crate) fn invalid_role(role: &str, database: &str) -> Self {
        let detail = format!("The specified role {role}@{database} does not exist.");
        error(BAD, "ATLAS_INVALID_ROLE", detail, &[role, database])
    }

    pub(crate) fn rate_limited(
        path: &str,
        (capacity, refill, seconds): (u64, u64, u64),
        retry_after: u64,
    ) -> Self {
        let path = path.trim_start_matches('/');
        let detail = format!(
            "Rate limit exceeded for {path}. Please retry after {retry_after} seconds. Request capacity: {capacity}. Refill rate: {refill} per {seconds} seconds. For more information, see: http://dochub.mongodb.org/core/atlas-api-rate-limit."
        );
        Self {
            parameters: vec![
                path.into(),
                retry_after.into(),
                capacity.into(),
                refill.into(),
                seconds.into(),
            ],
            retry_after: Some(retry_after),
            ..error(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED_TOKEN_BUCKET", detail, &[])
        }
    }

    pub(crate) fn too_many_attempts() -> Self {
        Self {
            retry_after: Some(10),
            ..error(
                StatusCode::TOO_MANY_REQUESTS,
                "RATE_LIMITED",
                "Too many requests with wrong credentials came from this address or for this key. Try again later."
                    .to_owned(),
                &[],
            )
        }
    }

    pub(crate) fn not_in_dev_mode() -> Self {
        let detail = "The server does not run in development mode; start it with --dev.";
        error(FORBIDDEN, "NOT_IN_DEV_MODE", detail, &[])
    }

    pub(crate) fn invalid_seed(reason: &str) -> Self {
        let detail = format!("The seed cannot be used: {reason}.");
        error(BAD, "INVALID_SEED", detail, &[reason])
    }

    pub(crate) fn not_offered(id: &str) -> Self {
        let detail = format!("{id} is not offered by this service.");
        error(FORBIDDEN, "FEATURE_UNSUPPORTED", detail, &[id])
    }

    pub(crate) fn address_not_allowed(address: &str) -> Self {
        let detail = format!("IP address {address} is not allowed to access this resource.");
        error(FORBIDDEN, "IP_ADDRESS_NOT_ON_ACCESS_LIST", detail, &[address])
    }

    pub(crate) fn org_requires_access_list() -> Self {
        let detail = "This organization requires access through a whitelist of ip ranges.";
        error(FORBIDDEN, "ORG_REQUIRES_WHITELIST", detail, &[])
    }

    pub(crate) fn cannot_access_org() -> Self {
        error(UNAUTHORIZED, "USER_CANNOT_ACCESS_ORG", "User cannot access this organization.", &[])
    }

    pub(crate) fn not_group_creator(org: &str) -> Self {
        let detail = format!(
            "The currently logged in user does not have the group creator role in organization {org}."
        );
        error(UNAUTHORIZED, "NOT_ORG_GROUP_CREATOR", detail, &[org])
    }

    pub(crate) fn access_list_denied() -> Self {
        let detail =
            "API key whitelists are only accessible by the API key or by a user administrator.";
        error(UNAUTHORIZED, "API_KEY_WHITELIST_ACCESS_DENIED", detail, &[])
    }

    pub(crate) fn invalid_key_id(id: &str) -> Self {
        let detail = format!("An invalid API key ID {id} was specified.");
        error(NOT_FOUND, "INVALID_KEY_ID", detail, &[id])
    }

    pub(crate) fn api_key_not_found(id: &str) -> Self {
        error(BAD, "API_KEY_NOT_FOUND", format!("No API key with ID {id} exists."), &[id])
    }

    pub(crate) fn service_account_not_found(id: &str) -> Self {
        let detail = format!("Cannot find resource service account {id}.");
        error(NOT_FOUND, "RESOURCE_NOT_FOUND", detail, &[&format!("service account {id}")])
    }

    pub(crate) fn secret_not_found(id: &str) -> Self {
        let detail = format!("Cannot find resource secret {id}.");
        error(NOT_FOUND, "RESOURCE_NOT_FOUND", detail, &[&format!("secret {id}")])
    }

    pub(crate) fn too_many_secrets(limit: u32) -> Self {
        let description =
            format!("A service account has at most {limit} active secrets; delete one first.");
        Self::validation(vec![Violation { field: "secrets".to_owned(), description }])
    }

    pub(crate) fn rate_limit_set_not_found(id: &str) -> Self {
        let detail = format!("Cannot find resource rate limit endpoint set {id}.");
        error(NOT_FOUND, "RESOURCE_NOT_FOUND", detail, &[&format!("rate limit endpoint set {id}")])
    }

    pub(crate) fn api_key_needs_description() -> Self {
        let detail = "All API keys require a non-empty description.";
        error(BAD, "API_KEY_REQUIRES_DESCRIPTION", detail, &[])
    }

    pub(crate) fn api_key_description_too_long(limit: usize) -> Self {
        let limit = limit.to_string();
        let detail =
            format!("API key descriptions are required and must be less than {limit} characters.");
        error(BAD, "INVALID_API_KEY_DESC", detail, &[&limit])
    }

    pub(crate) fn api_key_needs_roles() -> Self {
        error(BAD, "MISSING_API_KEY_ROLES", "API keys must have at least one role.", &[])
    }

    pub(crate) fn role_invalid_for_org(role: &str, org: &str) -> Self {
        let detail = format!("Role {role} invalid for organization {org}.");
        error(BAD, "INVALID_ROLE_FOR_ORG", detail, &[role, org])
    }

    pub(crate) fn role_invalid_for_group(role: &str, group: &str) -> Self {
        let detail = format!("Role {role} is invalid for group {group}.");
        error(BAD, "INVALID_ROLE_FOR_GROUP", detail, &[role, group])
    }

    pub(crate) fn access_entry_not_found(address: &str, key: &str) -> Self {
        let detail = format!("IP address {address} not on whitelist for API key {key}.");
        error(NOT_FOUND, "API_KEY_WHITELIST_NOT_FOUND", detail, &[address, key])
    }

    pub(crate) fn cannot_remove_caller(address: &str) -> Self {
        let detail = format!("Cannot remove caller's IP address {address} from whitelist.");
        error(BAD, "CANNOT_REMOVE_CALLER_FROM_WHITELIST", detail, &[address])
    }

    pub(crate) fn invalid_address(text: &str) -> Self {
        let detail = format!("The address {text} must be in valid IP address or CIDR notation.");
        error(BAD, "INVALID_IP_ADDRESS_OR_CIDR_NOTATION", detail, &[text])
    }

    pub(crate) fn invalid_cidr_block(text: &str) -> Self {
        let detail = format!("The CIDR block {text} must be in valid CIDR notation.");
        error(BAD, "INVALID_CIDR_BLOCK", detail, &[text])
    }

    pub(crate) fn several_network_values() -> Self {
        let detail = "Should not specify both the IP address and the CIDR block.";
        error(BAD, "MULTIPLE_VALUES_SPECIFIED_FOR_ONE_NETWORK_PERMISSION_ENTRY", detail, &[])
    }

    pub(crate) fn duplicate_addresses() -> Self {
        let detail = "Two or more of the IP addresses being added to the whitelist are the same.";
        error(BAD, "DUPLICATE_ADDRESSES_IN_INPUT", detail, &[])
    }

    pub(crate) fn network_comment_too_long(comment: &str) -> Self {
        let detail = format!("The comment {comment} must be 80 characters or less.");
        error(BAD, "INVALID_NETWORK_PERMISSION_COMMENT", detail, &[comment])
    }

    pub(crate) fn network_entry_not_found(value: &str, group: ProjectId) -> Self {
        let group = group.to_string();
        let detail = format!("IP Address {value} not on Atlas whitelist for group {group}.");
        error(NOT_FOUND, "ATLAS_NETWORK_PERMISSION_ENTRY_NOT_FOUND", detail, &[value, &group])
    }

    pub(crate) fn too_many_network_entries(limit: i64) -> Self {
        let limit = limit.to_string();
        let detail =
            format!("Too many network permission entries. Only {limit} entries are supported.");
        error(FORBIDDEN, "ATLAS_NETWORK_PERMISSIONS_LIMIT_EXCEEDED", detail, &[&limit])
    }

    pub(crate) fn network_expiration_unsupported() -> Self {
        let detail = "Expiration dates are only supported for IP addresses.";
        error(BAD, "NETWORK_PERMISSION_EXPIRATION_NOT_SUPPORTED", detail, &[])
    }

    pub(crate) fn invalid_date(text: &str) -> Self {
        let detail = format!("An invalid date value {text} was specified.");
        error(BAD, "INVALID_DATE_FORMAT", detail, &[text])
    }

    pub(crate) fn expiration_in_past() -> Self {
        let detail = "The specified expiration date must be in the future.";
        error(BAD, "EXPIRATION_DATE_IN_PAST", detail, &[])
    }

    pub(crate) fn expiration_too_far(days: i64) -> Self {
        let detail =
            format!("The specified expiration date can be at most {days} days in the future.");
        error(BAD, "EXPIRATION_DATE_EXCEEDS_MAX", detail, &[&days.to_string()])
    }

    pub(crate) fn group_mismatch(id: &str) -> Self {
        let detail = format!("The specified group ID {id} does not match the URL.");
        error(BAD, "GROUP_MISMATCH", detail, &[id])
    }

    pub(crate) fn group_name_not_found(name: &str) -> Self {
        let detail = format!("No group with name \"{name}\" exists.");
        error(NOT_FOUND, "GROUP_NAME_NOT_FOUND", detail, &[name])
    }

    pub(crate) fn too_many_groups(limit: u64, org: &str) -> Self {
        let limit = limit.to_string();
        let detail = format!(
            "Maximum number of groups per organization ({limit}) in {org} exceeded while trying to add group."
        );
        error(BAD, "MAX_GROUPS_PER_ORG_EXCEEDED", detail, &[&limit, org])
    }

    pub(crate) fn invalid_org_name(name: &str) -> Self {
        let detail = format!("An invalid org name \"{name}\" was specified.");
        error(BAD, "INVALID_ORG_NAME", detail, &[name])
    }

    pub(crate) fn org_not_empty() -> Self {
        let detail = "Organization cannot be deleted because it still contains active groups.";
        error(CONFLICT, "ORG_NOT_EMPTY", detail, &[])
    }

    pub(crate) fn not_org_owner(org: &str) -> Self {
        let detail = format!(
            "The currently logged in user does not have the owner role in organization {org}."
        );
        error(UNAUTHORIZED, "NOT_ORG_OWNER", detail, &[org])
    }

    pub(crate) fn invalid_path_parameter(name: &str) -> Self {
        let detail = format!("Invalid path parameter {name} specified.");
        error(BAD, "INVALID_PATH_PARAMETER", detail, &[name])
    }

    pub(crate) fn missing_query_parameter(name: &str) -> Self {
        let detail = format!("The required query parameter {name} was not specified.");
        error(BAD, "MISSING_QUERY_PARAMETER", detail, &[name])
    }

    pub(crate) fn exclusive_query_parameters(first: &str, second: &str) -> Self {
        let detail = format!(
            "Either the {first} query parameter or the {second} query parameter but not both should be specified."
        );
        error(BAD, "MUTUALLY_EXCLUSIVE_QUERY_PARAMETERS", detail, &[first, second])
    }

    pub(crate) fn negative_attribute(name: &str) -> Self {
        let detail = format!("The attribute {name} cannot be negative.");
        error(BAD, "ATTRIBUTE_NEGATIVE", detail, &[name])
    }

    pub(crate) fn invalid_region(region: &str, provider: &str) -> Self {
        let detail = format!("No region {region} exists for provider {provider}.");
        error(BAD, "INVALID_REGION", detail, &[region, provider])
    }

    pub(crate) fn too_many_clusters(limit: i64) -> Self {
        let limit = limit.to_string();
        let detail = format!(
            "The project is at its limit of {limit} clusters; raise atlas.project.deployment.clusters or delete one."
        );
        error(FORBIDDEN, "CLUSTERS_LIMIT_EXCEEDED", detail, &[&limit])
    }

    pub(crate) fn too_many_database_users(limit: i64) -> Self {
        let limit = limit.to_string();
        let detail = format!("Groups can contain at most {limit} database users.");
        error(FORBIDDEN, "GROUP_USERS_LIMIT_EXCEEDED", detail, &[&limit])
    }

    pub(crate) fn username_is_fixed() -> Self {
        let detail = "The username of a database user cannot be changed.";
        error(CONFLICT, "DATABASE_USERNAME_CANNOT_BE_CHANGED", detail, &[])
    }

    pub(crate) fn user_database_is_fixed() -> Self {
        let detail = "The database of a database user cannot be changed.";
        error(CONFLICT, "DATABASE_NAME_CANNOT_BE_CHANGED", detail, &[])
    }

    pub(crate) fn duplicate_database_roles(user: &str, role: &str) -> Self {
        let detail = format!("Duplicate database roles specified for user {user}: {role}.");
        error(BAD, "DUPLICATE_DATABASE_ROLES", detail, &[user, role])
    }

    pub(crate) fn flex_in_cluster_api(name: &str) -> Self {
        let detail = format!("Flex cluster {name} cannot be used in the Cluster API.");
        error(BAD, "CANNOT_USE_FLEX_CLUSTER_IN_CLUSTER_API", detail, &[name])
    }

    pub(crate) fn cluster_in_flex_api(name: &str) -> Self {
        let detail = format!("Cannot use non-flex cluster {name} in the flex API.");
        error(BAD, "CANNOT_USE_NON_FLEX_CLUSTER_IN_FLEX_API", detail, &[name])
    }

    pub(crate) fn cluster_in_serverless_api(name: &str) -> Self {
        let detail = format!("Cluster {name} cannot be used in the Serverless Instance API.");
        error(BAD, "CANNOT_USE_CLUSTER_IN_SERVERLESS_INSTANCE_API", detail, &[name])
    }

    pub(crate) fn tenant_update_unsupported() -> Self {
        let detail = "Cannot update a M0/Flex cluster through the public API.";
        error(BAD, "TENANT_CLUSTER_UPDATE_UNSUPPORTED", detail, &[])
    }

    pub(crate) fn flex_snapshot_not_found(id: &str, cluster: &str) -> Self {
        let detail = format!("No Flex snapshot with ID {id} exists for cluster {cluster}.");
        error(NOT_FOUND, "TENANT_SNAPSHOT_NOT_FOUND", detail, &[id, cluster])
    }

    pub(crate) fn flex_restore_not_found(id: &str, cluster: &str) -> Self {
        let detail = format!("No Flex restore with ID {id} exists for cluster {cluster}.");
        error(NOT_FOUND, "TENANT_RESTORE_NOT_FOUND", detail, &[id, cluster])
    }

    pub(crate) fn weak_password() -> Self {
        let hint = format!("a password has at least {SHORTEST_PASSWORD} characters");
        error(BAD, "WEAK_PASSWORD", "The specified password is not strong enough.", &[])
            .with_hint(hint)
    }
}

impl From<CatalogError> for ApiError {
    /// What no handler expected: the cause stays in the log.
    fn from(error: CatalogError) -> Self {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "a request failed in the catalog"
        );
        match error {
            CatalogError::Database(DatabaseError::Away(_) | DatabaseError::Conflict) => {
                Self::records_away()
            }
            _ => Self::unexpected(),
        }
    }
}

/// Names an instance in the log.
pub(crate) fn log_instance(event: &str, instance: InstanceId) {
    tracing::info!(%instance, "{event}");
}
