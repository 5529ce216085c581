//! `$set` and `$unset` of oplog entries, as servers before 5.0 write them.
//!
//! Source: the oplog of MongoDB 4.4 (`$v: 1`). Other operators are written as the values that they led
//! to. Such an entry says what fields are afterwards, so it may be applied to a later state too: a path
//! that leads nowhere any more was changed by a later entry.

use bson::{Bson, Document};

/// Longer arrays are not made of an index alone.
const LONGEST_ARRAY: usize = 2_000_000;

/// Why a change cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperatorError {
    /// An operator that no oplog has.
    #[error("the update operator {0:?} is not one that an oplog has")]
    Unknown(String),
    /// An index that no array has.
    #[error("the path {0:?} has an index that is too large")]
    Index(String),
}

/// Refuses a change that `apply_operators` would refuse whatever the document.
pub fn check_operators(change: &Document) -> Result<(), OperatorError> {
    for (operator, fields) in change {
        let is_known = matches!(operator.as_str(), "$set" | "$unset");
        if operator != "$v" && !(is_known && matches!(fields, Bson::Document(_))) {
            return Err(OperatorError::Unknown(operator.clone()));
        }
    }
    Ok(())
}

/// Applies `$set` and `$unset` to a document.
pub fn apply_operators(document: &mut Document, change: &Document) -> Result<(), OperatorError> {
    check_operators(change)?;
    for (operator, fields) in change {
        let Bson::Document(fields) = fields else { continue };
        for (path, value) in fields {
            let parts: Vec<&str> = path.split('.').collect();
            let value = (operator == "$set").then_some(value);
            put_into(document, &parts, value)
                .map_err(|TooLarge| OperatorError::Index(path.clone()))?;
        }
    }
    Ok(())
}

struct TooLarge;

/// Sets what is at a path, or removes it.
fn put_into(document: &mut Document, path: &[&str], value: Option<&Bson>) -> Result<(), TooLarge> {
    let Some((name, rest)) = path.split_first() else { return Ok(()) };
    if rest.is_empty() {
        match value {
            Some(value) => drop(document.insert(*name, value.clone())),
            None => drop(document.remove(name)),
        }
        return Ok(());
    }
    if value.is_some() && !document.contains_key(name) {
        document.insert(*name, Document::new());
    }
    document.get_mut(name).map_or(Ok(()), |nested| put_below(nested, rest, value))
}

fn put_below(container: &mut Bson, path: &[&str], value: Option<&Bson>) -> Result<(), TooLarge> {
    match container {
        Bson::Document(nested) => put_into(nested, path, value),
        Bson::Array(items) => put_into_array(items, path, value),
        // What was there is something else by now.
        _ => Ok(()),
    }
}

fn put_into_array(
    items: &mut Vec<Bson>,
    path: &[&str],
    value: Option<&Bson>,
) -> Result<(), TooLarge> {
    let Some((index, rest)) = path.split_first() else { return Ok(()) };
    let Ok(index) = index.parse::<usize>() else { return Ok(()) };
    if value.is_some() && index >= items.len() {
        if index >= LONGEST_ARRAY {
            return Err(TooLarge);
        }
        items.resize(index + 1, Bson::Null);
        if let (Some(item), false) = (items.get_mut(index), rest.is_empty()) {
            *item = Bson::Document(Document::new());
        }
    }
    let Some(item) = items.get_mut(index) else { return Ok(()) };
    if rest.is_empty() {
        // An element that is removed leaves its place.
        *item = value.cloned().unwrap_or(Bson::Null);
        return Ok(());
    }
    put_below(item, rest, value)
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    fn applied(mut document: Document, change: &Document) -> Document {
        apply_operators(&mut document, change).unwrap();
        document
    }

    #[test]
    fn fields_are_set_and_removed_at_any_depth() {
        let before = doc! { "_id": 1, "a": { "b": 1, "c": [1, { "d": 2 }] }, "z": 1 };
        let change = doc! {
            "$v": 1,
            "$set": { "a.b": 5, "a.c.1.d": 3, "a.c.3": "x", "n.m.0": true },
            "$unset": { "z": true, "a.c.0": true, "no.such": true },
        };
        assert_eq!(
            applied(before, &change),
            doc! {
                "_id": 1,
                "a": { "b": 5, "c": [Bson::Null, { "d": 3 }, Bson::Null, "x"] },
                "n": { "m": { "0": true } },
            }
        );
    }

    #[test]
    fn what_leads_nowhere_any_more_is_passed_over() {
        let later = doc! { "_id": 1, "a": 5, "b": [1] };
        let change = doc! { "$set": { "a.b": 1, "b.x": 2, "b.0.c": 3 }, "$unset": { "a.c": true } };
        assert_eq!(applied(later.clone(), &change), later);
    }

    #[test]
    fn applied_twice_is_applied_once() {
        let change = doc! { "$set": { "a.b.2": 1, "c": { "d": 1 } }, "$unset": { "e.f": true } };
        let once = applied(doc! { "_id": 1, "a": { "b": [] }, "e": { "f": 1, "g": 2 } }, &change);
        assert_eq!(applied(once.clone(), &change), once);
    }

    #[test]
    fn other_operators_and_senseless_indexes_are_refused() {
        assert!(check_operators(&doc! { "$inc": { "a": 1 } }).is_err());
        assert!(check_operators(&doc! { "$set": 1 }).is_err());
        let mut document = doc! { "a": [] };
        let change = doc! { "$set": { "a.4000000000": 1 } };
        assert_eq!(
            apply_operators(&mut document, &change),
            Err(OperatorError::Index("a.4000000000".into()))
        );
    }
}
