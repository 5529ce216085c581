//! What programs say in English, explained in the reader's language.

use tidemark_model::{Cause, Failure};

use crate::Refused;
use crate::shown::Frame;

/// What went wrong: in the reader's language, and as it was said where that tells more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Explained {
    /// In the reader's language.
    pub(crate) text: String,
    /// As it was said, in English.
    pub(crate) original: Option<String>,
}

impl Explained {
    /// A message of the console's own.
    pub(crate) fn message(f: &Frame, id: &str) -> Self {
        Self::plain(f.t(id))
    }

    /// What the console itself says.
    pub(crate) fn plain(text: String) -> Self {
        Self { text, original: None }
    }

    /// Why a job failed, or would.
    pub(crate) fn failure(f: &Frame, failure: &Failure) -> Self {
        let original = Some(failure.reason.clone());
        Self { text: f.t(id_of_cause(failure.cause)), original }
    }

    /// Why the API does not do something.
    pub(crate) fn refusal(f: &Frame, refused: &Refused) -> Self {
        let original = Some(refused.reason.clone());
        Self { text: f.t(id_of_code(&refused.code)), original }
    }

    /// Something for which there are no words of ours.
    pub(crate) fn other(f: &Frame, original: impl ToString) -> Self {
        Self { text: f.t("problem-refused"), original: Some(original.to_string()) }
    }
}

fn id_of_cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Unknown => "cause-unknown",
        Cause::Unreachable => "cause-unreachable",
        Cause::Denied => "cause-denied",
        Cause::Settings => "cause-settings",
        Cause::DeploymentRefused => "cause-deployment-refused",
        Cause::VaultUnavailable => "cause-vault-unavailable",
        Cause::VaultDamaged => "cause-vault-damaged",
        Cause::RecordsUnavailable => "cause-records-unavailable",
        Cause::Different => "cause-different",
        Cause::CheckFailed => "cause-check-failed",
        Cause::OutOfReach => "cause-out-of-reach",
        Cause::Changed => "cause-changed",
        Cause::StageLost => "cause-stage-lost",
        Cause::Unsupported => "cause-unsupported",
        Cause::Selection => "cause-selection",
        Cause::Replay => "cause-replay",
        Cause::Dump => "cause-dump",
        Cause::Lookup => "cause-lookup",
        Cause::Conflict => "cause-conflict",
        Cause::Partial => "cause-partial",
        Cause::Disk => "cause-disk",
        Cause::Crashed => "cause-crashed",
        Cause::Fault => "cause-fault",
    }
}

/// What the API's codes mean to somebody who filled in a form; the others are explained by what is said.
fn id_of_code(code: &str) -> &'static str {
    match code {
        "DUPLICATE_CLUSTER_NAME" => "code-name-taken",
        "CLUSTER_NAME_INVALID" | "CLUSTER_NAME_TOO_LONG" => "code-name-invalid",
        "CLUSTERS_LIMIT_EXCEEDED" | "GROUP_USERS_LIMIT_EXCEEDED" => "code-limit",
        "NO_INSTANCE_PORT_LEFT" => "code-no-place",
        "CANNOT_TERMINATE_CLUSTER_WHEN_TERMINATION_PROTECTION_ENABLED" => "code-protected",
        "CLUSTER_ALREADY_REQUESTED_DELETION" => "code-going",
        "CLUSTER_RESTORE_IN_PROGRESS_CANNOT_UPDATE" => "code-restoring",
        "DEPLOYMENT_HOLDS_INSTANCES" => "code-holds-instances",
        "USER_ALREADY_EXISTS" => "code-user-exists",
        "WEAK_PASSWORD" => "code-weak-password",
        "ATLAS_INVALID_USERNAME" => "code-name-invalid",
        "ATLAS_INVALID_ROLE" | "INVALID_ROLE_FOR_GROUP" | "MISSING_API_KEY_ROLES" => "code-role",
        "CANNOT_REMOVE_LAST_ORG_OWNER" => "code-last-owner",
        "NOT_IN_GROUP" | "NOT_ORG_OWNER" | "USER_UNAUTHORIZED" | "USER_CANNOT_ACCESS_ORG" => {
            "code-rights"
        }
        "API_KEY_NOT_FOUND" | "CLUSTER_NOT_FOUND" | "RESOURCE_NOT_FOUND" | "USERNAME_NOT_FOUND" => {
            "code-gone"
        }
        "INVALID_API_KEY_DESC"
        | "API_KEY_REQUIRES_DESCRIPTION"
        | "INVALID_ATTRIBUTE"
        | "INVALID_ENUM_VALUE"
        | "INVALID_JSON_ATTRIBUTE"
        | "INVALID_PATH_PARAMETER"
        | "BAD_REQUEST"
        | "INVALID_SCHEDULE"
        | "MISSING_ATTRIBUTE" => "code-invalid",
        "RATE_LIMITED" | "RATE_LIMITED_TOKEN_BUCKET" => "code-too-fast",
        _ => "problem-refused",
    }
}
