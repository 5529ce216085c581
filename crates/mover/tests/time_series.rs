//! Time series and stored functions: what users keep in collections of the server's own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;

use bson::spec::BinarySubtype;
use bson::{Binary, Document, doc};
use tempfile::TempDir;
use tidemark_deployment::{Client, Connection, Endpoint, list_collections};
use tidemark_model::{
    ExportFormat, OplogSpan, OplogTime, RestorePlan, Rule, Selection, SnapshotId,
};
use tidemark_mover::{
    Attempt, ImportRequest, MoverError, PART_BYTES, Progress, Replay, Restore, RestoreSource,
    SnapshotRequest, Stop, WantedMode, export, import_dump, read_snapshot, swap_stage,
};
use tidemark_testkit::{Instance, TimeSeriesServer, link_settings, owner, vault};
use tidemark_vault::{Manifest, OplogSegment, Vault};

const SNAPSHOT: &str = "0123456789abcdef01234567";
const JOB: &str = "job";

/// A server with time series, and the database behind it.
struct Served {
    behind: Instance,
    server: TimeSeriesServer,
}

impl Served {
    fn start(has_raw_data: bool) -> Self {
        let behind = Instance::start();
        let server = TimeSeriesServer::start(behind.address(), has_raw_data);
        Self { behind, server }
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::Attached(Client::new(&link_settings(self.server.address())).unwrap())
    }

    fn connect(&self) -> Connection {
        Connection::open(&self.endpoint()).unwrap()
    }

    /// What the server keeps in a collection.
    fn documents(&self, database: &str, kept_in: &str) -> Vec<Document> {
        let mut found = Vec::new();
        let find = doc! { "find": kept_in, "sort": { "_id": 1 } };
        self.behind
            .connect()
            .for_each(database, find, |document| {
                found.push(Document::try_from(document).unwrap());
                Ok::<_, MoverError>(())
            })
            .unwrap();
        found
    }

    /// Every namespace with its kind.
    fn kinds(&self) -> Vec<(String, String)> {
        let listings = list_collections(&mut self.connect()).unwrap();
        let users = listings.into_iter().filter(|listing| listing.database != "tidemark");
        users.map(|listing| (listing.namespace(), listing.kind)).collect()
    }

    fn fill(&self) {
        let mut connection = self.connect();
        connection.command("d", create()).unwrap();
        let index = doc! { "v": 2, "name": "sensor_1", "key": { "sensor": 1 } };
        connection.command("d", doc! { "createIndexes": "m", "indexes": [index] }).unwrap();
        self.insert("kept.buckets.m", &[bucket(1, &[1, 2]), bucket(2, &[3])]);
        self.insert("kept.js", &[doc! { "_id": "f", "value": "function() {}" }]);
        self.insert("c", &[doc! { "_id": 1 }]);
    }

    fn insert(&self, kept_in: &str, documents: &[Document]) {
        let insert = doc! { "insert": kept_in, "documents": documents.to_vec() };
        self.behind.connect().command("d", insert).unwrap();
    }
}

fn create() -> Document {
    doc! {
        "create": "m", "timeseries": { "timeField": "t", "metaField": "sensor", "granularity": "seconds" },
        "expireAfterSeconds": 3_600i64,
    }
}

fn column(bytes: &[u8]) -> Binary {
    Binary { subtype: BinarySubtype::Column, bytes: bytes.to_vec() }
}

fn bucket(id: i32, measured: &[u8]) -> Document {
    doc! {
        "_id": id, "control": { "version": 2, "min": { "t": 1 }, "max": { "t": 2 } }, "meta": "s1",
        "data": { "v": column(measured) },
    }
}

fn snapshot(vault: &Arc<Vault>, endpoint: Endpoint) -> Manifest {
    let request = SnapshotRequest {
        endpoint,
        snapshot: SNAPSHOT.into(),
        owner: owner(),
        taken_at: "2026-01-01T00:00:00Z".into(),
        mode: WantedMode::Strongest,
        why: None,
        draft_interval: std::time::Duration::ZERO,
        part_bytes: PART_BYTES,
    };
    let stop = Stop::new();
    read_snapshot(vault, &request, &stop, &Progress::default()).unwrap().store(&stop).unwrap()
}

struct World {
    _folder: TempDir,
    vault: Arc<Vault>,
    manifest: Manifest,
}

impl World {
    /// A snapshot of a server with a time series, stored functions and a collection.
    fn new(has_raw_data: bool) -> Self {
        let source = Served::start(has_raw_data);
        source.fill();
        let (folder, vault) = vault();
        let manifest = snapshot(&vault, source.endpoint());
        Self { _folder: folder, vault, manifest }
    }

