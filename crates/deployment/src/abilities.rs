//! What a deployment can do.

use bson::{Bson, Document};
use tidemark_model::{OplogTime, Topology};

use crate::connection::Connection;
use crate::error::LinkError;

/// What kind of server a deployment is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// Our own engine.
    Tidemark,
    /// MongoDB, or what behaves like it.
    MongoDb,
    /// FerretDB: it passes over parts of commands that it does not know.
    FerretDb,
}

impl Product {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tidemark => "Tidemark",
            Self::MongoDb => "MongoDB",
            Self::FerretDb => "FerretDB",
        }
    }
}

/// What a deployment can do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an ability of its own")]
pub struct Abilities {
    /// What kind of server it is.
    pub product: Product,
    /// The version that it says it has.
    pub version: String,
    /// How its servers belong together.
    pub topology: Topology,
    /// Its newest majority-committed oplog entry, where the oplog can be read.
    pub newest_entry: Option<OplogTime>,
    /// Whether all reads can show one moment.
    pub snapshot_reads: bool,
    /// Whether a collection is found by its UUID, whatever its name is by then.
    pub reads_by_uuid: bool,
    /// Whether a collection can be renamed.
    pub renames: bool,
    /// Whether a list of renames can be one commit.
    pub atomic_renames: bool,
    /// Whether a collection can be staged without its oplog entries and indexes.
    pub bulk_staging: bool,
    /// Whether parts of a collection can be read, by the numbers of its documents.
    pub record_ranges: bool,
}

impl Abilities {
    /// Whether the buckets of a time series are what `rawData` shows of it, and not a collection of the
    /// server's own: from 8.3 on, as `mongodump` has it.
    pub fn has_raw_data(&self) -> bool {
        !has_buckets_apart(&self.version)
    }
}

/// Whether a server of this version has the buckets of a time series in a collection of its own.
pub fn has_buckets_apart(version: &str) -> bool {
    let mut parts = version.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < (8, 3)
}

/// Tries out what a deployment can do.
pub fn probe(connection: &mut Connection) -> Result<Abilities, LinkError> {
    let build = connection.command("admin", bson::doc! { "buildInfo": 1 })?;
    let hello = greet(connection)?;
    // They are for the server itself: whoever else logs in to an engine does not see what is staged.
    let extensions = hello.get_document("tidemark").ok().filter(|_| connection.is_embedded());
    let has = |extension| extensions.is_some_and(|e| e.get_bool(extension).unwrap_or(false));
    let topology = topology_of(&hello);
    let has_oplog = topology == Topology::ReplicaSet;
    Ok(Abilities {
        product: product_of(&build, extensions.is_some()),
        version: build.get_str("version").unwrap_or("0.0.0").to_owned(),
        topology,
        newest_entry: if has_oplog { readable_oplog(connection)? } else { None },
        snapshot_reads: unless_refused(open_snapshot(connection))?.flatten().is_some(),
        reads_by_uuid: finds_by_uuid(connection)?,
        renames: connection.is_embedded() || knows_renames(connection)?,
        atomic_renames: has("atomicApplyOps"),
        bulk_staging: has("bulkStaging"),
        record_ranges: has("recordRanges"),
    })
}

/// Whether there is a command that renames. A deployment that does not say is taken to have one.
fn knows_renames(connection: &mut Connection) -> Result<bool, LinkError> {
    let listed = connection.command("admin", bson::doc! { "listCommands": 1 });
    let Some(listed) = unless_refused(listed)? else { return Ok(true) };
    Ok(listed.get_document("commands").map_or(true, |known| known.contains_key("renameCollection")))
}

/// What a deployment says of itself.
pub(crate) fn greet(connection: &mut Connection) -> Result<Document, LinkError> {
    match unless_refused(connection.command("admin", bson::doc! { "hello": 1 }))? {
        Some(hello) => Ok(hello),
        // What it was called before.
        None => connection.command("admin", bson::doc! { "isMaster": 1 }),
    }
}

fn product_of(build: &Document, is_own: bool) -> Product {
    if is_own {
        Product::Tidemark
    } else if build.contains_key("ferretdbVersion") || build.contains_key("ferretdb") {
        Product::FerretDb
    } else {
        Product::MongoDb
    }
}

pub(crate) fn topology_of(hello: &Document) -> Topology {
    if hello.contains_key("setName") {
        Topology::ReplicaSet
    } else if hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid") {
        Topology::Sharded
    } else {
        Topology::Standalone
    }
}

/// What was answered, or nothing if the deployment refused it: that says that it cannot do it. A
/// connection that broke says nothing.
pub fn unless_refused<T>(outcome: Result<T, LinkError>) -> Result<Option<T>, LinkError> {
    match outcome {
        Err(error) if error.code().is_some() && !error.is_transient() => Ok(None),
        outcome => outcome.map(Some),
    }
}

/// The newest entry, or nothing where the oplog may not be read.
fn readable_oplog(connection: &mut Connection) -> Result<Option<OplogTime>, LinkError> {
    Ok(unless_refused(newest_entry(connection))?.flatten())
}

/// Looks for a collection by a UUID that none has: who understands the question says that there is
/// none.
fn finds_by_uuid(connection: &mut Connection) -> Result<bool, LinkError> {
    const NAMESPACE_NOT_FOUND: i32 = 26;
    let nobody = bson::Binary { subtype: bson::spec::BinarySubtype::Uuid, bytes: vec![0; 16] };
    let command = bson::doc! { "find": Bson::Binary(nobody), "limit": 1, "singleBatch": true };
    match connection.for_each("tidemark", command, |_| Ok::<_, LinkError>(())) {
        Err(error) if error.code().is_some() && !error.is_transient() => {
            Ok(error.code() == Some(NAMESPACE_NOT_FOUND))
        }
        outcome => outcome.map(|_| false),
    }
}

/// The position of the newest majority-committed oplog entry.
pub fn newest_entry(connection: &mut Connection) -> Result<Option<OplogTime>, LinkError> {
    let command = bson::doc! {
        "find": "oplog.rs",
        "sort": { "$natural": -1 },
        "limit": 1,
        "singleBatch": true,
        "readConcern": { "level": "majority" },
    };
    let mut newest = None;
    connection.for_each("local", command, |entry| {
        newest = entry.get_timestamp("ts").ok().map(|ts| OplogTime::new(ts.time, ts.increment));
        Ok::<_, LinkError>(())
    })?;
    Ok(newest)
}

/// Begins a snapshot read; the moment stays readable for a while.
pub fn open_snapshot(connection: &mut Connection) -> Result<Option<OplogTime>, LinkError> {
    let command = bson::doc! {
        "find": "tidemark.probe",
        "limit": 1,
        "singleBatch": true,
        "readConcern": { "level": "snapshot" },
    };
    let at = connection.for_each("tidemark", command, |_| Ok::<_, LinkError>(()))?;
    Ok(at.map(|ts| OplogTime::new(ts.time, ts.increment)))
}
