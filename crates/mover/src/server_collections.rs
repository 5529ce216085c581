//! What users keep in collections of the server's own: time series and stored functions.
//!
//! A time series is kept as documents that hold many measurements each, its buckets.
//! Before 8.3 buckets are in a collection of the server's own, `system.buckets.<name>`, of which the time
//! series is a view; from then on they are what `rawData` shows of the time series itself. A snapshot
//! holds the buckets under the name of the time series. Source: `timeseries` of the MongoDB server and
//! `mongorestore` of mongo-tools.

use std::borrow::Cow;

use bson::{Bson, Document};
use tidemark_deployment::{Connection, STORED_FUNCTIONS, time_series_of, unless_refused};

use crate::error::MoverError;

/// The option that makes a collection a time series.
const OPTION: &str = "timeseries";
/// What of the options of a time series the server makes itself.
const MADE: &[&str] = &["validator", "clusteredIndex", "idIndex", "viewOn", "pipeline"];

/// Whether a namespace is that of the stored functions of its database.
pub(crate) fn is_functions(namespace: &str) -> bool {
    namespace.split_once('.').is_some_and(|(_, name)| name == STORED_FUNCTIONS)
}

/// Whether a server can be told to leave empty timestamps as they are, instead of putting its time into
/// their place: early ones refuse what they do not know. An update that matches nothing is tried, of a
/// collection that is there.
pub(crate) fn keeps_empty_timestamps(
    connection: &mut Connection,
    (database, there): (&str, &str),
) -> Result<bool, MoverError> {
    let nothing = vec![bson::doc! { "q": { "_id": { "$in": [] } }, "u": { "$set": { "a": 1 } } }];
    let command =
        bson::doc! { "update": there, "updates": nothing, "bypassEmptyTsReplacement": true };
    Ok(unless_refused(connection.command(database, command))?.is_some())
}

/// Whether options are those of a time series.
pub(crate) fn is_time_series(options: &Document) -> bool {
    options.contains_key(OPTION)
}

/// A namespace as users know it.
pub(crate) fn known_as(namespace: &str) -> Cow<'_, str> {
    match namespace.split_once('.') {
        Some((database, name)) => time_series_of(name)
            .map_or(Cow::Borrowed(namespace), |name| Cow::Owned(format!("{database}.{name}"))),
        None => Cow::Borrowed(namespace),
    }
}

/// The options of a collection as they are given to make it, without what the server adds to those of
/// a time series.
pub(crate) fn given(mut options: Document) -> Document {
    if is_time_series(&options) {
        for made in MADE {
            options.remove(made);
        }
    }
    options
}

/// Changes the options of a time series as `collMod` does, to what a server takes to make it. Changes of
/// indexes are `modify_index`'s.
pub(crate) fn modify(options: &mut Document, changes: &Document) {
    const SPANS: &[&str] = &["bucketMaxSpanSeconds", "bucketRoundingSeconds"];
    if let (Ok(present), Ok(change)) =
        (options.get_document_mut(OPTION), changes.get_document(OPTION))
    {
        // One of both says how much is in a bucket; the other one is the server's to say.
        if change.contains_key("granularity") {
            for span in SPANS {
                present.remove(span);
            }
        }
        if SPANS.iter().any(|span| change.contains_key(span)) {
            present.remove("granularity");
        }
        present.extend(change.clone());
    }
    match changes.get("expireAfterSeconds") {
        // The only text that there is: "off".
        Some(Bson::String(_)) => {
            options.remove("expireAfterSeconds");
        }
        Some(seconds) => {
            options.insert("expireAfterSeconds", seconds);
        }
        None => {}
    }
}

/// Changes an index as `collMod` does: whether it is hidden, when its documents expire.
pub(crate) fn modify_index(indexes: &mut [Document], changes: &Document) {
    let Ok(change) = changes.get_document("index") else { return };
    let is_meant = |index: &&mut Document| {
        let says = |field: &str, of_index: &str| {
            change.get(field).is_some_and(|value| index.get(of_index) == Some(value))
        };
        says("name", "name") || says("keyPattern", "key")
    };
    for index in indexes.iter_mut().filter(is_meant) {
        for field in ["hidden", "expireAfterSeconds"] {
            if let Some(value) = change.get(field) {
                index.insert(field, value);
            }
        }
    }
}

