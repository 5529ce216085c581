//! Looking into backups, for the API: documents, and differences.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bson::raw::RawDocument;
use bson::{Bson, Document};
use serde_json::{Value, json};
use tidemark_atlas_api::{Comparison, InspectError, Inspector, IsGone, Opening, Say, Search};
use tidemark_catalog::Instance;
use tidemark_docdb::Matcher;
use tidemark_model::{BackupPoint, OplogTime, SnapshotId, format_instant};
use tidemark_mover::{
    DocumentDifference, IdRanges, MoverError, NamespaceDifference, Progress, Stop,
    compare_snapshots, find_collection, visit_documents,
};
use tidemark_worker::{MomentError, Moments, Readable, Scratch};

use crate::hosting::Hosting;

/// How often it is said that something is open still, or how far opening it is.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How often it is looked whether somebody waits for an answer.
const LOOK: Duration = Duration::from_millis(100);

/// Looks into the vaults of this server.
pub(crate) struct Inspection {
    pub(crate) moments: Moments,
    /// Where backups are served.
    pub(crate) hosting: Arc<Hosting>,
}

impl std::fmt::Debug for Inspection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inspection")
    }
}

impl Inspector for Inspection {
    fn search(
        &self,
        instance: &Instance,
        at: BackupPoint,
        search: &Search,
        (say, is_gone): (Say<'_>, IsGone<'_>),
    ) -> Result<(), InspectError> {
        self.watched(is_gone, |stop| self.search_until(instance, at, search, (say, stop)))
    }

    fn compare(
        &self,
        instance: &Instance,
        ends: (BackupPoint, BackupPoint),
        comparison: &Comparison,
        (say, is_gone): (Say<'_>, IsGone<'_>),
    ) -> Result<(), InspectError> {
        self.watched(is_gone, |stop| self.compare_until(instance, ends, comparison, (say, stop)))
    }

    fn open(
        &self,
        instance: &Instance,
        at: BackupPoint,
        opening: &Opening,
        (say, is_gone): (Say<'_>, IsGone<'_>),
    ) -> Result<(), InspectError> {
        self.watched(is_gone, |stop| self.serve_until(instance, at, opening, (say, stop)))
    }
}

