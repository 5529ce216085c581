//! Events: who did what, and from where.

use askama::Template;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::Value;
use tidemark_catalog::{Event, EventFilter, EventsOf, Page, Project};

use crate::answer::{Answer, page};
use crate::problem::Problem;
use crate::shown::Frame;
use crate::visit::Visit;

/// Events on a page.
const SHOWN: u64 = 50;

/// An event, as the table shows it.
struct Row {
    at: Timestamp,
    kind: &'static str,
    text: &'static str,
    by: String,
    of: String,
    from: String,
}

#[derive(Template)]
#[template(path = "events.html")]
struct EventsPage {
    f: Frame,
    path: String,
    rows: Vec<Row>,
    number: u64,
    has_more: bool,
}

/// The page; the newest come first.
pub(crate) fn show(visit: &Visit<'_>, project: &Project) -> Result<Answer, Problem> {
    let query = visit.request.query();
    let number = query.get("page").and_then(|text| text.parse().ok()).unwrap_or(1).max(1);
    let of = EventsOf::Project(project.id);
    let wanted = Page { number, size: SHOWN };
    let found = visit.console.catalog.list_events(of, &EventFilter::default(), wanted)?;
    let shown = EventsPage {
        f: visit.frame.clone(),
        path: format!("/projects/{}/events", project.id),
        has_more: number.saturating_mul(SHOWN) < found.total,
        rows: found.items.into_iter().map(row).collect(),
        number,
    };
    Ok(page(StatusCode::OK, &shown))
}

fn row(event: Event) -> Row {
    let scope = event.entry.scope;
    let detail = ["dbUserUsername", "targetPublicKey", "whitelistEntry"]
        .iter()
        .find_map(|name| scope.detail.get(*name).and_then(Value::as_str));
    let of = detail.map(str::to_owned).or(scope.instance);
    Row {
        at: event.entry.at,
        kind: event.kind.map_or("", |kind| kind.name),
        text: event.kind.map_or("", |kind| kind.description),
        by: event.public_key.unwrap_or(event.entry.actor),
        of: of.unwrap_or_default(),
        from: event.entry.address.unwrap_or_default(),
    }
}
