//! `/groups/{groupId}/instances/{name}/documents`, `/differences` and `/openings`: looking into backups.
//!
//! An answer is one JSON object a line, as long as it takes: `document` or `namespace` and `difference`,
//! and at its end `summary`, or `error` if it ended early. What is wrong from the start has its status.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body as Content, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response};
use futures_util::stream;
use serde_json::{Value, json};
use tidemark_catalog::{Instance, Project};
use tidemark_model::{Role, Rule, Selection};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::ask::Ask;
use super::points;
use crate::api::{Comparison, InspectError, Inspector, IsGone, Opening, Say, Search};
use crate::body::Body;
use crate::error::{ApiError, Result};

/// Documents of an answer, unless the body says otherwise, and at most.
const DEFAULT_LIMIT: u64 = 100;
const LARGEST_LIMIT: u64 = 1_000_000;
/// How long it is waited whether something is wrong from the start.
const FIRST_LOOK: Duration = Duration::from_secs(10);
/// So many look at the same time.
const PLACES: usize = 8;
/// So many are served as databases at the same time.
const OPENINGS: usize = 4;
/// How long one is served, unless the body says otherwise, and at most.
const DEFAULT_MINUTES: i64 = 60;
const MOST_MINUTES: i64 = 24 * 60;
/// How long a client may take no line.
const SLOWEST: Duration = Duration::from_mins(1);
/// Lines that wait for a client.
const LINES: usize = 64;

/// What comes from whoever looks.
enum Piece {
    Line(Bytes),
    Failed(InspectError),
}

/// Finds documents.
pub(super) fn search(
    ask: &Ask<'_>,
    (project, instance): (&Project, &Instance),
) -> Result<Response<Content>> {
    ask.require(project, Role::GroupBackupExportOperator)?;
    let body = ask.incoming.json()?;
    let body = Body::new(&body)?;
    body.allow(&[&points::ATTRIBUTES[..], &["filter", "limit", "namespace"]].concat())?;
    let at = points::parse_one(&body)?;
    let search = Search {
        namespace: body.required_text("namespace")?.to_owned(),
        filter: body.value("filter").cloned().unwrap_or_else(|| json!({})),
        limit: parse_limit(&body, "limit", DEFAULT_LIMIT)?,
    };
    let source = instance.clone();
    stream_out(ask, (instance, &LOOKING), move |inspector, to| {
        inspector.search(&source, at, &search, to)
    })
}

/// Finds what is different.
pub(super) fn compare(
    ask: &Ask<'_>,
    (project, instance): (&Project, &Instance),
) -> Result<Response<Content>> {
    let body = ask.incoming.json()?;
    let body = Body::new(&body)?;
    body.allow(&["documents", "from", "namespaces", "to"])?;
    let point = |name: &str| {
        let point = body.object(name)?.ok_or_else(|| body.missing(name))?;
        point.allow(&points::ATTRIBUTES)?;
        points::parse_one(&point)
    };
    let ends = (point("from")?, point("to")?);
    let namespaces = body.texts("namespaces")?.unwrap_or_default();
    let comparison = Comparison {
        namespaces: namespaces.into_iter().map(str::to_owned).collect(),
        documents: parse_limit(&body, "documents", 0)?,
    };
    // Who may only read sees how many there are.
    let role = if comparison.documents > 0 {
        Role::GroupBackupExportOperator
    } else {
        Role::GroupReadOnly
    };
    ask.require(project, role)?;
    let source = instance.clone();
    stream_out(ask, (instance, &LOOKING), move |inspector, to| {
        inspector.compare(&source, ends, &comparison, to)
    })
}

/// Serves a backup as a database that can only be read, as long as the answer is taken.
pub(super) fn open(
    ask: &Ask<'_>,
    (project, instance): (&Project, &Instance),
) -> Result<Response<Content>> {
    ask.require(project, Role::GroupBackupExportOperator)?;
    let body = ask.incoming.json()?;
    let body = Body::new(&body)?;
    body.allow(&[&points::ATTRIBUTES[..], &["minutes", "namespaces"]].concat())?;
    let at = points::parse_one(&body)?;
    let minutes = body.integer("minutes")?.unwrap_or(DEFAULT_MINUTES);
    if !(1..=MOST_MINUTES).contains(&minutes) {
        return Err(body.invalid("minutes"));
    }
    let namespaces = body.texts("namespaces")?.unwrap_or_default();
    let rule = |name: &str| Rule { from: name.to_owned(), to: name.to_owned() };
    let opening = Opening {
        selection: Selection::new(namespaces.into_iter().map(rule).collect())
            .map_err(|error| ApiError::invalid_namespaces(&error.to_string()))?,
        duration: Duration::from_mins(minutes.unsigned_abs()),
    };
    let source = instance.clone();
    stream_out(ask, (instance, &OPEN), move |inspector, to| {
        inspector.open(&source, at, &opening, to)
    })
}

