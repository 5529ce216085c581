//! Tags in bodies.

use serde_json::{Value, json};
use tidemark_catalog::Tag;

use crate::body::Body;
use crate::error::Result;

/// The longest key and value of a tag, in characters.
const LONGEST_TAG: usize = 255;

/// The tags of a body; `None` if it has none.
pub(super) fn parse(body: &Body<'_>) -> Result<Option<Vec<Tag>>> {
    let Some(items) = body.objects("tags")? else {
        return Ok(None);
    };
    let mut tags: Vec<Tag> = Vec::with_capacity(items.len());
    for item in items {
        item.allow(&["key", "value"])?;
        let key = item.required_text("key")?;
        let value = item.required_text("value")?;
        if !(1..=LONGEST_TAG).contains(&key.chars().count())
            || tags.iter().any(|tag| tag.key == key)
        {
            return Err(item.invalid("key"));
        }
        if !(1..=LONGEST_TAG).contains(&value.chars().count()) {
            return Err(item.invalid("value"));
        }
        tags.push(Tag { key: key.to_owned(), value: value.to_owned() });
    }
    Ok(Some(tags))
}

pub(super) fn describe(tags: &[Tag]) -> Value {
    tags.iter().map(|tag| json!({ "key": tag.key, "value": tag.value })).collect()
}

/// A new resource, which is shown without an attribute for tags that it does not have.
pub(super) fn without_empty(mut described: Value) -> Value {
    if let Some(fields) = described.as_object_mut()
        && fields.get("tags").and_then(Value::as_array).is_some_and(Vec::is_empty)
    {
        fields.remove("tags");
    }
    described
}
