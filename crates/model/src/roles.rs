//! Roles as Atlas names them, and what each implies.
//!
//! Source: the user-roles reference of the Atlas manual. Roles are additive and nothing denies.

use crate::{ApiKeyId, OrgId, ProjectId, ServiceAccountId};

macro_rules! roles {
    ($($(#[$doc:meta])* $variant:ident = $name:literal;)*) => {
        /// A role in an organization (`ORG_…`) or in a project (`GROUP_…`).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Role {$($(#[$doc])* $variant,)*}

        impl Role {
            /// Every role.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in the API.
            pub fn as_str(self) -> &'static str {
                match self {$(Self::$variant => $name,)*}
            }
        }
    };
}

roles! {
    /// Everything in the organization and in all its projects.
    OrgOwner = "ORG_OWNER";
    /// Creates projects.
    OrgGroupCreator = "ORG_GROUP_CREATOR";
    /// Manages bills.
    OrgBillingAdmin = "ORG_BILLING_ADMIN";
    /// Reads bills.
    OrgBillingReadOnly = "ORG_BILLING_READ_ONLY";
    /// Manages stream processing.
    OrgStreamProcessingAdmin = "ORG_STREAM_PROCESSING_ADMIN";
    /// Reads the organization and all its projects.
    OrgReadOnly = "ORG_READ_ONLY";
    /// Belongs to the organization.
    OrgMember = "ORG_MEMBER";
    /// Everything in the project.
    GroupOwner = "GROUP_OWNER";
    /// Changes replica sets.
    GroupReplicaSetManager = "GROUP_REPLICA_SET_MANAGER";
    /// Changes clusters, but neither creates nor terminates them.
    GroupClusterManager = "GROUP_CLUSTER_MANAGER";
    /// Creates clusters.
    GroupClusterCreator = "GROUP_CLUSTER_CREATOR";
    /// Reads the logs of clusters.
    GroupClusterLogViewer = "GROUP_CLUSTER_LOG_VIEWER";
    /// Tests outages.
    GroupClusterResilienceTester = "GROUP_CLUSTER_RESILIENCE_TESTER";
    /// Owns stream processing.
    GroupStreamProcessingOwner = "GROUP_STREAM_PROCESSING_OWNER";
    /// Manages keys, service accounts and their roles.
    GroupAccessManager = "GROUP_ACCESS_MANAGER";
    /// Administers data through the console.
    GroupDataAccessAdmin = "GROUP_DATA_ACCESS_ADMIN";
    /// Changes data through the console.
    GroupDataAccessReadWrite = "GROUP_DATA_ACCESS_READ_WRITE";
    /// Reads data through the console.
    GroupDataAccessReadOnly = "GROUP_DATA_ACCESS_READ_ONLY";
    /// Manages database users.
    GroupDatabaseAccessAdmin = "GROUP_DATABASE_ACCESS_ADMIN";
    /// Manages all of backup.
    GroupBackupManager = "GROUP_BACKUP_MANAGER";
    /// Lists and takes snapshots.
    GroupBackupCreator = "GROUP_BACKUP_CREATOR";
    /// Lists and restores snapshots.
    GroupBackupRecoveryOperator = "GROUP_BACKUP_RECOVERY_OPERATOR";
    /// Lists and downloads snapshots.
    GroupBackupExportOperator = "GROUP_BACKUP_EXPORT_OPERATOR";
    /// Manages the project's IP access list.
    GroupNetworkAccessManager = "GROUP_NETWORK_ACCESS_MANAGER";
    /// Sees metrics.
    GroupObservabilityViewer = "GROUP_OBSERVABILITY_VIEWER";
    /// Manages triggers.
    GroupTriggerManager = "GROUP_TRIGGER_MANAGER";
    /// Manages indexes.
    GroupIndexManager = "GROUP_INDEX_MANAGER";
    /// Edits search indexes.
    GroupSearchIndexEditor = "GROUP_SEARCH_INDEX_EDITOR";
    /// Uses the real-time performance panel.
    GroupRealTimePerformanceOperator = "GROUP_REAL_TIME_PERFORMANCE_OPERATOR";
    /// Manages access of the support staff.
    GroupSupportAccessManager = "GROUP_SUPPORT_ACCESS_MANAGER";
    /// Manages alerts.
    GroupAlertsManager = "GROUP_ALERTS_MANAGER";
    /// Owns models.
    GroupModelOwner = "GROUP_MODEL_OWNER";
    /// Reads the project.
    GroupReadOnly = "GROUP_READ_ONLY";
}

impl Role {
    /// The role with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|role| role.as_str() == name)
    }

    /// Whether it is a role in an organization.
    pub fn is_org_role(self) -> bool {
        self.as_str().starts_with("ORG_")
    }

    /// Whether a holder of `self` may do what needs `needed` within the same project or
    /// organization.
    fn covers(self, needed: Self) -> bool {
        use Role::{
            GroupBackupCreator, GroupBackupExportOperator, GroupBackupManager,
            GroupBackupRecoveryOperator, GroupOwner, GroupReadOnly, OrgMember, OrgOwner,
            OrgReadOnly,
        };
        match (self, needed) {
            _ if self == needed => true,
            (OrgOwner, _)
            | (OrgReadOnly, GroupReadOnly)
            | (_, OrgMember)
            | (
                GroupBackupManager,
                GroupBackupCreator | GroupBackupRecoveryOperator | GroupBackupExportOperator,
            ) => true,
            (GroupOwner, needed) => !needed.is_org_role(),
            (role, GroupReadOnly) => !role.is_org_role(),
            _ => false,
        }
    }
}