    fn prepare(
        &self,
        target: &Endpoint,
        (replay, selection): (Option<Replay>, Selection),
    ) -> Result<(), MoverError> {
        let (stop, progress) = (Stop::new(), Progress::default());
        let source = RestoreSource { manifest: self.manifest.clone(), replay, selection };
        let attempt = Attempt { job: JOB.into(), number: 1 };
        let mut restore =
            Restore::new(&self.vault, target.clone(), (attempt, source), &stop, &progress);
        let verified = restore.verify()?;
        restore.stage(&verified)?;
        restore.replay(&verified)?;
        restore.build_indexes()?;
        restore.compare()
    }

    fn restore(
        &self,
        target: &Endpoint,
        what: (Option<Replay>, Selection),
    ) -> Result<(), MoverError> {
        self.prepare(target, what)?;
        swap_stage(target, JOB)
    }

    /// Captures entries after the snapshot, and says how to replay all of them.
    fn capture(&self, entries: &[Document]) -> Replay {
        let from = self.manifest.mode.consistent_at().unwrap();
        let at = |offset: usize| OplogTime::from_u64(from.to_u64() + offset as u64);
        let through = at(entries.len());
        let mut segment = OplogSegment {
            name: OplogSpan::new(from, through),
            count: entries.len() as u64 + 1,
            namespaces: vec![],
            entries: vec![],
        };
        let noop = doc! { "op": "n", "ns": "", "o": {} };
        for (offset, entry) in std::iter::once(&noop).chain(entries).enumerate() {
            let ts = at(offset);
            let mut entry = entry.clone();
            entry.insert("ts", bson::Timestamp { time: ts.seconds, increment: ts.increment });
            entry.to_writer(&mut segment.entries).unwrap();
        }
        self.vault.put_segment("i", &segment).unwrap();
        let base: SnapshotId = SNAPSHOT.parse().unwrap();
        Replay { instance: "i".into(), plan: RestorePlan { base, from, through, reaches: through } }
    }
}

fn everything() -> (Option<Replay>, Selection) {
    (None, Selection::everything())
}

fn names(kinds: &[(&str, &str)]) -> Vec<(String, String)> {
    kinds.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())).collect()
}

#[test]
fn buckets_and_functions_are_restored_as_their_server_keeps_them() {
    for has_raw_data in [false, true] {
        let w = World::new(has_raw_data);
        let series = w.manifest.collections.iter().find(|c| c.name == "m").unwrap();
        assert_eq!((series.kind.as_str(), series.content.documents), ("timeseries", 2));
        let target = Served::start(has_raw_data);
        // What is in the place of it, of whatever kind, goes; what the snapshot does not have, too.
        target.insert("m", &[doc! { "_id": "old" }]);
        target.insert("kept.js", &[doc! { "_id": "old" }]);
        target
            .connect()
            .command("d", doc! { "create": "other", "timeseries": { "timeField": "t" } })
            .unwrap();
        w.restore(&target.endpoint(), everything()).unwrap();
        assert_eq!(
            target.kinds(),
            names(&[("d.c", "collection"), ("d.m", "timeseries"), ("d.system.js", "collection")])
        );
        assert_eq!(target.documents("d", "kept.buckets.m"), [bucket(1, &[1, 2]), bucket(2, &[3])]);
        assert_eq!(
            target.documents("d", "kept.js"),
            [doc! { "_id": "f", "value": "function() {}" }]
        );
        let listings = list_collections(&mut target.connect()).unwrap();
        let series = listings.iter().find(|listing| listing.name == "m").unwrap();
        let mut made = create();
        made.remove("create");
        assert_eq!(series.options, made);
        assert_eq!(series.indexes[0].get_str("name").unwrap(), "sensor_1");
    }
}

#[test]
fn a_swap_that_is_cut_while_buckets_are_copied_is_finished() {
    let w = World::new(false);
    let target = Served::start(false);
    w.prepare(&target.endpoint(), everything()).unwrap();
    // What may be sent twice is sent again, but not for ever.
    target.server.cut_inserts(100);
    swap_stage(&target.endpoint(), JOB).unwrap_err();
    target.server.cut_inserts(0);
    swap_stage(&target.endpoint(), JOB).unwrap();
    // And once more, by a worker that does not know that it is over.
    swap_stage(&target.endpoint(), JOB).unwrap();
    assert_eq!(target.documents("d", "kept.buckets.m"), [bucket(1, &[1, 2]), bucket(2, &[3])]);
}

#[test]
fn buckets_with_differing_schemas_are_allowed_when_they_are_refused() {
    let w = World::new(false);
    let target = Served::start(false);
    target.server.refuse_mixed();
    w.restore(&target.endpoint(), everything()).unwrap();
    assert_eq!(target.documents("d", "kept.buckets.m").len(), 2);
}

