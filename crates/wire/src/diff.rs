//! The `$v: 2` update format of the oplog: the difference of two documents.
//!
//! `{d: {field: false}, u: {field: value}, i: {field: value}, s<field>: difference}` for
//! documents, with `b: {field: {o: offset, d: bytes}}` for the columns of time series, and `{a: true, l: length, u<index>: value, s<index>: difference}` for arrays.
//! Source: `document_diff_serialization.h` of the MongoDB server.

use bson::{Bson, Document};

/// Why a difference cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiffError {
    /// A section or its type is not part of the format.
    #[error("the difference has an unknown section {0:?}")]
    UnknownSection(String),
    /// The document is not the one that the difference was made for.
    #[error("the difference expects {expected} at {field:?}")]
    Mismatch {
        /// Where.
        field: String,
        /// What should be there.
        expected: &'static str,
    },
}

/// The difference that turns `before` into `after`, byte for byte.
///
/// `None` when the format cannot say it (fields that changed their order) or when it would be
/// larger than `after` itself; the whole document is logged then, which is always allowed.
pub fn compute_diff(before: &Document, after: &Document) -> Option<Document> {
    let diff = diff_documents(before, after);
    let after_bytes = after.to_vec().ok()?;
    if diff.to_vec().ok()?.len() >= after_bytes.len() {
        return None;
    }
    let mut replayed = before.clone();
    apply_diff(&mut replayed, &diff).ok()?;
    (replayed.to_vec().ok()? == after_bytes).then_some(diff)
}

fn diff_documents(before: &Document, after: &Document) -> Document {
    let mut deleted = Document::new();
    let mut updated = Document::new();
    let mut inserted = Document::new();
    let mut nested = Vec::new();
    for name in before.keys().filter(|name| !after.contains_key(name.as_str())) {
        deleted.insert(name, false);
    }
    for (name, value) in after {
        match before.get(name) {
            None => drop(inserted.insert(name, value)),
            Some(old) if same(old, value) => {}
            Some(old) => match diff_values(old, value) {
                Some(diff) => nested.push((format!("s{name}"), diff)),
                None => drop(updated.insert(name, value)),
            },
        }
    }
    let mut diff = Document::new();
    for (section, fields) in [("d", deleted), ("u", updated), ("i", inserted)] {
        if !fields.is_empty() {
            diff.insert(section, fields);
        }
    }
    diff.extend(nested.into_iter().map(|(name, nested)| (name, Bson::Document(nested))));
    diff
}

/// The difference of two values of the same container type.
fn diff_values(before: &Bson, after: &Bson) -> Option<Document> {
    match (before, after) {
        (Bson::Document(before), Bson::Document(after)) => Some(diff_documents(before, after)),
        (Bson::Array(before), Bson::Array(after)) => Some(diff_arrays(before, after)),
        _ => None,
    }
}

fn diff_arrays(before: &[Bson], after: &[Bson]) -> Document {
    let mut diff = Document::new();
    diff.insert("a", true);
    if after.len() < before.len() {
        diff.insert("l", i32::try_from(after.len()).unwrap_or(i32::MAX));
    }
    for (index, value) in after.iter().enumerate() {
        match before.get(index) {
            Some(old) if same(old, value) => {}
            Some(old) => match diff_values(old, value) {
                Some(nested) => drop(diff.insert(format!("s{index}"), nested)),
                None => drop(diff.insert(format!("u{index}"), value)),
            },
            None => drop(diff.insert(format!("u{index}"), value)),
        }
    }
    diff
}

/// Equality that also sees the order of fields, which `Document` itself ignores.
fn same(left: &Bson, right: &Bson) -> bool {
    match (left, right) {
        (Bson::Document(left), Bson::Document(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|((a, x), (b, y))| a == b && same(x, y))
        }
        (Bson::Array(left), Bson::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(x, y)| same(x, y))
        }
        (Bson::Double(left), Bson::Double(right)) => left.to_bits() == right.to_bits(),
        _ => left == right,
    }
}

/// Applies a difference to a document.
pub fn apply_diff(document: &mut Document, diff: &Document) -> Result<(), DiffError> {
    apply_document_diff(document, diff, &mut Room(MOST_ELEMENTS))
}

/// An element of an array takes its type, its index in digits and a NUL, eight bytes of them on average where
/// there are many: a document of 16 MiB has fewer elements than this, however small, so more are damage.
const MOST_ELEMENTS: usize = crate::LARGEST_DOCUMENT_BYTES / 8;

/// How many elements may still be added to the arrays of a document.
struct Room(usize);