fn parse_limit(body: &Body<'_>, attribute: &str, otherwise: u64) -> Result<u64> {
    let Some(limit) = body.integer(attribute)? else { return Ok(otherwise) };
    let limit = u64::try_from(limit).ok().filter(|limit| *limit <= LARGEST_LIMIT);
    limit.ok_or_else(|| body.invalid(attribute))
}

/// Answers what somebody says, line by line.
fn stream_out(
    ask: &Ask<'_>,
    (instance, places): (&Instance, &'static Places),
    work: impl FnOnce(&dyn Inspector, (Say<'_>, IsGone<'_>)) -> std::result::Result<(), InspectError>
    + Send
    + 'static,
) -> Result<Response<Content>> {
    let inspector = ask.api.config.inspector.clone().ok_or_else(ApiError::unexpected)?;
    let place = places.take().ok_or_else(|| ApiError::cannot_inspect_now(places.all_taken))?;
    let (pieces, mut taken) = channel(LINES);
    let runtime = Handle::current();
    std::thread::spawn(move || {
        look(&inspector, (&pieces, &runtime), work);
        drop(place);
    });
    let first = wait_for_first(&mut taken);
    if let Some(Piece::Failed(error)) = first {
        return Err(refusal(instance, error));
    }
    let lines = stream::unfold((first, taken), |(first, mut taken)| async move {
        let piece = match first {
            Some(piece) => piece,
            None => taken.recv().await?,
        };
        Some((Ok::<_, std::convert::Infallible>(line_of(piece)), (None, taken)))
    });
    let mut response = Response::new(Content::from_stream(lines));
    let media_type = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    Ok(response)
}

/// Places of those who look at the same time.
struct Places {
    taken: AtomicUsize,
    most: usize,
    /// What is said when there is none.
    all_taken: &'static str,
}

static LOOKING: Places = Places {
    taken: AtomicUsize::new(0),
    most: PLACES,
    all_taken: "as many as can be looked into at a time are",
};
static OPEN: Places = Places {
    taken: AtomicUsize::new(0),
    most: OPENINGS,
    all_taken: "as many as can be open at a time are",
};

/// A place; free again when it is dropped.
struct Place(&'static Places);

impl Places {
    fn take(&'static self) -> Option<Place> {
        let taken = self.taken.fetch_add(1, Ordering::SeqCst);
        let place = Place(self);
        (taken < self.most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::SeqCst);
    }
}

fn look(
    inspector: &Arc<dyn Inspector>,
    (pieces, runtime): (&Sender<Piece>, &Handle),
    work: impl FnOnce(&dyn Inspector, (Say<'_>, IsGone<'_>)) -> std::result::Result<(), InspectError>,
) {
    // Whoever takes nothing for so long does not hold on to what is read.
    let send = |piece: Piece| {
        // The clock of a timeout is the runtime's.
        let sent =
            runtime.block_on(async { tokio::time::timeout(SLOWEST, pieces.send(piece)).await });
        matches!(sent, Ok(Ok(())))
    };
    let mut say = |line: Value| send(Piece::Line(Bytes::from(format!("{line}\n"))));
    match work(inspector.as_ref(), (&mut say, &|| pieces.is_closed())) {
        Ok(()) | Err(InspectError::Gone) => {}
        // Nobody may be there any more.
        Err(error) => drop(send(Piece::Failed(error))),
    }
}

/// The first piece, if it comes soon; this thread may wait.
fn wait_for_first(taken: &mut Receiver<Piece>) -> Option<Piece> {
    let runtime = Handle::current();
    runtime.block_on(tokio::time::timeout(FIRST_LOOK, taken.recv())).ok().flatten()
}

fn line_of(piece: Piece) -> Bytes {
    match piece {
        Piece::Line(line) => line,
        Piece::Failed(error) => Bytes::from(format!("{}\n", json!({ "error": error.to_string() }))),
    }
}

fn refusal(instance: &Instance, error: InspectError) -> ApiError {
    match error {
        InspectError::Unknown(error) => points::refusal(instance, error),
        InspectError::Refused(reason) => ApiError::cannot_inspect(&reason),
        InspectError::NotNow(reason) => ApiError::cannot_inspect_now(&reason),
        InspectError::Gone => ApiError::unexpected(),
    }
}