/// The roles of one principal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roles {
    /// Roles in the organization it belongs to.
    pub org: Vec<Role>,
    /// Roles in single projects.
    pub projects: Vec<(ProjectId, Role)>,
}

impl Roles {
    /// The roles in one project.
    pub fn in_project(&self, project: ProjectId) -> impl Iterator<Item = Role> + '_ {
        self.projects.iter().filter(move |(id, _)| *id == project).map(|(_, role)| *role)
    }

    /// Replaces the roles in one project; none takes it out of the project.
    pub fn set_in_project(&mut self, project: ProjectId, roles: &[Role]) {
        self.projects.retain(|(id, _)| *id != project);
        self.projects.extend(roles.iter().map(|role| (project, *role)));
    }
}

/// Who a credential belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Principal {
    /// An API key.
    ApiKey(ApiKeyId),
    /// A service account.
    ServiceAccount(ServiceAccountId),
}

impl Principal {
    /// The id by which records name it.
    pub fn id(self) -> String {
        match self {
            Self::ApiKey(id) => id.to_string(),
            Self::ServiceAccount(id) => id.to_string(),
        }
    }
}

/// Who makes a request: an authenticated API key or service account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The key or account itself.
    pub principal: Principal,
    /// The organization that it belongs to.
    pub org: OrgId,
    /// What it may do.
    pub roles: Roles,
}

impl Caller {
    /// Whether it may do what needs `needed` in an organization.
    pub fn may_in_org(&self, org: OrgId, needed: Role) -> bool {
        self.org == org && self.roles.org.iter().any(|role| role.covers(needed))
    }

    /// Whether it may do what needs `needed` in a project of `org`.
    pub fn may_in_project(&self, org: OrgId, project: ProjectId, needed: Role) -> bool {
        let by_project =
            self.roles.projects.iter().any(|(id, role)| *id == project && role.covers(needed));
        by_project || self.may_in_org(org, needed)
    }

    /// Whether it may see that a project of `org` exists.
    pub fn sees_project(&self, org: OrgId, project: ProjectId) -> bool {
        self.may_in_project(org, project, Role::GroupReadOnly)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(org: &[Role], projects: &[(ProjectId, Role)]) -> Caller {
        let roles = Roles { org: org.to_vec(), projects: projects.to_vec() };
        let principal = Principal::ApiKey(ApiKeyId::from_bytes([7; 12]));
        Caller { principal, org: OrgId::from_bytes([1; 12]), roles }
    }

    #[test]
    fn an_organization_owner_owns_every_project_of_its_organization_only() {
        let owner = caller(&[Role::OrgOwner], &[]);
        let project = ProjectId::from_bytes([2; 12]);
        assert!(owner.may_in_project(owner.org, project, Role::GroupOwner));
        assert!(!owner.may_in_project(OrgId::from_bytes([9; 12]), project, Role::GroupReadOnly));
    }

    #[test]
    fn a_member_sees_only_its_own_projects() {
        let mine = ProjectId::from_bytes([2; 12]);
        let other = ProjectId::from_bytes([3; 12]);
        let member = caller(&[Role::OrgMember], &[(mine, Role::GroupBackupCreator)]);
        assert!(member.sees_project(member.org, mine));
        assert!(!member.sees_project(member.org, other));
        assert!(!member.may_in_project(member.org, mine, Role::GroupOwner));
    }

    #[test]
    fn roles_in_a_project_are_replaced_and_others_stay() {
        let (mine, other) = (ProjectId::from_bytes([2; 12]), ProjectId::from_bytes([3; 12]));
        let mut roles = caller(&[], &[(mine, Role::GroupOwner), (other, Role::GroupOwner)]).roles;
        roles.set_in_project(mine, &[Role::GroupReadOnly]);
        assert_eq!(roles.in_project(mine).collect::<Vec<_>>(), [Role::GroupReadOnly]);
        roles.set_in_project(mine, &[]);
        assert_eq!(roles.projects, [(other, Role::GroupOwner)]);
    }

    #[test]
    fn a_backup_manager_does_all_of_backup_and_nothing_else() {
        let project = ProjectId::from_bytes([2; 12]);
        let manager = caller(&[], &[(project, Role::GroupBackupManager)]);
        assert!(manager.may_in_project(manager.org, project, Role::GroupBackupExportOperator));
        assert!(!manager.may_in_project(manager.org, project, Role::GroupOwner));
        assert!(!manager.may_in_project(manager.org, project, Role::GroupDatabaseAccessAdmin));
    }
}
