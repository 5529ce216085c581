//! What happened, in the words of Atlas's events.
//!
//! Source: the enumerations `EventTypeForNdsGroup` and `EventTypeForOrg` of the official schema.

use EventScope::{Both, Org, Project};

/// Where an event is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventScope {
    /// With its project.
    Project,
    /// With its organization.
    Org,
    /// With both.
    Both,
}

/// A kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventType {
    /// Its name.
    pub name: &'static str,
    /// What it says, for people.
    pub description: &'static str,
    /// Where it is listed.
    pub scope: EventScope,
}

const fn kind(name: &'static str, scope: EventScope, description: &'static str) -> EventType {
    EventType { name, description, scope }
}

/// All kinds that this service knows.
pub const EVENT_TYPES: &[EventType] = &[
    kind("API_KEY_ACCESS_LIST_ENTRY_ADDED", Both, "An entry was added to an API key's access list"),
    kind(
        "API_KEY_ACCESS_LIST_ENTRY_DELETED",
        Both,
        "An entry was removed from an API key's access list",
    ),
    kind("API_KEY_ADDED_TO_GROUP", Both, "An API key was added to a project"),
    kind("API_KEY_CREATED", Both, "An API key was created"),
    kind("API_KEY_DELETED", Both, "An API key was deleted"),
    kind("API_KEY_DESCRIPTION_CHANGED", Both, "The description of an API key was changed"),
    kind("API_KEY_REMOVED_FROM_GROUP", Both, "An API key was removed from a project"),
    kind("API_KEY_ROLES_CHANGED", Both, "The roles of an API key were changed"),
    kind("CLUSTER_CREATED", Project, "A cluster was created"),
    kind("CLUSTER_DELETE_SUBMITTED", Project, "A cluster is to be deleted"),
    kind("CLUSTER_UPDATE_SUBMITTED", Project, "A cluster is to be changed"),
    kind("CPS_ON_DEMAND_SNAPSHOT_REQUESTED", Project, "A snapshot was asked for"),
    kind("CPS_RESTORE_FAILED", Project, "A restore failed"),
    kind("CPS_RESTORE_REQUESTED_AUDIT", Project, "A restore was asked for"),
    kind("CPS_RESTORE_SUCCESSFUL", Project, "A restore is complete"),
    kind("CPS_SNAPSHOT_DELETED_AUDIT", Project, "A snapshot was deleted"),
    kind("CPS_SNAPSHOT_FAILED", Project, "A snapshot failed"),
    kind(
        "CPS_SNAPSHOT_RETENTION_MODIFIED_AUDIT",
        Project,
        "It was changed how long a snapshot is kept",
    ),
    kind("CPS_SNAPSHOT_SCHEDULE_UPDATED_AUDIT", Project, "A backup schedule was changed"),
    kind("CPS_SNAPSHOT_SUCCESSFUL", Project, "A snapshot is complete"),
    kind("GROUP_CREATED", Both, "A project was created"),
    kind("GROUP_DELETED", Both, "A project was deleted"),
    kind("GROUP_NAME_CHANGED", Project, "The name of a project was changed"),
    kind("MONGODB_USER_ADDED", Project, "A database user was added"),
    kind("MONGODB_USER_DELETED", Project, "A database user was deleted"),
    kind("MONGODB_USER_UPDATED", Project, "A database user was changed"),
    kind(
        "NETWORK_PERMISSION_ENTRY_ADDED",
        Project,
        "An entry was added to a project's access list",
    ),
    kind(
        "NETWORK_PERMISSION_ENTRY_REMOVED",
        Project,
        "An entry was removed from a project's access list",
    ),
    kind("ORG_CREATED", Org, "An organization was created"),
    kind("ORG_RENAMED", Org, "An organization was renamed"),
    kind("ORG_SETTINGS_UPDATED", Org, "The settings of an organization were changed"),
    kind("PROJECT_LIMIT_UPDATED", Project, "A limit of a project was changed"),
    kind("SERVERLESS_INSTANCE_CREATED", Project, "A serverless instance was created"),
    kind("SERVERLESS_INSTANCE_DELETE_SUBMITTED", Project, "A serverless instance is to be deleted"),
    kind("SERVERLESS_INSTANCE_UPDATE_SUBMITTED", Project, "A serverless instance is to be changed"),
    kind(
        "SERVICE_ACCOUNT_ACCESS_LIST_ENTRY_ADDED",
        Both,
        "An entry was added to a service account's access list",
    ),
    kind(
        "SERVICE_ACCOUNT_ACCESS_LIST_ENTRY_DELETED",
        Both,
        "An entry was removed from a service account's access list",
    ),
    kind("SERVICE_ACCOUNT_ADDED_TO_GROUP", Both, "A service account was added to a project"),
    kind("SERVICE_ACCOUNT_CREATED", Both, "A service account was created"),
    kind("SERVICE_ACCOUNT_DELETED", Both, "A service account was deleted"),
    kind("SERVICE_ACCOUNT_DETAILS_CHANGED", Both, "A service account was changed"),
    kind(
        "SERVICE_ACCOUNT_REMOVED_FROM_GROUP",
        Both,
        "A service account was removed from a project",
    ),
    kind("SERVICE_ACCOUNT_SECRET_ADDED", Both, "A secret was added to a service account"),
    kind("SERVICE_ACCOUNT_SECRET_DELETED", Both, "A secret was removed from a service account"),
    kind("TENANT_RESTORE_COMPLETED_AUDIT", Project, "A restore is complete"),
    kind("TENANT_RESTORE_FAILED", Project, "A restore failed"),
    kind("TENANT_RESTORE_REQUESTED_AUDIT", Project, "A restore was asked for"),
    kind("TENANT_SNAPSHOT_COMPLETED_AUDIT", Project, "A snapshot is complete"),
    kind("TENANT_SNAPSHOT_DELETED_AUDIT", Project, "A snapshot was deleted"),
    kind("TENANT_SNAPSHOT_DOWNLOAD_REQUESTED_AUDIT", Project, "A snapshot was asked for as a file"),
    kind("TENANT_SNAPSHOT_FAILED", Project, "A snapshot failed"),
];

