//! What an engine does not show of what it can do, so that others can be tried without it.

use std::collections::BTreeSet;

use crate::error::{Code, CommandError, Result};
use crate::request::{ReadConcern, Request};

/// Abilities and commands that a server behaves as if it lacked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Withheld(BTreeSet<String>);

/// The abilities that can be withheld; any command can too.
pub(crate) const ABILITIES: [&str; 5] =
    [EXTENSIONS, REPLICA_SET, SNAPSHOT_READS, UUID_READS, DROP_TARGET];

/// What is not MongoDB's: renames in one commit, bulk staging, reading by record numbers.
const EXTENSIONS: &str = "extensions";
/// Being a replica set with an oplog.
const REPLICA_SET: &str = "replicaSet";
/// Reads of one moment.
const SNAPSHOT_READS: &str = "snapshotReads";
/// Finding a collection by its UUID.
const UUID_READS: &str = "uuidReads";
/// Renaming over a collection that exists.
const DROP_TARGET: &str = "dropTarget";

impl Withheld {
    /// Nothing is withheld.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// These are.
    pub(crate) fn of(names: BTreeSet<String>) -> Self {
        Self(names)
    }

    /// Whether an ability or a command is withheld.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    pub(crate) fn extensions(&self) -> bool {
        self.0.contains(EXTENSIONS)
    }

    pub(crate) fn replica_set(&self) -> bool {
        self.0.contains(REPLICA_SET)
    }

    /// Refuses a command that a server without what is withheld would refuse.
    pub(crate) fn check(&self, request: &Request<'_>) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        if self.0.contains(request.name) {
            let text = format!("no such command: '{}'", request.name);
            return Err(CommandError::new(Code::CommandNotFound, text));
        }
        let is_snapshot = matches!(request.read_concern(), Ok(ReadConcern::Snapshot(_)));
        if self.0.contains(SNAPSHOT_READS) && is_snapshot {
            let text = "readConcern level snapshot is not supported here";
            return Err(CommandError::new(Code::InvalidOptions, text));
        }
        let by_uuid = matches!(request.field(request.name), Some(bson::RawBsonRef::Binary(_)));
        if self.0.contains(UUID_READS) && by_uuid {
            let text = "collection name has invalid type binData";
            return Err(CommandError::new(Code::BadValue, text));
        }
        if self.0.contains(DROP_TARGET) && request.flag("dropTarget") {
            let text = "support for field \"dropTarget\" is not implemented yet";
            return Err(CommandError::new(Code::CommandNotSupported, text));
        }
        let is_oplog =
            request.database == "local" && request.text(request.name) == Some("oplog.rs");
        if self.replica_set() && is_oplog {
            let text = "there is no oplog";
            return Err(CommandError::new(Code::NamespaceNotFound, text));
        }
        Ok(())
    }
}
