//! Errors as Atlas answers them: one table from situations to status, `errorCode` and text.

use axum::http::StatusCode;
use serde_json::{Value, json};
use tidemark_catalog::CatalogError;
use tidemark_model::{InstanceId, ProjectId};

/// An error answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) detail: String,
    pub(crate) parameters: Vec<Value>,
}

pub(crate) type Result<T> = std::result::Result<T, ApiError>;

fn error(
    status: StatusCode,
    code: &'static str,
    detail: impl Into<String>,
    parameters: &[&str],
) -> ApiError {
    let parameters = parameters.iter().map(|parameter| Value::from(*parameter)).collect();
    ApiError { status, code, detail: detail.into(), parameters }
}

const BAD: StatusCode = StatusCode::BAD_REQUEST;
const NOT_FOUND: StatusCode = StatusCode::NOT_FOUND;
const CONFLICT: StatusCode = StatusCode::CONFLICT;

impl ApiError {
    pub(crate) fn body(&self) -> Value {
        json!({
            "detail": self.detail,
            "error": self.status.as_u16(),
            "errorCode": self.code,
            "parameters": self.parameters,
            "reason": self.status.canonical_reason().unwrap_or("Error"),
        })
    }

    pub(crate) fn unexpected() -> Self {
        error(StatusCode::INTERNAL_SERVER_ERROR, "UNEXPECTED_ERROR", "Unexpected error.", &[])
    }

    pub(crate) fn out_of_time() -> Self {
        let detail = "The request took too long; it may still be carried out.";
        error(StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE", detail, &[])
    }

    pub(crate) fn invalid_version() -> Self {
        let detail = "Invalid accept header or version date.";
        error(StatusCode::NOT_ACCEPTABLE, "INVALID_VERSION_DATE", detail, &[])
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
        error(StatusCode::UNAUTHORIZED, "USER_UNAUTHORIZED", detail, &[])
    }

    pub(crate) fn not_in_group() -> Self {
        let detail = "The current user is not in the group, or the group does not exist.";
        error(StatusCode::UNAUTHORIZED, "NOT_IN_GROUP", detail, &[])
    }

    pub(crate) fn cannot_restore_to_target() -> Self {
        let detail =
            "Cannot restore with insufficient permission on source snapshot or target cluster.";
        error(StatusCode::FORBIDDEN, "CANNOT_RESTORE_TO_TARGET", detail, &[])
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

    pub(crate) fn invalid_restore_time(attribute: &str) -> Self {
        let detail = "Please provide a valid UTC time or an operation time (ts).";
        error(BAD, "INVALID_PIT_RESTORE_TIME", detail, &[attribute])
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

    pub(crate) fn weak_password() -> Self {
        error(BAD, "WEAK_PASSWORD", "The specified password is not strong enough.", &[])
    }
}

impl From<CatalogError> for ApiError {
    /// What no handler expected: the cause stays in the log.
    fn from(error: CatalogError) -> Self {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "a request failed in the catalog"
        );
        Self::unexpected()
    }
}

/// Names an instance in the log.
pub(crate) fn log_instance(event: &str, instance: InstanceId) {
    tracing::info!(%instance, "{event}");
}