/// The word of the instance family that is a flex cluster.
const FLEX: &str = "flex";
/// The word of the instance family that is a serverless instance.
const SERVERLESS: &str = "serverless";

impl EventType {
    /// The kind with this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        EVENT_TYPES.iter().find(|known| known.name == name)
    }

    /// What an action is to Atlas, on an instance of this family if it is on one; nothing where Atlas knows no
    /// such event.
    pub fn of_action(action: &str, family: Option<&str>) -> Option<&'static Self> {
        let is = |word: &str| family == Some(word);
        let either = |tenant, cps| if is(FLEX) { tenant } else { cps };
        let instance = |serverless, cluster| if is(SERVERLESS) { serverless } else { cluster };
        Self::find(match action {
            "createOrg" => "ORG_CREATED",
            "updateOrg" => "ORG_RENAMED",
            "updateOrgSettings" => "ORG_SETTINGS_UPDATED",
            "createGroup" => "GROUP_CREATED",
            "updateGroup" => "GROUP_NAME_CHANGED",
            "deleteGroup" => "GROUP_DELETED",
            "setGroupLimit" | "deleteGroupLimit" => "PROJECT_LIMIT_UPDATED",
            "createGroupAccessListEntry" => "NETWORK_PERMISSION_ENTRY_ADDED",
            "deleteGroupAccessListEntry" => "NETWORK_PERMISSION_ENTRY_REMOVED",
            "createGroupDatabaseUser" => "MONGODB_USER_ADDED",
            "updateGroupDatabaseUser" => "MONGODB_USER_UPDATED",
            "deleteGroupDatabaseUser" => "MONGODB_USER_DELETED",
            "createGroupServerlessInstance" => "SERVERLESS_INSTANCE_CREATED",
            "updateGroupServerlessInstance"
            | "setGroupServerlessPerformanceAdvisorAutoIndexing" => {
                "SERVERLESS_INSTANCE_UPDATE_SUBMITTED"
            }
            "deleteGroupServerlessInstance" => "SERVERLESS_INSTANCE_DELETE_SUBMITTED",
            "createGroupFlexCluster" => "CLUSTER_CREATED",
            "updateGroupFlexCluster" | "updateGroupCluster" => "CLUSTER_UPDATE_SUBMITTED",
            "deleteGroupFlexCluster" | "deleteGroupCluster" => "CLUSTER_DELETE_SUBMITTED",
            "attachDeployment" => instance("SERVERLESS_INSTANCE_CREATED", "CLUSTER_CREATED"),
            "updateDeployment" => {
                instance("SERVERLESS_INSTANCE_UPDATE_SUBMITTED", "CLUSTER_UPDATE_SUBMITTED")
            }
            "detachDeployment" => {
                instance("SERVERLESS_INSTANCE_DELETE_SUBMITTED", "CLUSTER_DELETE_SUBMITTED")
            }
            "updateGroupClusterBackupSchedule"
            | "deleteGroupClusterBackupSchedule"
            | "setBackupSchedule"
            | "resetBackupSchedule" => "CPS_SNAPSHOT_SCHEDULE_UPDATED_AUDIT",
            "updateGroupClusterBackupSnapshot" | "updateSnapshot" => {
                "CPS_SNAPSHOT_RETENTION_MODIFIED_AUDIT"
            }
            "downloadGroupFlexClusterBackup" => "TENANT_SNAPSHOT_DOWNLOAD_REQUESTED_AUDIT",
            "snapshotCompleted" => {
                either("TENANT_SNAPSHOT_COMPLETED_AUDIT", "CPS_SNAPSHOT_SUCCESSFUL")
            }
            "snapshotFailed" => either("TENANT_SNAPSHOT_FAILED", "CPS_SNAPSHOT_FAILED"),
            "restoreCompleted" => {
                either("TENANT_RESTORE_COMPLETED_AUDIT", "CPS_RESTORE_SUCCESSFUL")
            }
            "restoreFailed" => either("TENANT_RESTORE_FAILED", "CPS_RESTORE_FAILED"),
            other => return Self::of_family_of_actions(other, either),
        })
    }

    /// Actions of which each kind of resource has its own operation.
    fn of_family_of_actions(
        action: &str,
        either: impl Fn(&'static str, &'static str) -> &'static str,
    ) -> Option<&'static Self> {
        let is = |starts: &str, ends: &str| action.starts_with(starts) && action.ends_with(ends);
        let (create, update, delete) = ("create", "update", "delete");
        let entry = |start| is(start, "AccessListEntry") || is(start, "AccountAccessList");
        Self::find(if action.contains("ServiceAccount") {
            match () {
                () if entry(create) => "SERVICE_ACCOUNT_ACCESS_LIST_ENTRY_ADDED",
                () if entry(delete) => "SERVICE_ACCOUNT_ACCESS_LIST_ENTRY_DELETED",
                () if is(create, "Secret") => "SERVICE_ACCOUNT_SECRET_ADDED",
                () if is(delete, "Secret") => "SERVICE_ACCOUNT_SECRET_DELETED",
                () if is(create, "Account") => "SERVICE_ACCOUNT_CREATED",
                () if is(update, "Account") => "SERVICE_ACCOUNT_DETAILS_CHANGED",
                () if action == "deleteOrgServiceAccount" => "SERVICE_ACCOUNT_DELETED",
                () if action == "deleteGroupServiceAccount" => "SERVICE_ACCOUNT_REMOVED_FROM_GROUP",
                () if action == "inviteGroupServiceAccount" => "SERVICE_ACCOUNT_ADDED_TO_GROUP",
                () => return None,
            }
        } else if action.contains("ApiKey") {
            match () {
                () if entry(create) => "API_KEY_ACCESS_LIST_ENTRY_ADDED",
                () if entry(delete) => "API_KEY_ACCESS_LIST_ENTRY_DELETED",
                () if is(create, "ApiKey") => "API_KEY_CREATED",
                () if is("updateOrg", "ApiKey") => "API_KEY_DESCRIPTION_CHANGED",
                () if is(update, "Roles") => "API_KEY_ROLES_CHANGED",
                () if is(delete, "ApiKey") => "API_KEY_DELETED",
                () if is("add", "ApiKey") => "API_KEY_ADDED_TO_GROUP",
                () if is("remove", "ApiKey") => "API_KEY_REMOVED_FROM_GROUP",
                () => return None,
            }
        } else if is("create", "RestoreJob") {
            either("TENANT_RESTORE_REQUESTED_AUDIT", "CPS_RESTORE_REQUESTED_AUDIT")
        } else if is("take", "Snapshot") || is("take", "Snapshots") || action == "createSnapshot" {
            "CPS_ON_DEMAND_SNAPSHOT_REQUESTED"
        } else if is("delete", "Snapshot") || is("delete", "SnapshotShardedCluster") {
            either("TENANT_SNAPSHOT_DELETED_AUDIT", "CPS_SNAPSHOT_DELETED_AUDIT")
        } else {
            return None;
        })
    }

    /// Whether it is listed with organizations.
    pub fn is_of_orgs(&self) -> bool {
        self.scope != Project
    }

    /// Whether it is listed with projects.
    pub fn is_of_projects(&self) -> bool {
        self.scope != Org
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_name_and_they_are_in_order() {
        assert!(EVENT_TYPES.is_sorted_by_key(|kind| kind.name));
        assert_eq!(EventType::find("API_KEY_CREATED").unwrap().scope, Both);
        assert_eq!(EventType::find("NOTHING"), None);
    }

    #[test]
    fn actions_are_what_atlas_calls_them() {
        let name = |action, family| EventType::of_action(action, family).map(|kind| kind.name);
        for (action, family, expected) in [
            ("createGroup", None, Some("GROUP_CREATED")),
            ("createOrgApiKey", None, Some("API_KEY_CREATED")),
            ("createOrgApiKeyAccessListEntry", None, Some("API_KEY_ACCESS_LIST_ENTRY_ADDED")),
            ("updateGroupApiKeyRoles", None, Some("API_KEY_ROLES_CHANGED")),
            (
                "createOrgServiceAccountAccessList",
                None,
                Some("SERVICE_ACCOUNT_ACCESS_LIST_ENTRY_ADDED"),
            ),
            ("deleteGroupServiceAccount", None, Some("SERVICE_ACCOUNT_REMOVED_FROM_GROUP")),
            ("createOrgServiceAccountSecret", None, Some("SERVICE_ACCOUNT_SECRET_ADDED")),
            (
                "createGroupFlexClusterBackupRestoreJob",
                Some("flex"),
                Some("TENANT_RESTORE_REQUESTED_AUDIT"),
            ),
            ("createRestoreJob", Some("serverless"), Some("CPS_RESTORE_REQUESTED_AUDIT")),
            (
                "takeGroupClusterBackupSnapshots",
                Some("cluster"),
                Some("CPS_ON_DEMAND_SNAPSHOT_REQUESTED"),
            ),
            ("deleteSnapshot", Some("flex"), Some("TENANT_SNAPSHOT_DELETED_AUDIT")),
            ("attachDeployment", Some("serverless"), Some("SERVERLESS_INSTANCE_CREATED")),
            ("snapshotFailed", Some("cluster"), Some("CPS_SNAPSHOT_FAILED")),
            ("createDrill", Some("flex"), None),
        ] {
            assert_eq!(name(action, family), expected, "{action}");
        }
    }
}
