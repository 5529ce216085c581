//! The part of an oplog that makes documents consistent that were read while they changed.

use std::collections::BTreeSet;

use bson::raw::{RawBsonRef, RawDocument};
use tidemark_model::OplogTime;

use crate::error::MoverError;
use crate::server_collections::known_as;
use tidemark_deployment::{CollectionListing, Connection, LinkError, newest_entry, unless_refused};

/// The position from which the oplog makes what is read from now on consistent: the newest, or
/// where the oldest transaction began that is not over.
pub(crate) fn oplog_start(connection: &mut Connection) -> Result<Option<OplogTime>, MoverError> {
    let command = bson::doc! {
        "find": "transactions",
        "filter": { "state": { "$in": ["prepared", "inProgress"] } },
    };
    let mut oldest: Option<OplogTime> = None;
    let read = connection.for_each("config", command, |open| {
        let began = open.get_document("startOpTime").and_then(|at| at.get_timestamp("ts"));
        if let Ok(began) = began {
            let began = OplogTime::new(began.time, began.increment);
            oldest = Some(oldest.map_or(began, |oldest| oldest.min(began)));
        }
        Ok::<_, LinkError>(())
    });
    // One that is not seen here is missed when its last part comes, and refused then.
    unless_refused(read)?;
    let newest = newest_entry(connection)?;
    Ok(newest.map(|newest| oldest.map_or(newest, |oldest| oldest.min(newest))))
}

/// Whether an oplog still has the entry at a position.
pub(crate) fn has_entry(connection: &mut Connection, at: OplogTime) -> Result<bool, MoverError> {
    let ts = bson::Timestamp { time: at.seconds, increment: at.increment };
    let command = bson::doc! {
        "find": "oplog.rs", "filter": { "ts": ts }, "limit": 1, "singleBatch": true,
    };
    let mut is_there = false;
    connection.for_each("local", command, |_| {
        is_there = true;
        Ok::<_, MoverError>(())
    })?;
    Ok(is_there)
}

/// What an oplog says was dropped.
#[derive(Default)]
pub(crate) struct Dropped {
    namespaces: BTreeSet<String>,
    uuids: BTreeSet<Vec<u8>>,
}

impl Dropped {
    /// Takes the next entry.
    pub(crate) fn note(&mut self, entry: &RawDocument) {
        let Ok(command) = entry.get_document("o") else { return };
        if entry.get_str("op").is_ok_and(|op| op == "c") {
            let database = entry.get_str("ns").unwrap_or_default().split('.').next();
            self.note_command(command, database.unwrap_or_default());
            let uuid = entry
                .get_binary("ui")
                .ok()
                .filter(|_| command.get("drop").is_ok_and(|d| d.is_some()));
            self.uuids.extend(uuid.map(|uuid| uuid.bytes.to_vec()));
        }
    }

    fn note_command(&mut self, command: &RawDocument, database: &str) {
        if let Ok(name) = command.get_str("drop") {
            self.namespaces.insert(known_as(&format!("{database}.{name}")).into_owned());
        }
        if command.get("dropDatabase").is_ok_and(|dropped| dropped.is_some()) {
            self.namespaces.insert(format!("{database}."));
        }
        if let (Ok(_), Ok(to)) = (command.get_str("renameCollection"), command.get_str("to")) {
            self.namespaces.insert(to.to_owned());
        }
        if let Ok(uuid) = command.get_binary("dropTarget") {
            self.uuids.insert(uuid.bytes.to_vec());
        }
        for operation in command.get_array("applyOps").into_iter().flatten() {
            if let Ok(RawBsonRef::Document(operation)) = operation {
                self.note(operation);
            }
        }
    }

    /// Whether a collection is among them.
    pub(crate) fn has(&self, listing: &CollectionListing) -> bool {
        self.namespaces.contains(&listing.namespace())
            || self.namespaces.contains(&format!("{}.", listing.database))
            || listing.uuid.as_ref().is_some_and(|uuid| self.uuids.contains(&uuid.bytes))
    }
}