impl Room {
    /// Gives an array another length; what is added is null.
    fn resize(&mut self, items: &mut Vec<Bson>, length: i64) -> Result<(), DiffError> {
        let mismatch =
            || DiffError::Mismatch { field: length.to_string(), expected: "an array index" };
        let wanted = usize::try_from(length).map_err(|_| mismatch())?;
        let added = wanted.saturating_sub(items.len());
        self.0 = self.0.checked_sub(added).ok_or_else(mismatch)?;
        items.resize(wanted, Bson::Null);
        Ok(())
    }
}

fn apply_document_diff(
    document: &mut Document,
    diff: &Document,
    room: &mut Room,
) -> Result<(), DiffError> {
    for (section, value) in diff {
        match (section.as_str(), value) {
            ("d", Bson::Document(fields)) => {
                for name in fields.keys() {
                    document.remove(name);
                }
            }
            ("u", Bson::Document(fields)) => {
                for (name, value) in fields {
                    document.insert(name, value.clone());
                }
            }
            ("i", Bson::Document(fields)) => {
                for (name, value) in fields {
                    document.remove(name);
                    document.insert(name, value.clone());
                }
            }
            ("b", Bson::Document(fields)) => {
                for (name, change) in fields {
                    apply_binary_diff(name, document.get_mut(name), change)?;
                }
            }
            (section, Bson::Document(nested)) if section.starts_with('s') => {
                let name = section.get(1..).unwrap_or_default();
                apply_nested(document.get_mut(name), nested, room)?;
            }
            _ => return Err(DiffError::UnknownSection(section.clone())),
        }
    }
    Ok(())
}

/// Puts bytes in the place of those from an offset on. Bytes that do not reach that far were written
/// anew by a later entry.
fn apply_binary_diff(name: &str, value: Option<&mut Bson>, change: &Bson) -> Result<(), DiffError> {
    let mismatch = |expected| DiffError::Mismatch { field: name.to_owned(), expected };
    let change = change.as_document().ok_or_else(|| mismatch("an offset and bytes"))?;
    let offset = match change.get("o") {
        Some(Bson::Int32(offset)) => i64::from(*offset),
        Some(Bson::Int64(offset)) => *offset,
        _ => return Err(mismatch("an offset")),
    };
    let offset = usize::try_from(offset).map_err(|_| mismatch("an offset"))?;
    let Some(Bson::Binary(data)) = change.get("d") else { return Err(mismatch("bytes")) };
    if let Some(Bson::Binary(present)) = value
        && present.bytes.len() >= offset
    {
        present.bytes.truncate(offset);
        present.bytes.extend_from_slice(&data.bytes);
    }
    Ok(())
}

/// Goes on below a field. A field that is no container any more was changed by a later entry,
/// which will say what it holds: replay may begin before the moment of the data.
fn apply_nested(
    value: Option<&mut Bson>,
    diff: &Document,
    room: &mut Room,
) -> Result<(), DiffError> {
    let is_array = matches!(diff.get("a"), Some(Bson::Boolean(true)));
    match value {
        Some(Bson::Array(items)) if is_array => apply_array_diff(items, diff, room),
        Some(Bson::Document(nested)) if !is_array => apply_document_diff(nested, diff, room),
        _ => Ok(()),
    }
}