#[test]
fn a_time_series_is_restored_under_another_name_beside_what_is_there() {
    let w = World::new(false);
    let target = Served::start(false);
    target.insert("m", &[doc! { "_id": "mine" }]);
    let rule = Rule { from: "d.m".into(), to: "e.yesterday".into() };
    w.restore(&target.endpoint(), (None, Selection::new(vec![rule]).unwrap())).unwrap();
    assert_eq!(target.documents("d", "m"), [doc! { "_id": "mine" }]);
    assert_eq!(target.documents("e", "kept.buckets.yesterday").len(), 2);
    assert_eq!(target.kinds(), names(&[("d.m", "collection"), ("e.yesterday", "timeseries")]));
}

#[test]
fn entries_of_buckets_are_replayed() {
    let w = World::new(false);
    let data = Binary { subtype: BinarySubtype::Generic, bytes: vec![9, 9] };
    let entry = |op: &str, ns: &str, o: Document| doc! { "op": op, "ns": ns, "o": o };
    let mut grown = entry(
        "u",
        "d.system.buckets.m",
        doc! {
            "$v": 2, "diff": { "sdata": { "b": { "v": { "o": 1, "d": data } } } },
        },
    );
    grown.insert("o2", doc! { "_id": 1 });
    let view = |name: &str| {
        let buckets = format!("system.buckets.{name}");
        entry(
            "i",
            "d.system.views",
            doc! { "_id": format!("d.{name}"), "viewOn": buckets, "pipeline": [] },
        )
    };
    let replay = w.capture(&[
        grown,
        entry("d", "d.system.buckets.m", doc! { "_id": 2 }),
        // A new one, as servers before 8.3 log it.
        entry("c", "d.$cmd", doc! {
            "create": "system.buckets.n", "validator": { "$jsonSchema": {} }, "clusteredIndex": true,
            "timeseries": { "timeField": "t", "metaField": "site" },
        }),
        view("n"),
        entry("i", "d.system.buckets.n", bucket(7, &[7])),
        entry("c", "d.$cmd", doc! {
            "createIndexes": "system.buckets.n", "v": 2, "name": "site_1_t_1",
            "key": { "meta": 1, "control.min.t": 1, "control.max.t": 1 },
        }),
        entry("c", "d.$cmd", doc! { "collMod": "system.buckets.n", "timeseries": { "granularity": "hours" } }),
        // One that is gone at the end.
        entry("c", "d.$cmd", doc! { "create": "system.buckets.gone", "timeseries": { "timeField": "t" } }),
        view("gone"),
        entry("d", "d.system.views", doc! { "_id": "d.gone" }),
        entry("c", "d.$cmd", doc! { "drop": "system.buckets.gone" }),
        entry("i", "d.system.js", doc! { "_id": "g", "value": "function() {}" }),
    ]);
    let target = Served::start(false);
    w.restore(&target.endpoint(), (Some(replay), Selection::everything())).unwrap();
    assert_eq!(target.documents("d", "kept.buckets.m"), [bucket(1, &[1, 9, 9])]);
    assert_eq!(target.documents("d", "kept.buckets.n"), [bucket(7, &[7])]);
    assert_eq!(target.documents("d", "kept.js").len(), 2);
    let listings = list_collections(&mut target.connect()).unwrap();
    let made = listings.iter().find(|listing| listing.name == "n").unwrap();
    assert_eq!(
        made.options,
        doc! { "timeseries": { "timeField": "t", "metaField": "site", "granularity": "hours" } }
    );
    assert_eq!(made.indexes[0].get_document("key").unwrap(), &doc! { "site": 1, "t": 1 });
    assert!(listings.iter().all(|listing| listing.name != "gone" && listing.kind != "view"));
}

#[test]
fn an_engine_of_ours_refuses_them_before_anything_is_staged() {
    let w = World::new(false);
    let own = Instance::start();
    let error = w.restore(&own.endpoint(), everything()).unwrap_err();
    assert!(error.to_string().contains("d.m, which is a time series"), "{error}");
    let functions = Rule { from: "d.system.js".into(), to: "d.system.js".into() };
    let only = (None, Selection::new(vec![functions]).unwrap());
    let error = w.restore(&own.endpoint(), only.clone()).unwrap_err();
    assert!(error.to_string().contains("stored functions"), "{error}");
    let attached = Instance::start_attached();
    let error = w.restore(&attached.endpoint(), only).unwrap_err();
    assert!(error.to_string().contains("system.js"), "{error}");
}

#[test]
fn what_a_target_does_not_take_is_known_before_it_is_touched() {
    let w = World::new(false);
    let target = Served::start(false);
    target.insert("m", &[doc! { "_id": "mine" }]);
    target.server.refuse_indexes();
    let error = w.prepare(&target.endpoint(), everything()).unwrap_err();
    assert!(error.to_string().contains("such an index"), "{error}");
    assert_eq!(target.documents("d", "m"), [doc! { "_id": "mine" }]);
}