/// An index on buckets as the users' index on measurements that it is, by the options of the time series.
pub(crate) fn users_index(options: &Document, mut index: Document) -> Document {
    // Where it cannot be told from the keys, servers note what was asked for.
    if let Some(Bson::Document(original)) = index.remove("originalSpec") {
        return original;
    }
    let named = |field: &str| options.get_document(OPTION).ok()?.get_str(field).ok();
    let Ok(keys) = index.get_document("key") else { return index };
    let (mut users, mut before) = (Document::new(), None);
    for (key, order) in keys {
        let (place, field) = match key.split_once('.') {
            Some(("control", bound)) => match bound.split_once('.') {
                Some((bound @ ("min" | "max"), field)) => (bound, field),
                _ => ("", key.as_str()),
            },
            Some(("data", field)) => ("data", field),
            _ => ("", key.as_str()),
        };
        match place {
            // Both bounds are one key of the users': the first of them tells its direction.
            "min" | "max" if before == Some(field) => before = None,
            "min" | "max" => {
                before = Some(field);
                users.insert(field, order.clone());
            }
            "data" => {
                let order = match order {
                    Bson::String(kind) => Bson::String(kind.trim_end_matches("_bucket").to_owned()),
                    order => order.clone(),
                };
                users.insert(field, order);
            }
            _ => {
                let under_meta = key
                    .strip_prefix("meta")
                    .filter(|rest| rest.is_empty() || rest.starts_with('.'));
                let name = match (under_meta, named("metaField")) {
                    (Some(rest), Some(meta)) => format!("{meta}{rest}"),
                    _ => key.clone(),
                };
                users.insert(name, order.clone());
            }
        }
    }
    index.insert("key", users);
    index
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn an_index_on_buckets_is_the_users_index_on_measurements() {
        let options = doc! { "timeseries": { "timeField": "t", "metaField": "sensor" } };
        let users = |key: Document| {
            let index = doc! { "v": 2, "name": "i", "key": key };
            users_index(&options, index).get_document("key").unwrap().clone()
        };
        assert_eq!(
            users(doc! { "meta": 1, "control.min.t": 1, "control.max.t": 1 }),
            doc! { "sensor": 1, "t": 1 }
        );
        assert_eq!(
            users(doc! { "control.max.t": -1, "control.min.t": -1, "meta.site": 1 }),
            doc! { "t": -1, "sensor.site": 1 }
        );
        assert_eq!(users(doc! { "data.place": "2dsphere_bucket" }), doc! { "place": "2dsphere" });
        assert_eq!(users(doc! { "metal": 1 }), doc! { "metal": 1 });
        let original = doc! { "v": 2, "name": "i", "key": { "x": 1 } };
        let index =
            doc! { "v": 2, "key": { "control.min.x": 1 }, "originalSpec": original.clone() };
        assert_eq!(users_index(&options, index), original);
    }

    #[test]
    fn what_a_server_adds_is_not_given_to_the_next_one() {
        let series = doc! { "timeField": "t", "granularity": "seconds" };
        let mut options = given(doc! {
            "validator": { "$jsonSchema": {} }, "clusteredIndex": true, "timeseries": series,
            "expireAfterSeconds": 60i64,
        });
        modify(
            &mut options,
            &doc! { "timeseries": { "granularity": "hours" }, "expireAfterSeconds": 9i64 },
        );
        assert_eq!(
            options,
            doc! { "timeseries": { "timeField": "t", "granularity": "hours" }, "expireAfterSeconds": 9i64 }
        );
        // What a server adds to a granularity does not go with another one; neither does what it adds to
        // one that is gone.
        let mut spans = doc! { "timeseries": { "timeField": "t", "granularity": "seconds", "bucketMaxSpanSeconds": 3600 } };
        modify(
            &mut spans,
            &doc! { "timeseries": { "granularity": "hours" }, "expireAfterSeconds": "off" },
        );
        assert_eq!(spans, doc! { "timeseries": { "timeField": "t", "granularity": "hours" } });
        modify(
            &mut spans,
            &doc! { "timeseries": { "bucketMaxSpanSeconds": 60, "bucketRoundingSeconds": 60 }, "timeseriesBucketsMayHaveMixedSchemaData": true },
        );
        assert_eq!(
            spans,
            doc! { "timeseries": { "timeField": "t", "bucketMaxSpanSeconds": 60, "bucketRoundingSeconds": 60 } }
        );
        let mut indexes =
            [doc! { "name": "i", "key": { "t": 1 } }, doc! { "name": "j", "key": { "u": 1 } }];
        modify_index(&mut indexes, &doc! { "index": { "name": "j", "hidden": true } });
        assert_eq!(indexes[0].get("hidden"), None);
        assert!(indexes[1].get_bool("hidden").unwrap());
        let plain = doc! { "validator": { "a": 1 }, "clusteredIndex": true };
        assert_eq!(given(plain.clone()), plain);
        assert_eq!(known_as("d.system.buckets.x.y"), "d.x.y");
        assert_eq!(known_as("d.system.js"), "d.system.js");
    }
}
