//! A seed: what an empty server begins with, as a JSON document.
//!
//! What the document leaves out is made: ids, keys, secrets. Without a document a server begins
//! with one organization, one project, one API key and one service account, both owners.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use tidemark_atlas_api::{
    KeyPair, account_of, client_id_of, ha1, mask_private_key, new_account_secret, secret_record,
};
use tidemark_catalog::{
    ApiKey, Backing, Catalog, CatalogError, DatabaseUser, DatabaseUserRole, Instance,
    InstanceFamily, InstanceSettings, NewOrg, NewSecret, Org, Project, Seed as Everything,
    ServiceAccount, Tag,
};
use tidemark_model::{
    ApiKeyId, DatabaseUserId, InstanceId, InstanceState, OrgId, ProjectId, Role, Roles, Secret,
    ServiceAccountId,
};

use crate::users::hash_password;

/// How long a secret works unless the seed says otherwise, in hours.
const SECRET_HOURS: i64 = 365 * 24;

/// Why a seed cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SeedError {
    #[error("{path} cannot be read: {source}")]
    File { path: String, source: std::io::Error },
    #[error("it is not a seed document: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("{what} is {given:?}, {expected}")]
    Invalid { what: &'static str, given: String, expected: &'static str },
    #[error("it needs at least one organization with an API key or a service account")]
    Locked,
}

