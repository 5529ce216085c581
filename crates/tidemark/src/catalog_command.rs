//! `tidemark catalog move`: all records into another database.

use std::path::Path;
use std::process::ExitCode;

use clap::ArgMatches;
use tidemark_catalog::Catalog;

use crate::{config, folder};

/// Copies all records, and says how many of each kind there are.
pub(crate) fn move_records(matches: &ArgMatches) -> crate::Outcome {
    let text = |name: &str| matches.get_one::<String>(name).map_or("", String::as_str);
    let (from, to) = (text("from"), text("to"));
    if config::catalog_file(from).is_some_and(|file| !file.exists()) {
        return Err(format!("there are no records in {from}").into());
    }
    let (source, target) = (open(from)?, open(to)?);
    let moved = source.move_to(&target)?;
    for kind in &moved {
        println!("{:>12} {}", kind.records, kind.table);
    }
    let sum: u64 = moved.iter().map(|kind| kind.records).sum();
    println!("{sum:>12} records were moved and compared; the old ones are still there");
    Ok(ExitCode::SUCCESS)
}

/// Whether a server says that it is there.
fn is_served(catalog: &Catalog) -> Result<bool, tidemark_catalog::CatalogError> {
    let now = catalog.shared_clock()?.unwrap_or_default();
    Ok(catalog.list_nodes()?.iter().any(|node| node.is_alive(now)))
}

/// Opens records that no server uses, and keeps others from using them as far as that can be.
fn open(place: &str) -> Result<Catalog, Box<dyn std::error::Error>> {
    let folder = config::catalog_file(place).and_then(Path::parent);
    if folder.is_some_and(folder::is_locked) {
        return Err(format!("a server uses {place}; stop it first").into());
    }
    let catalog = config::open_catalog(place)?;
    if catalog.is_shared() && is_served(&catalog)? {
        return Err("a server uses one of the databases; stop it first".into());
    }
    Ok(catalog)
}
