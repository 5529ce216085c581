//! `tidemark keys rotate` and `keys retire`: another key for the vault and for what is secret in the catalog.
//!
//! `rotate` changes the key file. Servers that start with it seal with the new key, and one of them seals
//! anew what older keys sealed, in the background. The key that signs tokens and links is in the catalog, and
//! takes the place of the one before it at once. `retire` proves that nothing needs the older keys, and
//! removes them from the file.

use std::path::Path;
use std::process::ExitCode;

use tidemark_catalog::{Catalog, CatalogError, Node};
use tidemark_model::Clock;
use tidemark_vault::{Vault, VaultError, VaultKey};

use crate::config::Config;

const NO_RECORDS: &str = "the records of the server are not found, and they may need the older keys; name them with --data-dir or --catalog";

/// Makes a new key, which seals from the next start on, or is only known for now.
pub(crate) fn rotate(config: &Config, is_prepared: bool) -> crate::Outcome {
    let (key, file) = config.vault_key_to_change()?;
    if is_prepared && key.is_prepared() {
        return Err("a key is prepared already; once all nodes were started with it, run `tidemark keys rotate`".into());
    }
    let changed = if is_prepared { key.prepared() } else { key.rotated() };
    // First what may fail: a file that says another thing than the records is worse than none.
    let is_common = config.vault_name().is_none();
    let catalog = if is_common && !is_prepared { config.find_catalog()? } else { None };
    keep(&changed, file.as_deref())?;
    if let Some(catalog) = catalog {
        catalog.rotate_signing_key()?;
        eprintln!(
            "tokens and links are signed with another key; those of before hold until their end"
        );
    }
    eprintln!("keep a copy of it elsewhere: without it no snapshot can be read");
    if is_prepared {
        eprintln!(
            "give it to all nodes and start them again, one after another; then run `tidemark keys rotate`"
        );
    } else {
        eprintln!(
            "start the server again: it seals with key {}, and what older keys sealed in the background",
            changed.number()
        );
        eprintln!("(of several nodes all must know the new key first: see docs/keys.md)");
        eprintln!("later, `tidemark keys retire` removes the older keys once nothing needs them");
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes the older keys, if nothing needs them; the exit code tells whether they are gone.
pub(crate) fn retire(config: &Config) -> crate::Outcome {
    let (key, file) = config.vault_key_to_change()?;
    if !key.has_old() {
        println!("there is no older key");
        return Ok(ExitCode::SUCCESS);
    }
    // What is secret in the records needs the keys, too.
    let catalog = config.find_catalog()?.ok_or(NO_RECORDS)?;
    let location = config.vault_location()?;
    let vault = Vault::open_to_read(&location, key.clone())?;
    if !vault.seals_with_newest()? {
        let told = "no server was started with the newest key yet; start one, and run this again";
        return Err(told.into());
    }
    match Vault::open(&location, key.clone()) {
        Ok(writing) => drop(writing.reseal(|| true)?),
        // A server has it, and does that.
        Err(VaultError::InUse { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let mut needed = vault.count_old()?;
    needed.extend(count_in_records(&catalog, &vault)?);
    let idle = nodes_with_older_keys(config, &catalog, key.number())?;
    if !idle.is_empty() {
        needed
            .push((format!("nodes that were not started again ({})", idle.join(", ")), idle.len()));
    }
    if needed.is_empty() {
        let (now, _) = config.vault_key_to_change()?;
        if now.to_text() != key.to_text() {
            return Err("the keys were changed meanwhile; run this again".into());
        }
        keep(&key.without_old(), file.as_deref())?;
        eprintln!("nothing needs the older keys any more, and they are gone from it");
        return Ok(ExitCode::SUCCESS);
    }
    for (what, count) in &needed {
        println!("{count} in {what} need an older key");
    }
    eprintln!(
        "the older keys stay. A running server goes on sealing with the newest one; nodes that were not started again since use an older one. Drafts, files and writers go by themselves within hours; a promise to keep must end first. Run this again later"
    );
    Ok(ExitCode::FAILURE)
}

/// Nodes that are there and seal with an older key.
fn nodes_with_older_keys(
    config: &Config,
    catalog: &Catalog,
    number: u32,
) -> Result<Vec<String>, CatalogError> {
    let name = config.vault_name().unwrap_or_default();
    // Whoever asks follows the clock of the records as nodes do.
    let now = catalog.shared_clock()?.unwrap_or_else(|| Clock::system().now());
    let is_older = |node: &&Node| {
        let of_vault = node.keys.split(' ').find_map(|key| key.strip_prefix(&format!("{name}=")));
        node.is_alive(now)
            && of_vault.and_then(|key| key.parse().ok()).is_none_or(|key: u32| key < number)
    };
    let nodes = catalog.list_nodes()?;
    Ok(nodes.iter().filter(is_older).map(|node| node.id.to_string()).collect())
}

/// What only older keys open in the catalog.
fn count_in_records(
    catalog: &Catalog,
    vault: &Vault,
) -> Result<Vec<(String, usize)>, CatalogError> {
    let sealed = catalog.list_sealed()?;
    let is_old = |(id, sealed): &&(_, String)| {
        let id: &tidemark_model::InstanceId = id;
        vault.key().is_text_old(&id.to_string(), sealed)
    };
    let deployments = sealed.iter().filter(is_old).count();
    let mut tails = 0;
    for instance in catalog.list_tailed()? {
        let pieces = catalog.list_oplog_tail(instance)?;
        let is_old = |piece: &&tidemark_catalog::TailPiece| {
            vault.is_segment_old(&instance.to_string(), piece.span, &piece.sealed)
        };
        tails += pieces.iter().filter(is_old).count();
    }
    let counted =
        [("the catalog's deployments", deployments), ("the catalog's captured entries", tails)];
    let counted = counted.into_iter().filter(|(_, count)| *count > 0);
    Ok(counted.map(|(what, count)| (what.to_owned(), count)).collect())
}

/// Writes keys where they were found: into a file, or to where whoever keeps the variable can take them.
fn keep(key: &VaultKey, file: Option<&Path>) -> Result<(), Box<dyn std::error::Error>> {
    if let Some(path) = file {
        key.save(path)?;
        eprintln!("{} was written", path.display());
    } else {
        eprintln!("this is what TIDEMARK_VAULT_KEY must hold from now on:");
        print!("{}", key.to_text().expose());
    }
    Ok(())
}
