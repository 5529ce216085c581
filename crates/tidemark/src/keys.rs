//! `tidemark keys create`: a way back in for whoever administers the machine.

use std::path::Path;
use std::process::ExitCode;

use clap::ArgMatches;
use tidemark_actions::{Change, change};
use tidemark_atlas_api::{KeyPair, ha1, mask_private_key};
use tidemark_catalog::{ApiKey, CatalogError};
use tidemark_model::{ApiKeyId, Clock, OrgId, Role, Roles};

use crate::bootstrap;
use crate::config::find_catalog;

/// Makes an API key in an organization, whether the server runs or not, and prints it. It takes
/// the place of the one in `bootstrap.json` if that does not work any more.
pub(crate) fn create(matches: &ArgMatches) -> crate::Outcome {
    let text = |name: &str| matches.get_one::<String>(name).map_or("", String::as_str);
    let data_dir = Path::new(text("data-dir"));
    let Some(catalog) = find_catalog(matches)? else {
        return Err(format!(
            "there is no server's data in {}; start one with `tidemark serve --data-dir {}`, or say with --catalog where its records are",
            data_dir.display(),
            data_dir.display()
        )
        .into());
    };
    let role = Role::parse(text("role")).filter(|role| role.is_org_role());
    let role = role.ok_or("--role takes a role in the organization, as ORG_OWNER")?;
    let org: OrgId = match text("org") {
        "" => catalog.find_first_org()?.ok_or("there is no organization yet")?.id,
        id => id.parse().map_err(|_| format!("--org {id} is not the id of an organization"))?,
    };
    let clock = Clock::system();
    let now = clock.now();
    let KeyPair { public_key, private_key } = KeyPair::new();
    let key = ApiKey {
        id: ApiKeyId::new(now),
        org,
        ha1: ha1(&public_key, private_key.expose()),
        masked_private_key: mask_private_key(private_key.expose()),
        public_key,
        description: "made by `tidemark keys create`".to_owned(),
        roles: Roles { org: vec![role], projects: Vec::new() },
        created_at: now,
    };
    let by = Change {
        at: now,
        actor: "tidemark keys create",
        address: None,
        action: "createApiKey",
        subject: &key.public_key,
    };
    change(&catalog, by, |catalog| {
        catalog
            .find_org(org)?
            .ok_or_else(|| CatalogError::Missing(format!("organization {org}")))?;
        catalog.insert_api_key(&key)
    })?;
    if role == Role::OrgOwner {
        bootstrap::replace_dead_key(&catalog, data_dir, (&key.public_key, private_key.expose()))?;
    }
    println!("export PUBLIC_KEY='{}'", key.public_key);
    println!("export PRIVATE_KEY='{}'", private_key.expose());
    Ok(ExitCode::SUCCESS)
}