impl Inspection {
    /// Does work that is told to stop when nobody waits for it any more, or the server stops.
    fn watched<T>(&self, is_gone: IsGone<'_>, work: impl FnOnce(&Stop) -> T) -> T {
        let (stop, is_over) = (Stop::new(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::SeqCst) {
                    if is_gone() || self.hosting.is_stopping() {
                        return stop.request();
                    }
                    std::thread::park_timeout(LOOK);
                }
            });
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&stop)));
            is_over.store(true, Ordering::SeqCst);
            done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn search_until(
        &self,
        instance: &Instance,
        at: BackupPoint,
        search: &Search,
        (say, stop): (Say<'_>, &Stop),
    ) -> Result<(), InspectError> {
        let filter = document_of(&search.filter)?;
        let matcher = Matcher::parse(&filter).map_err(InspectError::Refused)?;
        let opened = self.read(instance, at, stop)?;
        let collection = find_collection(&opened.manifest, &search.namespace).map_err(refused)?;
        let (mut found, mut is_more, mut is_gone) = (0, false, false);
        let ids = IdRanges::of_filter(&filter);
        let looked = visit_documents(&opened.vault, collection, (&ids, stop), |document| {
            let is_meant = matcher.matches(document);
            if !is_meant.map_err(|what| MoverError::Lookup { what })? {
                return Ok(ControlFlow::Continue(()));
            }
            if found == search.limit {
                is_more = true;
                return Ok(ControlFlow::Break(()));
            }
            found += 1;
            is_gone = !say(json!({ "document": extended(document)? }));
            Ok(if is_gone { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })
        .map_err(refused)?;
        if is_gone {
            return Err(InspectError::Gone);
        }
        let mut summary = json!({
            "chunks": looked.chunks,
            "chunksRead": looked.chunks_read,
            "documents": found,
            "documentsRead": looked.documents_read,
            "isMore": is_more,
        });
        put_moment(&mut summary, "shows", &opened);
        say(json!({ "summary": summary }));
        Ok(())
    }

    fn compare_until(
        &self,
        instance: &Instance,
        (from, to): (BackupPoint, BackupPoint),
        comparison: &Comparison,
        (say, stop): (Say<'_>, &Stop),
    ) -> Result<(), InspectError> {
        let (before, after) = (self.read(instance, from, stop)?, self.read(instance, to, stop)?);
        check_named(comparison, [&before, &after])?;
        let is_wanted = |namespace: &str| {
            let rules = &comparison.namespaces;
            rules.is_empty() || rules.iter().any(|rule| names(rule, namespace))
        };
        // Both tell of what they find: documents as they come, and then their namespace.
        let said = std::cell::RefCell::new((say, false));
        let tell = |line: Value| -> Result<(), MoverError> {
            let mut said = said.borrow_mut();
            if (said.0)(line) {
                return Ok(());
            }
            said.1 = true;
            Err(MoverError::Stopped)
        };
        let (mut shown, mut different, mut equal) = (0, 0, 0);
        let mut note = |namespace: &str, difference: DocumentDifference| {
            if shown >= comparison.documents {
                return Ok(());
            }
            shown += 1;
            tell(json!({ "difference": describe_document(namespace, &difference)? }))
        };
        let compared = compare_snapshots(
            &after.vault,
            (&before.manifest, &after.manifest),
            is_wanted,
            (stop, &mut note),
            |found| {
                if found.is_empty() {
                    equal += 1;
                } else {
                    different += 1;
                }
                tell(json!({ "namespace": describe_namespace(&found) }))
            },
        );
        if said.borrow().1 {
            return Err(InspectError::Gone);
        }
        compared.map_err(refused)?;
        let mut summary = json!({ "namespacesDifferent": different, "namespacesEqual": equal });
        put_moment(&mut summary, "from", &before);
        put_moment(&mut summary, "to", &after);
        tell(json!({ "summary": summary })).map_err(refused)
    }
}

impl Inspection {
    /// Brings a backup into an engine of its own, and serves that until the time is over.
    fn serve_until(
        &self,
        instance: &Instance,
        at: BackupPoint,
        opening: &Opening,
        (say, stop): (Say<'_>, &Stop),
    ) -> Result<(), InspectError> {
        let name = format!("open-{}", SnapshotId::new(self.moments.clock.now()));
        let engine = self.hosting.open_scratch(&name).map_err(InspectError::NotNow)?;
        let progress = Progress::default();
        let filled = while_told(say, (&name, &progress), stop, || {
            let what = (instance, at, &opening.selection);
            self.moments.fill(what, (&engine.endpoint(), &name), (stop, &progress))
        })?;
        let filled = filled.map_err(why_not_open)?;
        let ends = Instant::now() + opening.duration;
        let closes_at = self.moments.clock.now() + opening.duration;
        let mut opened = json!({
            "closesAt": format_instant(closes_at),
            "connectionString": engine.reader(),
            "leftOut": filled.left_out,
        });
        if let (Some(at), Some(body)) = (filled.shows, opened.as_object_mut()) {
            body.insert("shows".to_owned(), tidemark_atlas_api::describe_position(at));
        }
        let mut is_there = say(json!({ "opened": opened }));
        while is_there && Instant::now() < ends && !stop.is_requested() {
            std::thread::sleep(HEARTBEAT.min(ends - Instant::now()));
            // Whoever went without a word is found out by this.
            is_there = say(json!({ "open": { "closesAt": format_instant(closes_at) } }));
        }
        if !is_there || stop.is_requested() {
            return Err(InspectError::Gone);
        }
        say(json!({ "summary": { "closed": "the time is over" } }));
        Ok(())
    }
}

/// Does work, and says once a second how far it is.
fn while_told<T: Send>(
    say: Say<'_>,
    (name, progress): (&str, &Progress),
    stop: &Stop,
    work: impl FnOnce() -> T + Send,
) -> Result<T, InspectError> {
    std::thread::scope(|scope| {
        let working = scope.spawn(work);
        let mut said = Instant::now();
        while !working.is_finished() {
            std::thread::sleep(LOOK);
            if said.elapsed() < HEARTBEAT {
                continue;
            }
            said = Instant::now();
            let done = json!({
                "bytesDone": progress.bytes(),
                "documentsDone": progress.documents(),
                "id": name,
                "state": "opening",
            });
            if !say(json!({ "progress": done })) {
                stop.request();
            }
        }
        let done = working.join();
        Ok(done.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn why_not_open(error: MomentError) -> InspectError {
    match error {
        MomentError::Unknown(error) => InspectError::Unknown(error),
        MomentError::Mover(MoverError::Stopped) => InspectError::Gone,
        MomentError::Mover(error) if error.is_transient() => {
            InspectError::NotNow(error.to_string())
        }
        MomentError::Mover(error) => refused(error),
        MomentError::NotYet => InspectError::NotNow(MomentError::NotYet.to_string()),
    }
}

impl Inspection {
    fn read(
        &self,
        instance: &Instance,
        at: BackupPoint,
        stop: &Stop,
    ) -> Result<Readable, InspectError> {
        self.moments.open(instance, at, stop).map_err(why_not_open)
    }
}

/// Whether `db.collection` or `db.*` names a namespace.
fn names(rule: &str, namespace: &str) -> bool {
    match rule.strip_suffix(".*") {
        Some(database) => namespace.split_once('.').is_some_and(|(of, _)| of == database),
        None => rule == namespace,
    }
}

/// Refuses to compare what neither side has: it would be equal.
fn check_named(comparison: &Comparison, sides: [&Readable; 2]) -> Result<(), InspectError> {
    let has = |rule: &&String| {
        let mut all = sides.iter().flat_map(|side| &side.manifest.collections);
        all.any(|collection| names(rule, &collection.namespace()))
    };
    match comparison.namespaces.iter().find(|rule| !has(rule)) {
        Some(rule) => Err(InspectError::Refused(format!("neither of them has {rule}"))),
        None => Ok(()),
    }
}

fn refused(error: MoverError) -> InspectError {
    match error {
        MoverError::Lookup { what } => InspectError::Refused(what),
        error => InspectError::Refused(error.to_string()),
    }
}

/// A filter in Extended JSON.
fn document_of(filter: &Value) -> Result<Document, InspectError> {
    match Bson::try_from(filter.clone()) {
        Ok(Bson::Document(filter)) => Ok(filter),
        Ok(_) => Err(InspectError::Refused("a filter is an object".to_owned())),
        Err(error) => {
            Err(InspectError::Refused(format!("the filter is no Extended JSON: {error}")))
        }
    }
}

/// A document as canonical Extended JSON: nothing of it is lost.
fn extended(document: &RawDocument) -> Result<Value, MoverError> {
    let document = Document::try_from(document)
        .map_err(|error| MoverError::Lookup { what: format!("a document is damaged: {error}") })?;
    Ok(Bson::Document(document).into_canonical_extjson())
}

fn describe_document(
    namespace: &str,
    difference: &DocumentDifference,
) -> Result<Value, MoverError> {
    let mut body = json!({ "namespace": namespace });
    for (name, side) in [("before", &difference.before), ("after", &difference.after)] {
        if let (Some(document), Some(body)) = (side, body.as_object_mut()) {
            body.insert(name.to_owned(), extended(document)?);
        }
    }
    Ok(body)
}

fn describe_namespace(found: &NamespaceDifference) -> Value {
    let (before, after) = found.is_there;
    json!({
        "added": found.added,
        "also": found.also,
        "changed": found.changed,
        "chunksEqual": found.chunks_equal,
        "chunksRead": found.chunks_read,
        "isInFrom": before,
        "isInTo": after,
        "namespace": found.namespace,
        "removed": found.removed,
    })
}

/// The moment that something shows.
fn put_moment(body: &mut Value, name: &str, opened: &Readable) {
    let at: Option<OplogTime> = opened.manifest.mode.consistent_at();
    if let (Some(at), Some(body)) = (at, body.as_object_mut()) {
        let shown = tidemark_atlas_api::describe_position(at);
        body.insert(name.to_owned(), shown);
    }
}
