//! Looking into backups, for the API: documents, and differences.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bson::raw::RawDocument;
use bson::{Bson, Document};
use serde_json::{Value, json};
use tidemark_atlas_api::{Comparison, InspectError, Inspector, IsGone, Say, Search};
use tidemark_catalog::Instance;
use tidemark_docdb::Matcher;
use tidemark_model::{BackupPoint, OplogTime};
use tidemark_mover::{
    DocumentDifference, IdRanges, MoverError, NamespaceDifference, Stop, compare_snapshots,
    find_collection, visit_documents,
};
use tidemark_worker::{MomentError, Moments, Readable};

/// How often it is looked whether somebody waits for an answer.
const LOOK: Duration = Duration::from_millis(100);

/// Looks into the vaults of this server.
pub(crate) struct Inspection {
    pub(crate) moments: Moments,
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
        watched(is_gone, |stop| self.search_until(instance, at, search, (say, stop)))
    }

    fn compare(
        &self,
        instance: &Instance,
        ends: (BackupPoint, BackupPoint),
        comparison: &Comparison,
        (say, is_gone): (Say<'_>, IsGone<'_>),
    ) -> Result<(), InspectError> {
        watched(is_gone, |stop| self.compare_until(instance, ends, comparison, (say, stop)))
    }
}

/// Does work that is told to stop when nobody waits for it any more.
fn watched<T>(is_gone: IsGone<'_>, work: impl FnOnce(&Stop) -> T) -> T {
    let (stop, is_over) = (Stop::new(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                if is_gone() {
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

impl Inspection {
    fn search_until(
        &self,
        instance: &Instance,
        at: BackupPoint,
        search: &Search,
        (say, stop): (Say<'_>, &Stop),
    ) -> Result<(), InspectError> {
        let filter = document_of(&search.filter)?;
        let matcher = Matcher::parse(&filter).map_err(InspectError::Refused)?;
        let opened = self.open(instance, at, stop)?;
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
        let (before, after) = (self.open(instance, from, stop)?, self.open(instance, to, stop)?);
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
    fn open(
        &self,
        instance: &Instance,
        at: BackupPoint,
        stop: &Stop,
    ) -> Result<Readable, InspectError> {
        self.moments.open(instance, at, stop).map_err(|error| match error {
            MomentError::Unknown(error) => InspectError::Unknown(error),
            MomentError::Mover(error) if error.is_transient() => {
                InspectError::NotNow(error.to_string())
            }
            MomentError::Mover(error) => refused(error),
            MomentError::NotYet => InspectError::NotNow(MomentError::NotYet.to_string()),
        })
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
