//! Roles as Atlas names them, and what each implies.
//!
//! Source: the user-roles reference of the Atlas manual. Roles are additive and nothing denies.

use crate::{OrgId, ProjectId};

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
    /// Reads the organization and all its projects.
    OrgReadOnly = "ORG_READ_ONLY";
    /// Belongs to the organization.
    OrgMember = "ORG_MEMBER";
    /// Everything in the project.
    GroupOwner = "GROUP_OWNER";
    /// Changes clusters, but neither creates nor terminates them.
    GroupClusterManager = "GROUP_CLUSTER_MANAGER";
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

/// Who makes a request: an authenticated API key or service account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
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
        Caller { org: OrgId::from_bytes([1; 12]), roles }
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
    fn a_backup_manager_does_all_of_backup_and_nothing_else() {
        let project = ProjectId::from_bytes([2; 12]);
        let manager = caller(&[], &[(project, Role::GroupBackupManager)]);
        assert!(manager.may_in_project(manager.org, project, Role::GroupBackupExportOperator));
        assert!(!manager.may_in_project(manager.org, project, Role::GroupOwner));
        assert!(!manager.may_in_project(manager.org, project, Role::GroupDatabaseAccessAdmin));
    }
}
