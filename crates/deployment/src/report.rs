//! What a deployment is, can do and lacks, for the people who run it. Nothing is written for it.

use bson::{Bson, Document};
use tidemark_model::{DatabaseSize, Finding, ProbeReport, SpecialCollections, Topology};

use crate::abilities::{Abilities, Product, greet, probe, unless_refused};
use crate::connection::Connection;
use crate::error::LinkError;
use crate::listing::{CollectionListing, STORED_FUNCTIONS, list_collections};
use crate::privileges::{self, Holds};
use crate::scope::INTERNAL_DATABASES;

/// The name of the finding about the oplog.
pub const OPLOG: &str = "oplog";

/// Looks at a deployment; `now_milliseconds` is our clock's.
pub fn report(
    connection: &mut Connection,
    now_milliseconds: impl Fn() -> i64,
) -> Result<ProbeReport, LinkError> {
    let abilities = probe(connection)?;
    let asked_at = now_milliseconds();
    let hello = greet(connection)?;
    let heard_at = now_milliseconds();
    let clock_ahead_milliseconds = hello
        .get_datetime("localTime")
        .ok()
        .map(|theirs| theirs.timestamp_millis() - i64::midpoint(asked_at, heard_at));
    let listings = unless_refused(list_collections(connection))?;
    let has = |is_such: fn(&CollectionListing) -> bool| {
        listings.as_ref().is_some_and(|listings| listings.iter().any(is_such))
    };
    let rights = privileges::look(
        connection,
        Holds {
            time_series: has(CollectionListing::is_time_series) && !abilities.has_raw_data(),
            raw_data: has(CollectionListing::is_time_series) && abilities.has_raw_data(),
            stored_functions: has(|listing| listing.name == STORED_FUNCTIONS),
        },
    )?;
    let hosts = hello.get_array("hosts").into_iter().flatten();
    Ok(ProbeReport {
        product: abilities.product.as_str().to_owned(),
        version: abilities.version.clone(),
        topology: abilities.topology,
        set_name: hello.get_str("setName").ok().map(str::to_owned),
        hosts: hosts.filter_map(|host| host.as_str().map(str::to_owned)).collect(),
        findings: findings(&abilities),
        special: special(listings.as_deref().unwrap_or_default()),
        unprotected: match &listings {
            Some(listings) => {
                let mut unprotected: Vec<String> =
                    listings.iter().filter_map(unprotected).collect();
                let reserved = connection.unreachable_databases()?;
                unprotected.extend(reserved.iter().map(|name| {
                    format!("{name} would be called as a database of the server's own is, and is not protected; rename it")
                }));
                unprotected
            }
            None => vec!["collections cannot be listed: nothing can be protected".to_owned()],
        },
        missing_privileges: rights.missing,
        create_role: rights.create_role,
        clock_ahead_milliseconds,
        oplog_window_seconds: oplog_window(connection, &abilities)?,
        databases: sizes(connection)?,
    })
}

fn findings(abilities: &Abilities) -> Vec<Finding> {
    let oplog = abilities.newest_entry.is_some();
    let finding = |name: &str, (holds, is_needed): (bool, bool), (yes, no): (&str, &str)| Finding {
        name: name.to_owned(),
        holds,
        is_needed,
        consequence: if holds { yes } else { no }.to_owned(),
    };
    let no_oplog = without_oplog(abilities.topology);
    let no_moment = if oplog {
        "snapshots are read while data changes, and made consistent with the oplog of that time"
    } else {
        "documents are read one after another while data changes: a snapshot shows no one moment"
    };
    vec![
        finding(OPLOG, (oplog, true), ("every moment can be restored", no_oplog)),
        finding(
            "snapshotReads",
            (abilities.snapshot_reads, !oplog),
            ("a snapshot shows one moment", no_moment),
        ),
        finding(
            "uuidReads",
            (abilities.reads_by_uuid, false),
            (
                "a collection that is renamed while it is read is still found",
                "collections are found by their names only",
            ),
        ),
        finding(
            "renames",
            (abilities.renames, true),
            (
                "a restore is staged beside the data, and takes its place when it is whole",
                "collections cannot be renamed: a restore has to be allowed to replace them in place",
            ),
        ),
        finding(
            "atomicSwap",
            (abilities.atomic_renames, false),
            (
                "a restore takes the place of all collections in one commit",
                "a restore takes the place of one collection after another: for a moment readers see some as they were and some as they are restored",
            ),
        ),
        finding(
            "renamesAcrossDatabases",
            (abilities.renames && abilities.product != Product::FerretDb, false),
            (
                "collections can move to another database",
                "collections cannot move to another database; restores need that nowhere",
            ),
        ),
    ]
}

/// What follows from having no oplog that can be read.
fn without_oplog(topology: Topology) -> &'static str {
    match topology {
        Topology::Standalone => {
            "it is no replica set and has no oplog: no point in time can be restored, and snapshots do not show one moment; a replica set of one member is enough"
        }
        Topology::Sharded => {
            "through a router there is no oplog: no point in time can be restored; attach each shard's replica set for that"
        }
        Topology::ReplicaSet => {
            "the user may not read local.oplog.rs: no point in time can be restored"
        }
    }
}

/// Whether a collection is of a kind.
type IsOfKind = fn(&CollectionListing) -> bool;