fn apply_array_diff(
    items: &mut Vec<Bson>,
    diff: &Document,
    room: &mut Room,
) -> Result<(), DiffError> {
    for (section, value) in diff {
        if section == "a" {
            continue;
        }
        if section == "l" {
            let length = match value {
                Bson::Int32(length) => i64::from(*length),
                Bson::Int64(length) => *length,
                _ => return Err(DiffError::UnknownSection(section.clone())),
            };
            room.resize(items, length)?;
            continue;
        }
        let kind = section.get(..1).unwrap_or_default();
        let index: i64 = section
            .get(1..)
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| DiffError::UnknownSection(section.clone()))?;
        let place =
            usize::try_from(index).map_err(|_| DiffError::UnknownSection(section.clone()))?;
        match (kind, value) {
            ("u", value) => {
                if place >= items.len() {
                    room.resize(items, index.saturating_add(1))?;
                }
                if let Some(item) = items.get_mut(place) {
                    *item = value.clone();
                }
            }
            ("s", Bson::Document(nested)) => apply_nested(items.get_mut(place), nested, room)?,
            _ => return Err(DiffError::UnknownSection(section.clone())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bson::doc;
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = Bson> {
        let leaf = prop_oneof![
            any::<i32>().prop_map(Bson::Int32),
            "[a-c]{0,3}".prop_map(Bson::String),
            any::<bool>().prop_map(Bson::Boolean),
            Just(Bson::Null),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Bson::Array),
                proptest::collection::vec(("[a-e]", inner), 0..4)
                    .prop_map(|fields| Bson::Document(fields.into_iter().collect())),
            ]
        })
    }

    fn document() -> impl Strategy<Value = Document> {
        proptest::collection::vec(("[a-f]", value()), 0..6).prop_map(|f| f.into_iter().collect())
    }

    proptest! {
        #[test]
        fn a_difference_turns_before_into_after(before in document(), after in document()) {
            if let Some(diff) = compute_diff(&before, &after) {
                let mut replayed = before.clone();
                apply_diff(&mut replayed, &diff).unwrap();
                prop_assert_eq!(replayed.to_vec().unwrap(), after.to_vec().unwrap());
                // Twice is as good as once: replay may start before the change.
                let _ = apply_diff(&mut replayed, &diff);
                prop_assert_eq!(replayed.to_vec().unwrap(), after.to_vec().unwrap());
            }
        }

        #[test]
        fn no_difference_makes_it_panic(mut before in document(), diff in document()) {
            let _ = apply_diff(&mut before, &diff);
        }
    }

    #[test]
    fn no_difference_makes_more_than_a_document_can_hold() {
        let array = |section: &str, value: Bson| {
            let mut diff = doc! { "a": true };
            diff.insert(section, value);
            diff
        };
        let arrays = || doc! { "a": [1], "b": [2], "c": [3] };
        // The largest that a server makes with an update.
        let mut document = arrays();
        apply_diff(&mut document, &doc! { "sa": array("u1500000", Bson::Null) }).unwrap();
        assert_eq!(document.get_array("a").unwrap().len(), 1_500_001);
        for diff in [
            doc! { "sa": array("u8012242", Bson::Null) },
            doc! { "sa": array("l", Bson::Int32(8_012_242)) },
            doc! { "sa": array("u-1", Bson::Null) },
            doc! { "sa": array("u9223372036854775807", Bson::Null) },
            doc! { "sa": array("l", Bson::Int64(-1)) },
            // Each of them might be.
            doc! { "sa": array("u1000000", Bson::Null), "sb": array("u1000000", Bson::Null),
            "sc": array("u1000000", Bson::Null) },
        ] {
            assert!(apply_diff(&mut arrays(), &diff).is_err(), "{diff}");
        }
    }

    #[test]
    fn the_official_form_is_written() {
        let before = doc! { "_id": 1, "a": 1, "b": { "c": 1, "d": "some long text to keep" }, "x": [1, 2, 3], "z": true };
        let after = doc! { "_id": 1, "a": 2, "b": { "c": 2, "d": "some long text to keep" }, "x": [1, 9], "n": 5 };
        let expected = doc! {
            "d": { "z": false }, "u": { "a": 2 }, "i": { "n": 5 },
            "sb": { "u": { "c": 2 } }, "sx": { "a": true, "l": 2, "u1": 9 },
        };
        assert_eq!(diff_documents(&before, &after), expected);
    }

    #[test]
    fn a_changed_order_of_fields_is_not_a_difference() {
        let before = doc! { "_id": 1, "a": 1, "b": 2, "long": "x".repeat(100) };
        let after = doc! { "_id": 1, "b": 2, "a": 1, "long": "x".repeat(100) };
        assert_eq!(compute_diff(&before, &after), None);
    }

    #[test]
    fn a_column_of_a_time_series_goes_on_from_an_offset() {
        let column = |bytes: &[u8]| bson::Binary {
            subtype: bson::spec::BinarySubtype::Column,
            bytes: bytes.to_vec(),
        };
        let mut bucket = doc! { "_id": 1, "data": { "t": column(&[1, 2, 3, 0]) } };
        let data =
            bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![7, 8, 0] };
        let diff = doc! { "sdata": { "b": { "t": { "o": 3, "d": data.clone() } } } };
        apply_diff(&mut bucket, &diff).unwrap();
        assert_eq!(bucket, doc! { "_id": 1, "data": { "t": column(&[1, 2, 3, 7, 8, 0]) } });
        // Twice is as good as once, and what was made anew is left alone.
        apply_diff(&mut bucket, &diff).unwrap();
        assert_eq!(bucket, doc! { "_id": 1, "data": { "t": column(&[1, 2, 3, 7, 8, 0]) } });
        let mut anew = doc! { "_id": 1, "data": { "t": column(&[1]) } };
        apply_diff(&mut anew, &diff).unwrap();
        assert_eq!(anew, doc! { "_id": 1, "data": { "t": column(&[1]) } });
        let strange = doc! { "b": { "t": { "o": -1, "d": data } } };
        assert!(apply_diff(&mut anew, &strange).is_err());
    }
}