/// The whole document.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Seed {
    orgs: Vec<SeedOrg>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct SeedOrg {
    id: Option<String>,
    name: String,
    api_keys: Vec<SeedKey>,
    service_accounts: Vec<SeedAccount>,
    projects: Vec<SeedProject>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct SeedKey {
    desc: String,
    public_key: Option<String>,
    private_key: Option<String>,
    roles: Vec<SeedRole>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct SeedAccount {
    name: String,
    description: String,
    client_id: Option<String>,
    secret: Option<String>,
    secret_expires_after_hours: Option<i64>,
    roles: Vec<SeedRole>,
}

// Secrets in a seed must not reach a log.
impl std::fmt::Debug for SeedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SeedKey").field("desc", &self.desc).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for SeedAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SeedAccount").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A role, in the project with a name or in the organization.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SeedRole {
    role_name: String,
    project: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct SeedProject {
    id: Option<String>,
    name: String,
    tags: Vec<Tag>,
    instances: Vec<SeedInstance>,
    database_users: Vec<SeedUser>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct SeedInstance {
    id: Option<String>,
    name: String,
    family: SeedFamily,
    tags: Vec<Tag>,
    termination_protection_enabled: bool,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
enum SeedFamily {
    #[default]
    Serverless,
    Flex,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct SeedUser {
    username: String,
    password: String,
    roles: Vec<SeedUserRole>,
}

impl std::fmt::Debug for SeedUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SeedUser").field("username", &self.username).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SeedUserRole {
    role_name: String,
    database_name: String,
}

impl Default for Seed {
    fn default() -> Self {
        let owner = vec![SeedRole { role_name: "ORG_OWNER".to_owned(), project: None }];
        let key = SeedKey {
            desc: "First API key".to_owned(),
            roles: owner.clone(),
            ..SeedKey::default()
        };
        let account = SeedAccount {
            name: "first-service-account".to_owned(),
            description: "First service account".to_owned(),
            roles: owner,
            ..SeedAccount::default()
        };
        let project = SeedProject { name: "Project 0".to_owned(), ..SeedProject::default() };
        let org = SeedOrg {
            name: "Tidemark".to_owned(),
            api_keys: vec![key],
            service_accounts: vec![account],
            projects: vec![project],
            ..SeedOrg::default()
        };
        Self { orgs: vec![org] }
    }
}

/// The first organization, project and credentials that came of a seed.
#[derive(Clone, Default)]
pub(crate) struct Planted {
    pub(crate) org_id: String,
    pub(crate) group_id: Option<String>,
    pub(crate) public_key: Option<String>,
    pub(crate) private_key: Option<String>,
    pub(crate) client_id: Option<String>,
    pub(crate) client_secret: Option<String>,
}

/// An organization and what it has.
struct OrgRecords {
    org: Org,
    projects: Vec<Project>,
    keys: Vec<ApiKey>,
    accounts: Vec<(ServiceAccount, NewSecret)>,
}

/// The records that came of a seed.
#[derive(Default)]
pub(crate) struct Records {
    orgs: Vec<OrgRecords>,
    instances: Vec<Instance>,
    users: Vec<DatabaseUser>,
}

impl Records {
    /// Makes these the first records, unless another node that starts at the same time was faster; answers
    /// whether they are.
    pub(crate) fn store_first(
        &self,
        catalog: &Catalog,
        created_at: Timestamp,
    ) -> Result<bool, CatalogError> {
        catalog.transact(|catalog| {
            if catalog.find_first_org()?.is_some() {
                return Ok(false);
            }
            self.store(catalog, created_at).map(|()| true)
        })
    }

    /// Replaces all records by these.
    pub(crate) fn store(
        &self,
        catalog: &Catalog,
        created_at: Timestamp,
    ) -> Result<(), CatalogError> {
        let orgs: Vec<NewOrg<'_>> = self
            .orgs
            .iter()
            .map(|it| NewOrg {
                org: &it.org,
                projects: &it.projects,
                keys: &it.keys,
                accounts: &it.accounts,
            })
            .collect();
        catalog.reset(&Everything {
            orgs: &orgs,
            instances: &self.instances,
            users: &self.users,
            created_at,
        })
    }
}

impl Seed {
    /// Reads a seed from a file.
    pub(crate) fn load(path: &Path) -> Result<Self, SeedError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SeedError::File { path: path.display().to_string(), source })?;
        Self::parse(serde_json::from_str(&text)?)
    }

    /// Reads a seed that a client sent.
    pub(crate) fn parse(document: serde_json::Value) -> Result<Self, SeedError> {
        Ok(serde_json::from_value(document)?)
    }

    /// Makes records of it.
    pub(crate) fn grow(&self, now: Timestamp) -> Result<(Records, Planted), SeedError> {
        let mut records = Records::default();
        let mut planted = Planted::default();
        for seed in &self.orgs {
            grow_org(seed, now, &mut records, &mut planted)?;
        }
        if planted.public_key.is_none() && planted.client_id.is_none() {
            return Err(SeedError::Locked);
        }
        Ok((records, planted))
    }
}

fn grow_org(
    seed: &SeedOrg,
    now: Timestamp,
    records: &mut Records,
    planted: &mut Planted,
) -> Result<(), SeedError> {
    let org = Org {
        id: id_or_new(seed.id.as_deref(), "an organization's id", || OrgId::new(now))?,
        name: required("an organization's name", &seed.name)?,
        created_at: now,
        settings: serde_json::Map::new(),
    };
    if planted.org_id.is_empty() {
        planted.org_id = org.id.to_string();
    }
    let mut projects = Vec::new();
    for seed in &seed.projects {
        let project = grow_project(seed, &org, now, records)?;
        planted.group_id.get_or_insert_with(|| project.id.to_string());
        projects.push(project);
    }
    let mut keys = Vec::new();
    for seed in &seed.api_keys {
        keys.push(grow_key(seed, (&org, &projects), now, planted)?);
    }
    let mut accounts = Vec::new();
    for seed in &seed.service_accounts {
        accounts.push(grow_account(seed, (&org, &projects), now, planted)?);
    }
    records.orgs.push(OrgRecords { org, projects, keys, accounts });
    Ok(())
}

fn grow_project(
    seed: &SeedProject,
    org: &Org,
    now: Timestamp,
    records: &mut Records,
) -> Result<Project, SeedError> {
    let mut project = Project::new(org.id, &required("a project's name", &seed.name)?, now);
    project.id = id_or_new(seed.id.as_deref(), "a project's id", || project.id)?;
    project.tags.clone_from(&seed.tags);
    for seed in &seed.instances {
        records.instances.push(grow_instance(seed, project.id, now)?);
    }
    for seed in &seed.database_users {
        let role = |role: &SeedUserRole| DatabaseUserRole {
            role: role.role_name.clone(),
            database: role.database_name.clone(),
            collection: None,
        };
        records.users.push(DatabaseUser {
            id: DatabaseUserId::new(now),
            project: project.id,
            username: required("a database user's username", &seed.username)?,
            database: "admin".to_owned(),
            password: hash_password(&required("a database user's password", &seed.password)?),
            roles: seed.roles.iter().map(role).collect(),
            scopes: Vec::new(),
            description: None,
            labels: Vec::new(),
            delete_after: None,
        });
    }
    Ok(project)
}

fn grow_instance(
    seed: &SeedInstance,
    project: ProjectId,
    now: Timestamp,
) -> Result<Instance, SeedError> {
    let name = seed.name.parse().map_err(|_| SeedError::Invalid {
        what: "an instance's name",
        given: seed.name.clone(),
        expected: "but it holds ASCII letters, digits and hyphens",
    })?;
    Ok(Instance {
        id: id_or_new(seed.id.as_deref(), "an instance's id", || InstanceId::new(now))?,
        project,
        name,
        family: match seed.family {
            SeedFamily::Serverless => InstanceFamily::Serverless,
            SeedFamily::Flex => InstanceFamily::Flex,
        },
        state: InstanceState::Creating,
        settings: InstanceSettings {
            backing_provider: "AWS".to_owned(),
            region: "US_EAST_1".to_owned(),
            termination_protection: seed.termination_protection_enabled,
            continuous_backup: true,
            tags: seed.tags.clone(),
            auto_indexing: true,
        },
        created_at: now,
        changed_at: now,
        backing: Backing::Embedded,
        port: None,
        trouble: None,
        node: None,
        vault: None,
    })
}

fn grow_key(
    seed: &SeedKey,
    (org, projects): (&Org, &[Project]),
    now: Timestamp,
    planted: &mut Planted,
) -> Result<ApiKey, SeedError> {
    let pair = KeyPair::new();
    let public_key = seed.public_key.clone().unwrap_or(pair.public_key);
    let private_key =
        seed.private_key.clone().unwrap_or_else(|| pair.private_key.expose().to_owned());
    if planted.public_key.is_none() {
        planted.public_key = Some(public_key.clone());
        planted.private_key = Some(private_key.clone());
    }
    Ok(ApiKey {
        id: ApiKeyId::new(now),
        org: org.id,
        ha1: ha1(&public_key, &private_key),
        masked_private_key: mask_private_key(&private_key),
        public_key,
        description: seed.desc.clone(),
        roles: grow_roles(&seed.roles, projects)?,
        created_at: now,
    })
}

fn grow_account(
    seed: &SeedAccount,
    (org, projects): (&Org, &[Project]),
    now: Timestamp,
    planted: &mut Planted,
) -> Result<(ServiceAccount, NewSecret), SeedError> {
    let id = match &seed.client_id {
        None => ServiceAccountId::new(now),
        Some(text) => account_of(text).ok_or_else(|| SeedError::Invalid {
            what: "a service account's clientId",
            given: text.clone(),
            expected: "but it is mdb_sa_id_ and 24 hex digits",
        })?,
    };
    let secret = seed.secret.clone().map_or_else(new_account_secret, Secret::new);
    let hours = seed.secret_expires_after_hours.unwrap_or(SECRET_HOURS);
    let lifetime = SignedDuration::try_from_hours(hours).ok_or_else(|| SeedError::Invalid {
        what: "a service account's secretExpiresAfterHours",
        given: hours.to_string(),
        expected: "which is too long",
    })?;
    let record = secret_record(&secret, now, lifetime);
    if planted.client_id.is_none() {
        planted.client_id = Some(client_id_of(id));
        planted.client_secret = Some(secret.expose().to_owned());
    }
    let account = ServiceAccount {
        id,
        org: org.id,
        name: seed.name.clone(),
        description: seed.description.clone(),
        roles: grow_roles(&seed.roles, projects)?,
        created_at: now,
    };
    Ok((account, record))
}

fn grow_roles(seeds: &[SeedRole], projects: &[Project]) -> Result<Roles, SeedError> {
    let mut roles = Roles::default();
    for seed in seeds {
        let unknown = |expected| SeedError::Invalid {
            what: "a role",
            given: seed.role_name.clone(),
            expected,
        };
        let role = Role::parse(&seed.role_name).ok_or_else(|| unknown("which does not exist"))?;
        match &seed.project {
            None if role.is_org_role() => roles.org.push(role),
            Some(name) if !role.is_org_role() => {
                let project = projects.iter().find(|project| project.name == *name);
                let project = project.ok_or_else(|| unknown("in a project that does not exist"))?;
                roles.projects.push((project.id, role));
            }
            None => return Err(unknown("which needs a project")),
            Some(_) => return Err(unknown("which holds for the whole organization")),
        }
    }
    Ok(roles)
}

fn id_or_new<T: std::str::FromStr>(
    text: Option<&str>,
    what: &'static str,
    make: impl FnOnce() -> T,
) -> Result<T, SeedError> {
    let Some(text) = text else { return Ok(make()) };
    text.parse().map_err(|_| SeedError::Invalid {
        what,
        given: text.to_owned(),
        expected: "but it is 24 hex digits",
    })
}

fn required(what: &'static str, text: &str) -> Result<String, SeedError> {
    if text.is_empty() {
        return Err(SeedError::Invalid {
            what,
            given: String::new(),
            expected: "but it is needed",
        });
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn without_a_document_there_is_an_owner_of_each_kind() {
        let (records, planted) = Seed::default().grow(NOW).unwrap();
        let catalog = Catalog::in_memory().unwrap();
        records.store(&catalog, NOW).unwrap();
        let key = catalog.find_api_key(&planted.public_key.unwrap()).unwrap().unwrap();
        assert_eq!(key.roles.org, [Role::OrgOwner]);
        assert!(planted.client_secret.unwrap().starts_with("mdb_sa_sk_"));
    }

    #[test]
    fn a_document_decides_ids_names_and_credentials() {
        let id = "0123456789abcdef01234567";
        let seed = json!({ "orgs": [{
            "name": "o",
            "apiKeys": [{
                "publicKey": "abcdefgh",
                "privateKey": "secret",
                "roles": [{ "roleName": "GROUP_READ_ONLY", "project": "p" }],
            }],
            "projects": [{
                "id": id,
                "name": "p",
                "instances": [{ "name": "one" }, { "name": "two", "family": "flex" }],
                "databaseUsers": [{ "username": "u", "password": "long-enough", "roles": [] }],
            }],
        }] });
        let (records, planted) = Seed::parse(seed).unwrap().grow(NOW).unwrap();
        let catalog = Catalog::in_memory().unwrap();
        records.store(&catalog, NOW).unwrap();
        records.store(&catalog, NOW).unwrap();
        let project = catalog.find_project(id.parse().unwrap()).unwrap().unwrap();
        assert_eq!((project.name.as_str(), project.instance_count), ("p", 2));
        assert_eq!(planted.private_key.as_deref(), Some("secret"));
        let key = catalog.find_api_key("abcdefgh").unwrap().unwrap();
        assert_eq!(key.roles.projects, [(project.id, Role::GroupReadOnly)]);
    }

    #[test]
    fn a_seed_that_cannot_be_used_says_why() {
        for (seed, reason) in [
            (json!({ "orgs": [] }), "at least one organization"),
            (json!({ "orgs": [{ "name": "o" }] }), "at least one organization"),
            (json!({ "orgs": [{ "name": "" }] }), "an organization's name"),
            (
                json!({ "orgs": [{ "name": "o", "apiKeys": [{ "roles": [{ "roleName": "KING" }] }] }] }),
                "KING",
            ),
            (json!({ "nothing": 1 }), "not a seed document"),
        ] {
            let error = Seed::parse(seed).and_then(|seed| seed.grow(NOW).map(drop)).unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
        }
    }
}
