//! How an event is shown, and which ones a query means.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tidemark_catalog::{Event, EventFilter, EventsOf};
use tidemark_model::{EventType, ServiceAccountId, format_instant, parse_instant};

use crate::answer::Answer;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::links::{link, list_body};

/// Attributes that only some kinds have.
const DETAILS: &[&str] = &["dbUserUsername", "targetPublicKey", "whitelistEntry"];

/// A page of the events that a query means.
pub(super) fn list(call: &Call<'_>, of: EventsOf) -> Result<Answer> {
    let is_raw = call.query_flag("includeRaw", false)?;
    let Some(filter) = parse(call)? else {
        return list_body(call, &call.page()?.of(Vec::new()), |event| {
            describe(call, event, is_raw)
        })
        .map(Answer::list);
    };
    let paged = call.catalog.list_events(of, &filter, call.page()?)?;
    list_body(call, &paged, |event| describe(call, event, is_raw)).map(Answer::list)
}

/// One event.
pub(super) fn get(call: &Call<'_>, of: EventsOf) -> Result<Answer> {
    let is_raw = call.query_flag("includeRaw", false)?;
    let text = call.path_value("eventId");
    let unknown = || ApiError::event_not_found(text);
    let id = text.parse().map_err(|_| unknown())?;
    let found = call.catalog.find_event(of, id)?.ok_or_else(unknown)?;
    Ok(Answer::entity(describe(call, &found, is_raw)))
}

/// Which events a query means; nothing if it can mean none, as one for kinds that this service never has.
fn parse(call: &Call<'_>) -> Result<Option<EventFilter>> {
    let kinds = |name: &str| call.query_values(name).into_iter().filter_map(EventType::find);
    let wanted: Vec<_> = kinds("eventType").collect();
    let names = call.query_values("clusterNames");
    let instances: Vec<_> = names.iter().filter_map(|name| name.parse().ok()).collect();
    let is_asked = |name: &str| !call.query_values(name).is_empty();
    if (is_asked("eventType") && wanted.is_empty()) || (!names.is_empty() && instances.is_empty()) {
        return Ok(None);
    }
    let instant = |name: &str| -> Result<Option<Timestamp>> {
        let text = call.query_value(name).filter(|text| !text.is_empty());
        let parse =
            |text| parse_instant(text).ok_or_else(|| ApiError::invalid_query_parameter(name));
        text.map(parse).transpose()
    };
    Ok(Some(EventFilter {
        kinds: wanted,
        excluded: kinds("excludedEventType").collect(),
        instances,
        since: instant("minDate")?,
        until: instant("maxDate")?,
    }))
}

fn describe(call: &Call<'_>, event: &Event, is_raw: bool) -> Value {
    let entry = &event.entry;
    let id = event.id.map(|id| id.to_string()).unwrap_or_default();
    let mut body = json!({
        "created": format_instant(entry.at),
        "eventTypeName": event.kind.map(|kind| kind.name),
        "id": id,
        "isGlobalAdmin": false,
        "links": [link(format!("{}{}", call.base_url, place(call, &id)), "self")],
    });
    let Some(fields) = body.as_object_mut() else { return body };
    let mut put = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value.into());
        }
    };
    put("groupId", entry.scope.project.map(|id| id.to_string()));
    put("orgId", entry.scope.org.map(|id| id.to_string()));
    put("remoteAddress", entry.address.clone());
    put("publicKey", event.public_key.clone());
    let is_principal = entry.actor.parse::<ServiceAccountId>().is_ok();
    match event.public_key {
        Some(_) => put("apiKeyId", Some(entry.actor.clone())),
        None if is_principal => put("userId", Some(entry.actor.clone())),
        // This service itself, or a command on its machine.
        None => {}
    }
    for name in DETAILS {
        put(name, entry.scope.detail.get(*name).and_then(Value::as_str).map(str::to_owned));
    }
    if is_raw {
        fields.insert("raw".to_owned(), raw(event, &id));
    }
    body
}

/// The path of an event, below the list that was asked for.
fn place(call: &Call<'_>, id: &str) -> String {
    let list = call.path.split("/events").next().unwrap_or_default();
    format!("{list}/events/{id}")
}

fn raw(event: &Event, id: &str) -> Value {
    let scope = &event.entry.scope;
    let mut raw = Map::new();
    raw.insert("_t".to_owned(), event.kind.map(|kind| kind.name).into());
    raw.insert("cre".to_owned(), format_instant(event.entry.at).into());
    raw.insert("description".to_owned(), event.kind.map(|kind| kind.description).into());
    raw.insert("id".to_owned(), id.into());
    raw.insert("severity".to_owned(), severity(event).into());
    for (name, id) in [
        ("cid", scope.project.map(|id| id.to_string())),
        ("orgId", scope.org.map(|id| id.to_string())),
    ] {
        if let Some(id) = id {
            raw.insert(name.to_owned(), id.into());
        }
    }
    Value::Object(raw)
}

fn severity(event: &Event) -> &'static str {
    match event.kind {
        Some(kind) if kind.name.ends_with("_FAILED") => "ERROR",
        _ => "INFO",
    }
}
