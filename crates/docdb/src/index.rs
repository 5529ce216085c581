//! Indexes: their specifications, and the keys that a document has in them.

use std::collections::BTreeSet;

use bson::raw::RawDocument;
use bson::{Bson, Document, RawBsonRef};
use ring::digest;

use crate::error::{Code, CommandError, Result};
use crate::filter::{Filter, parse_filter};
use crate::key::encode_value;
use crate::path::Path;
use crate::sort::Direction;

/// A longer key is cut here and continued by its hash: the store takes 1,982 bytes at most, with
/// the index's id and the record number.
pub(crate) const LONGEST_KEY_BYTES: usize = 1_900;

/// Options that every index may carry and that change nothing here but are kept.
const KEPT_OPTIONS: &[&str] = &[
    "v",
    "key",
    "name",
    "unique",
    "sparse",
    "partialFilterExpression",
    "expireAfterSeconds",
    "hidden",
    "background",
    "ns",
];

/// An index of a collection.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    /// Never used again, so that leftovers of a dropped index are never read.
    pub(crate) id: u32,
    pub(crate) name: String,
    /// The specification as clients see it.
    pub(crate) spec: Document,
    keys: Vec<(Path, Direction)>,
    pub(crate) is_unique: bool,
    is_sparse: bool,
    partial: Option<Filter>,
}

impl Index {
    /// The key of an entry in the store: the record number makes it different where the index does
    /// not.
    pub(crate) fn entry(&self, key: &[u8], record: u64) -> Vec<u8> {
        let mut entry = Vec::with_capacity(12 + key.len());
        entry.extend_from_slice(&self.id.to_be_bytes());
        entry.extend_from_slice(key);
        if !self.is_unique {
            entry.extend_from_slice(&record.to_be_bytes());
        }
        entry
    }