/// Kinds of collections, with what follows for their protection.
const SPECIAL: &[(&str, IsOfKind, &str)] = &[
    (
        "timeSeries",
        CollectionListing::is_time_series,
        "kept as the buckets in which the server has them; with a restore they are made anew and their buckets copied; every snapshot reads the deployment, none is made in the vault",
    ),
    (
        "capped",
        |listing| listing.options.get_bool("capped").unwrap_or(false),
        "kept and restored in their order; every snapshot reads the deployment, none is made in the vault",
    ),
    (
        "clustered",
        |listing| !listing.is_time_series() && listing.options.contains_key("clusteredIndex"),
        "kept and restored with their key; every snapshot reads the deployment, none is made in the vault",
    ),
    ("views", |listing| listing.kind == "view", "kept and restored as they are defined"),
    (
        "encrypted",
        |listing| listing.options.contains_key("encryptedFields"),
        "their documents are kept as they are, their state collections are not",
    ),
    (
        "storedFunctions",
        |listing| listing.name == STORED_FUNCTIONS,
        "kept; a restore replaces all stored functions of a database",
    ),
];
/// So many of a kind are named.
const NAMED: usize = 10;

/// The kinds of which there are some.
fn special(listings: &[CollectionListing]) -> Vec<SpecialCollections> {
    let of_kind = |(kind, is_of_kind, consequence): &(&str, IsOfKind, &str)| {
        let found = || listings.iter().filter(|listing| is_of_kind(listing));
        let namespaces: Vec<String> =
            found().take(NAMED).map(CollectionListing::namespace).collect();
        (!namespaces.is_empty()).then(|| SpecialCollections {
            kind: (*kind).to_owned(),
            count: found().count(),
            namespaces,
            consequence: (*consequence).to_owned(),
        })
    };
    SPECIAL.iter().filter_map(of_kind).collect()
}

/// Why a collection cannot be protected, if it cannot.
fn unprotected(listing: &CollectionListing) -> Option<String> {
    let namespace = listing.namespace();
    if listing.options.contains_key("encryptedFields") {
        return Some(format!(
            "{namespace} is encrypted by its clients: its documents are protected as they are, its state collections are not"
        ));
    }
    None
}

fn oplog_window(
    connection: &mut Connection,
    abilities: &Abilities,
) -> Result<Option<i64>, LinkError> {
    let Some(newest) = abilities.newest_entry else { return Ok(None) };
    let command = bson::doc! {
        "find": "oplog.rs", "sort": { "$natural": 1 }, "limit": 1, "singleBatch": true,
    };
    let mut oldest = None;
    let read = connection.for_each("local", command, |entry| {
        oldest = entry.get_timestamp("ts").ok();
        Ok::<_, LinkError>(())
    });
    unless_refused(read)?;
    Ok(oldest.map(|oldest| i64::from(newest.seconds) - i64::from(oldest.time)))
}

fn sizes(connection: &mut Connection) -> Result<Vec<DatabaseSize>, LinkError> {
    let listed = connection.command("admin", bson::doc! { "listDatabases": 1 });
    let Some(listed) = unless_refused(listed)? else { return Ok(Vec::new()) };
    let size = |database: &Document| {
        let name = database.get_str("name").ok()?.to_owned();
        let bytes = match database.get("sizeOnDisk") {
            Some(Bson::Int64(bytes)) => Some(*bytes),
            Some(Bson::Int32(bytes)) => Some(i64::from(*bytes)),
            #[expect(clippy::cast_possible_truncation, reason = "a size on disk is a whole number")]
            Some(Bson::Double(bytes)) => Some(*bytes as i64),
            _ => None,
        };
        Some(DatabaseSize { name, bytes })
    };
    let databases = listed.get_array("databases").into_iter().flatten();
    let sizes = databases.filter_map(|database| size(database.as_document()?));
    Ok(sizes.filter(|size| !INTERNAL_DATABASES.contains(&size.name.as_str())).collect())
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn kinds_of_which_there_are_some_are_named_with_what_follows() {
        let listing = |name: &str, kind: &str, options: Document| CollectionListing {
            database: "d".into(),
            name: name.into(),
            kind: kind.into(),
            uuid: None,
            options,
            indexes: Vec::new(),
        };
        let found = special(&[
            listing("plain", "collection", doc! { "validator": {} }),
            listing("uncapped", "collection", doc! { "capped": false }),
            listing("c", "collection", doc! { "capped": true, "size": 4096 }),
            listing("k", "collection", doc! { "clusteredIndex": { "key": { "_id": 1 } } }),
            listing("m", "timeseries", doc! { "timeseries": { "timeField": "t" } }),
            listing("system.js", "collection", doc! {}),
            listing("v", "view", doc! { "viewOn": "c" }),
            listing("w", "view", doc! { "viewOn": "c" }),
        ]);
        let named: Vec<(&str, usize, &str)> = found
            .iter()
            .map(|kind| (kind.kind.as_str(), kind.count, kind.namespaces[0].as_str()))
            .collect();
        assert_eq!(
            named,
            [
                ("timeSeries", 1, "d.m"),
                ("capped", 1, "d.c"),
                ("clustered", 1, "d.k"),
                ("views", 2, "d.v"),
                ("storedFunctions", 1, "d.system.js"),
            ]
        );
    }
}
