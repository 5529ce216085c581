//! How inputs of the targets are read: an array in extended JSON, which mutates into other
//! documents far more often than the bytes of BSON do. Bytes themselves are mutated by `frame`.

use bson::{Bson, Document};

/// The values of an array in extended JSON.
pub fn values(input: &[u8]) -> Option<Vec<Bson>> {
    let json: Vec<serde_json::Value> = serde_json::from_slice(input).ok()?;
    json.into_iter().map(|value| Bson::try_from(value).ok()).collect()
}

/// Two documents.
pub fn pair(input: &[u8]) -> Option<(Document, Document)> {
    match <[Bson; 2]>::try_from(values(input)?).ok()? {
        [Bson::Document(first), Bson::Document(second)] => Some((first, second)),
        _ => None,
    }
}