    /// The index on `_id` that every collection has.
    pub(crate) fn on_id(id: u32) -> Result<Self> {
        Self::from_spec(id, bson::doc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" })
    }

    /// Reads a specification; what the engine cannot keep is refused by name.
    pub(crate) fn from_spec(id: u32, spec: Document) -> Result<Self> {
        let invalid = |text: String| CommandError::new(Code::CannotCreateIndex, text);
        let key = spec
            .get_document("key")
            .map_err(|_| invalid("an index needs a 'key' document".into()))?;
        let name = spec.get_str("name").map_err(|_| invalid("an index needs a 'name'".into()))?;
        for (option, value) in &spec {
            let is_simple_collation = option == "collation"
                && value
                    .as_document()
                    .is_some_and(|c| c.get_str("locale").is_ok_and(|locale| locale == "simple"));
            if !KEPT_OPTIONS.contains(&option.as_str()) && !is_simple_collation {
                return Err(CommandError::unsupported(format!("the index option '{option}'")));
            }
        }
        check_id_index(&spec, key)?;
        let mut keys = Vec::new();
        for (path, kind) in key {
            if path.split('.').any(|part| part == "$**") {
                return Err(CommandError::unsupported("a wildcard index"));
            }
            if let Bson::String(kind) = kind {
                return Err(CommandError::unsupported(format!("an index of the kind '{kind}'")));
            }
            let raw = bson::RawBson::try_from(kind.clone())?;
            let direction = Direction::parse(raw.as_raw_bson_ref()).ok_or_else(|| {
                invalid(format!(
                    "Values in the index key pattern must be non-zero numbers, not {kind}"
                ))
            })?;
            crate::depth::check_path(path)?;
            if path.split('.').any(|part| part.is_empty() || part.starts_with('$')) {
                return Err(invalid(format!("Index keys cannot use the path '{path}'")));
            }
            keys.push((Path::parse(path), direction));
        }
        if keys.is_empty() {
            return Err(invalid("Index keys cannot be an empty object".into()));
        }
        let partial = match spec.get_document("partialFilterExpression") {
            Ok(filter) => Some(parse_filter(RawDocument::from_bytes(&filter.to_vec()?)?)?),
            Err(_) => None,
        };
        let is_id = name == "_id_";
        Ok(Self {
            id,
            name: name.to_owned(),
            keys,
            is_unique: is_id || flag(&spec, "unique"),
            is_sparse: flag(&spec, "sparse"),
            partial,
            spec,
        })
    }

    /// The first paths of the index, for the choice of an index.
    pub(crate) fn paths(&self) -> impl Iterator<Item = (&Path, Direction)> {
        self.keys.iter().map(|(path, direction)| (path, *direction))
    }

    /// Whether every document of the collection is in the index.
    pub(crate) fn holds_everything(&self) -> bool {
        !self.is_sparse && self.partial.is_none() && !flag(&self.spec, "hidden")
    }

    /// The keys of a document, without the index's id.
    pub(crate) fn keys_of(&self, document: &RawDocument) -> Result<BTreeSet<Vec<u8>>> {
        if let Some(filter) = &self.partial
            && !filter.matches(document)?
        {
            return Ok(BTreeSet::new());
        }
        if let Some(key) = self.only_key(document)? {
            return Ok(BTreeSet::from([key]));
        }
        let mut keys = BTreeSet::from([Vec::new()]);
        let mut has_array = false;
        let mut has_value = false;
        for (path, direction) in &self.keys {
            let (values, is_multikey) = path.index_values(document);
            if is_multikey && std::mem::replace(&mut has_array, true) {
                return Err(CommandError::new(
                    Code::CannotIndexParallelArrays,
                    format!("cannot index parallel arrays [{path}] in index {}", self.name),
                ));
            }
            has_value |= values.iter().any(Option::is_some);
            let mut parts = BTreeSet::new();
            for value in values {
                parts.insert(encode_part(value.unwrap_or(RawBsonRef::Null), *direction)?);
            }
            keys = keys
                .iter()
                .flat_map(|key| parts.iter().map(move |part| [key.as_slice(), part].concat()))
                .collect();
        }
        if self.is_sparse && !has_value {
            return Ok(BTreeSet::new());
        }
        Ok(keys.into_iter().map(shorten).collect())
    }

    /// The key of a document that has one value, which is no array, for each part; `None` says
    /// nothing.
    fn only_key(&self, document: &RawDocument) -> Result<Option<Vec<u8>>> {
        let mut key = Vec::with_capacity(32);
        for (path, direction) in &self.keys {
            let Some(value) = path.only_value(document) else { return Ok(None) };
            push_part(&mut key, value, *direction)?;
        }
        Ok(Some(shorten(key)))
    }

    /// The error for a second document with the same unique key.
    pub(crate) fn duplicate_key(&self, namespace: &str, document: &RawDocument) -> CommandError {
        let mut value = Document::new();
        for (path, _) in &self.keys {
            let (values, _) = path.index_values(document);
            let first = values.into_iter().next().flatten();
            let first = first.and_then(|value| Bson::try_from(value).ok()).unwrap_or(Bson::Null);
            value.insert(path.to_string(), first);
        }
        let message = format!(
            "E11000 duplicate key error collection: {namespace} index: {} dup key: {value}",
            self.name
        );
        let mut error = CommandError::new(Code::DuplicateKey, message);
        let pattern = self.spec.get_document("key").cloned().unwrap_or_default();
        error.extra = bson::doc! { "keyPattern": pattern, "keyValue": value };
        error
    }
}

/// What a specification of the index on `_id` may say.
const ID_INDEX_OPTIONS: &[&str] = &["v", "key", "name", "ns", "collation", "background"];

/// Refuses what the index on `_id` cannot be.
fn check_id_index(spec: &Document, key: &Document) -> Result<()> {
    let [("_id", direction)] = key.iter().map(|(n, v)| (n.as_str(), v)).collect::<Vec<_>>()[..]
    else {
        return Ok(());
    };
    let raw = bson::RawBson::try_from(direction.clone())?;
    if Direction::parse(raw.as_raw_bson_ref()) == Some(Direction::Descending) {
        let text = format!("The field 'key' for an _id index must be {{_id: 1}}, but got {key}");
        return Err(CommandError::new(Code::BadValue, text));
    }
    match spec.keys().find(|name| !ID_INDEX_OPTIONS.contains(&name.as_str())) {
        Some(name) => Err(CommandError::new(
            Code::InvalidIndexSpecificationOption,
            format!("The field '{name}' is not valid for an _id index specification."),
        )),
        None => Ok(()),
    }
}

/// The part of a key for one value.
pub(crate) fn encode_part(value: RawBsonRef<'_>, direction: Direction) -> Result<Vec<u8>> {
    let mut part = Vec::new();
    push_part(&mut part, value, direction)?;
    Ok(part)
}

fn push_part(key: &mut Vec<u8>, value: RawBsonRef<'_>, direction: Direction) -> Result<()> {
    let starts = key.len();
    encode_value(key, value)?;
    if direction == Direction::Descending {
        key.iter_mut().skip(starts).for_each(|byte| *byte = !*byte);
    }
    Ok(())
}

/// Keeps a key within what the storage takes; equal keys stay equal and different ones different.
pub(crate) fn shorten(mut key: Vec<u8>) -> Vec<u8> {
    if key.len() > LONGEST_KEY_BYTES {
        let hash = digest::digest(&digest::SHA256, &key);
        key.truncate(LONGEST_KEY_BYTES);
        key.extend_from_slice(hash.as_ref());
    }
    key
}

fn flag(spec: &Document, name: &str) -> bool {
    match spec.get(name) {
        Some(Bson::Boolean(flag)) => *flag,
        Some(Bson::Int32(number)) => *number != 0,
        Some(Bson::Int64(number)) => *number != 0,
        Some(Bson::Double(number)) => *number != 0.0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    fn keys(spec: Document, document: &Document) -> Result<usize> {
        let bytes = document.to_vec().unwrap();
        Ok(Index::from_spec(1, spec)?.keys_of(RawDocument::from_bytes(&bytes).unwrap())?.len())
    }

    #[test]
    fn an_array_has_a_key_for_each_different_element() {
        let spec = doc! { "key": { "a": 1, "b": -1 }, "name": "a_b" };
        assert_eq!(keys(spec.clone(), &doc! { "a": [1, 2, 2], "b": 5 }).unwrap(), 2);
        assert_eq!(keys(spec.clone(), &doc! {}).unwrap(), 1);
        let nested = doc! { "key": { "c": 1, "a.b": 1 }, "name": "n" };
        for a in [doc! { "c": 1, "a": [] }, doc! { "c": 1, "a": [5] }] {
            assert_eq!(keys(nested.clone(), &a).unwrap(), 1, "{a}");
        }
        let parallel = keys(spec, &doc! { "a": [1], "b": [1] }).unwrap_err();
        assert_eq!(parallel.code, Code::CannotIndexParallelArrays);
    }

    #[test]
    fn sparse_and_partial_indexes_leave_documents_out() {
        let sparse = doc! { "key": { "a": 1 }, "name": "a", "sparse": true };
        assert_eq!(keys(sparse.clone(), &doc! { "b": 1 }).unwrap(), 0);
        assert_eq!(keys(sparse, &doc! { "a": null }).unwrap(), 1);
        let partial = doc! { "key": { "a": 1 }, "name": "a", "partialFilterExpression": { "b": { "$gt": 1 } } };
        assert_eq!(keys(partial.clone(), &doc! { "a": 1, "b": 1 }).unwrap(), 0);
        assert_eq!(keys(partial, &doc! { "a": 1, "b": 2 }).unwrap(), 1);
    }

    #[test]
    fn long_keys_stay_different() {
        let long = |last: char| {
            encode_part(
                RawBsonRef::String(&("x".repeat(40_000) + &last.to_string())),
                Direction::Ascending,
            )
            .unwrap()
        };
        assert_ne!(shorten(long('a')), shorten(long('b')));
        assert!(shorten(long('a')).len() + 12 <= tidemark_store::Store::longest_key());
    }

    #[test]
    fn kinds_that_are_not_kept_are_refused_by_name() {
        for (spec, name) in [
            (doc! { "key": { "a": "text" }, "name": "t" }, "text"),
            (doc! { "key": { "a": 1 }, "name": "t", "collation": { "locale": "de" } }, "collation"),
        ] {
            assert!(Index::from_spec(1, spec).unwrap_err().message.contains(name));
        }
    }
}