#[test]
fn a_worker_that_was_overtaken_empties_nothing() {
    let w = World::new(false);
    let target = Served::start(false);
    w.prepare(&target.endpoint(), everything()).unwrap();
    target.insert("kept.js", &[doc! { "_id": "mine" }]);
    // What another worker has put in place and removed.
    let mut behind = target.behind.connect();
    let mut staged = Vec::new();
    behind
        .for_each("d", doc! { "listCollections": 1, "nameOnly": true }, |collection| {
            let name = collection.get_str("name").unwrap().to_owned();
            staged.extend(name.starts_with("tidemark_stage").then_some(name));
            Ok::<_, MoverError>(())
        })
        .unwrap();
    assert_eq!(staged.len(), 3);
    for name in staged {
        behind.command("d", doc! { "drop": name }).unwrap();
    }
    let error = swap_stage(&target.endpoint(), JOB).unwrap_err();
    assert!(matches!(error, MoverError::StageLost), "{error}");
    assert_eq!(target.documents("d", "kept.js"), [doc! { "_id": "mine" }]);
}

#[test]
fn archives_name_buckets_as_the_version_has_them() {
    for (has_raw_data, named) in [(false, true), (true, false)] {
        let w = World::new(has_raw_data);
        let (mut file, stop, progress) = (Vec::new(), Stop::new(), Progress::default());
        let format = ExportFormat::Archive;
        export((&w.vault, &w.manifest), format, &mut file, (&stop, &progress)).unwrap();
        let mut raw = Vec::new();
        let mut decoder = flate2::read::MultiGzDecoder::new(file.as_slice());
        std::io::Read::read_to_end(&mut decoder, &mut raw).unwrap();
        let has = raw.windows(16).any(|window| window == b"system.buckets.m");
        assert_eq!(has, named);
    }
}

#[test]
fn dumps_hold_buckets_as_mongodump_writes_them() {
    let w = World::new(false);
    for format in [ExportFormat::Archive, ExportFormat::Directory] {
        let (mut file, stop, progress) = (Vec::new(), Stop::new(), Progress::default());
        export((&w.vault, &w.manifest), format, &mut file, (&stop, &progress)).unwrap();
        let mut raw = Vec::new();
        std::io::Read::read_to_end(
            &mut flate2::read::MultiGzDecoder::new(file.as_slice()),
            &mut raw,
        )
        .unwrap();
        let has = |text: &str| raw.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(has("system.buckets.m"), "{format:?}");
        let request = ImportRequest {
            snapshot: "0123456789abcdef01234568".into(),
            owner: owner(),
            taken_at: "2026-01-01T00:00:00Z".into(),
        };
        let imported =
            import_dump(&w.vault, file.as_slice(), &request, (&stop, &progress)).unwrap();
        for (collection, there) in
            imported.manifest().collections.iter().zip(&w.manifest.collections)
        {
            assert_eq!(collection.namespace(), there.namespace());
            assert_eq!(collection.kind, there.kind);
            assert_eq!(collection.content, there.content);
            assert_eq!(collection.options, there.options);
        }
        assert_eq!(imported.manifest().collections.len(), 3);
    }
}

#[test]
fn an_archive_that_ends_between_two_collections_is_no_dump() {
    let w = World::new(false);
    let (mut file, stop, progress) = (Vec::new(), Stop::new(), Progress::default());
    export((&w.vault, &w.manifest), ExportFormat::Archive, &mut file, (&stop, &progress)).unwrap();
    let mut raw = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(file.as_slice()), &mut raw)
        .unwrap();
    let import = |bytes: &[u8]| {
        let request = ImportRequest {
            snapshot: "0123456789abcdef01234568".into(),
            owner: owner(),
            taken_at: "2026-01-01T00:00:00Z".into(),
        };
        import_dump(&w.vault, bytes, &request, (&stop, &progress)).map(drop)
    };
    import(&raw).unwrap();
    // The collections are c, m and system.js: what is left ends with the terminator of the first, or of
    // the second one.
    let head = |name: &str| {
        doc! { "db": "d", "collection": name, "EOF": false, "CRC": 0i64 }.to_vec().unwrap()
    };
    for (name, before) in [("system.buckets.m", "d.m"), ("system.js", "d.system.js")] {
        let head = head(name);
        let at = raw.windows(head.len()).position(|window| window == head).unwrap();
        let error = import(&raw[..at]).unwrap_err().to_string();
        assert!(error.contains("it ends within") && error.contains(before), "{error}");
    }
}
