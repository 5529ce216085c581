//! Nobody grants what their own roles do not cover: every operation that takes a body, for every role.

use tidemark_catalog::{ApiKey, Page, ServiceAccount};
use tidemark_model::{Caller, Principal, Roles};

use super::*;

/// Operations with which an owner can set roles of keys and accounts. One that is new belongs here.
const SETTING: &[&str] = &[
    "createOrgApiKey",
    "updateOrgApiKey",
    "createOrgServiceAccount",
    "updateOrgServiceAccount",
    "createGroupApiKey",
    "updateGroupApiKeyRoles",
    "addGroupApiKey",
    "createGroupServiceAccount",
    "updateGroupServiceAccount",
    "inviteGroupServiceAccount",
];

/// Bodies that ask for a role in every way that some operation understands.
fn bodies(role: Role) -> [Value; 4] {
    let roles = [role.as_str()];
    [
        json!({ "roles": roles }),
        json!([{ "roles": roles }]),
        json!({ "desc": "d", "roles": roles }),
        json!({ "name": "n", "description": "d", "roles": roles, "secretExpiresAfterHours": 8 }),
    ]
}

impl World {
    /// Adds a key and an account whose ids are those that `World::path` writes.
    fn add_principals(&self, projects: &[(ProjectId, Role)]) {
        let now = self.clock.now();
        let zeros = "0".repeat(24);
        let roles = Roles { org: vec![Role::OrgMember], projects: projects.to_vec() };
        let key = ApiKey {
            id: zeros.parse().unwrap(),
            org: self.org,
            public_key: "other".into(),
            ha1: String::new(),
            masked_private_key: String::new(),
            description: "k".into(),
            roles: roles.clone(),
            created_at: now,
        };
        let account = ServiceAccount {
            id: zeros.parse().unwrap(),
            org: self.org,
            name: "a".into(),
            description: String::new(),
            roles,
            created_at: now,
        };
        let lifetime = jiff::SignedDuration::from_hours(24);
        let secret = crate::secret_record(&crate::new_account_secret(), now, lifetime);
        self.api.catalog.insert_api_key(&key).unwrap();
        self.api.catalog.insert_service_account(&account, &secret).unwrap();
    }

    /// Every role that a key or an account has in the organization, by whose it is.
    fn granted(&self) -> Vec<(String, Roles)> {
        let page = Page { number: 1, size: 500 };
        let keys = self.api.catalog.list_api_keys(self.org, None, page).unwrap().items;
        let accounts = self.api.catalog.list_service_accounts(self.org, None, page).unwrap().items;
        let keys = keys.into_iter().map(|key| (key.id.to_string(), key.roles));
        keys.chain(accounts.into_iter().map(|a| (a.id.to_string() + "a", a.roles))).collect()
    }

    /// Asks for a role in every way; answers the roles that somebody has now and had not before.
    async fn try_to_grant(&self, operation: &Operation, wanted: Role) -> Roles {
        let before = self.granted();
        let (verb, path) = (operation.verb.as_str(), self.path(operation));
        for body in bodies(wanted) {
            self.ask_with(verb, &path, Some(&self.bearer()), &body).await;
        }
        let mut new = Roles::default();
        for (who, roles) in self.granted() {
            let had = before.iter().find(|(other, _)| *other == who).map(|(_, roles)| roles);
            let had_org = |role: &Role| had.is_some_and(|had| had.org.contains(role));
            let had_project =
                |role: &(ProjectId, Role)| had.is_some_and(|had| had.projects.contains(role));
            new.org.extend(roles.org.iter().filter(|role| !had_org(role)));
            new.projects.extend(roles.projects.iter().filter(|role| !had_project(role)));
        }
        new
    }
}

impl World {
    async fn check_grant(&self, operation: &Operation, caller: Role, wanted: Role) {
        let own = format!("{}a", self.account.0);
        let roles = self.granted().into_iter().find(|(who, _)| *who == own).unwrap().1;
        let principal = Principal::ServiceAccount(self.account.0);
        let covered = Caller { principal, org: self.org, roles };
        let new = self.try_to_grant(operation, wanted).await;
        let what = format!("{caller:?} with {} granted {new:?}", operation.id);
        let may_org = |role: &Role| covered.may_in_org(self.org, *role);
        assert!(new.org.iter().all(|role| *role == Role::OrgMember || may_org(role)), "{what}");
        let may =
            |(project, role): &(ProjectId, Role)| covered.may_in_project(self.org, *project, *role);
        assert!(new.projects.iter().all(may), "{what}");
    }
}

/// Worlds in which the key and the account belong to the project, and do not.
fn worlds(caller: Role) -> [World; 2] {
    [true, false].map(|is_member| {
        let world = if caller.is_org_role() {
            world(&[caller], &[])
        } else {
            world(&[Role::OrgMember], &[caller])
        };
        let member = [(world.project, Role::GroupReadOnly)];
        world.add_principals(if is_member { &member } else { &[] });
        world
    })
}

#[tokio::test]
async fn nobody_grants_what_their_own_roles_do_not_cover_by_any_operation() {
    let mut setting = Vec::new();
    for operation in OPERATIONS.iter().filter(|operation| operation.verb.takes_body()) {
        let mut sets_roles = false;
        for world in worlds(Role::OrgOwner) {
            for wanted in [Role::OrgOwner, Role::GroupOwner] {
                let new = world.try_to_grant(operation, wanted).await;
                sets_roles |= new.org.contains(&wanted);
                sets_roles |= new.projects.contains(&(world.project, wanted));
            }
        }
        if sets_roles {
            setting.push(operation);
        }
    }
    assert_eq!(setting.iter().map(|operation| operation.id).collect::<Vec<_>>(), SETTING);
    for caller in Role::ALL.iter().copied().filter(|role| *role != Role::OrgOwner) {
        for operation in &setting {
            for world in worlds(caller) {
                for wanted in [Role::OrgOwner, Role::GroupOwner, Role::GroupDataAccessAdmin] {
                    world.check_grant(operation, caller, wanted).await;
                }
            }
        }
    }
}
