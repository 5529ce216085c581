//! The settings of an organization.
//!
//! `apiAccessListRequired` and `maxServiceAccountSecretValidityInHours` are obeyed; the others are
//! kept and shown.

use serde_json::{Map, Value, json};
use tidemark_catalog::Org;

use crate::body::Body;
use crate::error::Result;

/// Each flag with its default.
const FLAGS: &[(&str, bool)] = &[
    ("apiAccessListRequired", false),
    ("genAIFeaturesEnabled", true),
    ("multiFactorAuthRequired", false),
    ("restrictEmployeeAccess", false),
    ("streamsCrossGroupEnabled", false),
];
const CONTACTS: &[&str] = &["operationsContact", "securityContact"];
const VALIDITY: &str = "maxServiceAccountSecretValidityInHours";
const TIMEOUTS: &str = "customSessionTimeouts";
const TIMEOUT_SECONDS: &[&str] =
    &["absoluteSessionTimeoutInSeconds", "idleSessionTimeoutInSeconds"];
/// How long a secret of a service account works at least and at most, in hours.
pub(crate) const SHORTEST_SECRET_HOURS: i64 = 8;
const LONGEST_SECRET_HOURS: i64 = 8_760;

pub(super) fn describe(org: &Org) -> Value {
    let mut settings = org.settings.clone();
    // It belongs to the organization itself.
    settings.remove(super::org::SKIP_ALERTS);
    for (name, default) in FLAGS {
        settings.entry(*name).or_insert_with(|| (*default).into());
    }
    settings.entry(VALIDITY).or_insert_with(|| LONGEST_SECRET_HOURS.into());
    settings.entry(TIMEOUTS).or_insert_with(|| json!({}));
    Value::Object(settings)
}

/// How long a secret of a service account may work in an organization, in hours.
pub(crate) fn longest_secret_hours(settings: &Map<String, Value>) -> i64 {
    settings.get(VALIDITY).and_then(Value::as_i64).unwrap_or(LONGEST_SECRET_HOURS)
}

/// The settings after what a body changes.
pub(super) fn change(settings: &Map<String, Value>, body: &Body<'_>) -> Result<Map<String, Value>> {
    let flags = FLAGS.iter().map(|(name, _)| *name);
    let known: Vec<&str> =
        flags.chain(CONTACTS.iter().copied()).chain([VALIDITY, TIMEOUTS]).collect();
    body.allow(&known)?;
    let mut changed = settings.clone();
    for (name, _) in FLAGS {
        if let Some(flag) = body.flag(name)? {
            changed.insert((*name).to_owned(), flag.into());
        }
    }
    for name in CONTACTS {
        match body.text(name)? {
            Some(text) => drop(changed.insert((*name).to_owned(), text.into())),
            None if body.has(name) => drop(changed.remove(*name)),
            None => {}
        }
    }
    if let Some(hours) = body.integer(VALIDITY)? {
        if !(SHORTEST_SECRET_HOURS..=LONGEST_SECRET_HOURS).contains(&hours) {
            return Err(body.invalid(VALIDITY));
        }
        changed.insert(VALIDITY.to_owned(), hours.into());
    }
    if let Some(timeouts) = body.object(TIMEOUTS)? {
        changed.insert(TIMEOUTS.to_owned(), parse_timeouts(&timeouts)?);
    }
    Ok(changed)
}

fn parse_timeouts(body: &Body<'_>) -> Result<Value> {
    body.allow(TIMEOUT_SECONDS)?;
    let mut timeouts = Map::new();
    for name in TIMEOUT_SECONDS {
        match body.integer(name)? {
            Some(seconds) if (1..=i64::from(i32::MAX)).contains(&seconds) => {
                timeouts.insert((*name).to_owned(), seconds.into());
            }
            Some(_) => return Err(body.invalid(name)),
            None => {}
        }
    }
    Ok(Value::Object(timeouts))
}
