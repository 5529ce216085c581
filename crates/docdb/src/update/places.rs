//! Places in a document that an update path leads to.

use bson::{Bson, Document};

use crate::error::{Code, CommandError, Result};

pub(super) fn get<'a>(document: &'a Document, path: &[String]) -> Option<&'a Bson> {
    let (name, rest) = path.split_first()?;
    let mut value = document.get(name)?;
    for part in rest {
        value = match value {
            Bson::Document(nested) => nested.get(part)?,
            Bson::Array(items) => items.get(part.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(value)
}

/// The largest array that a dotted path may create by naming an index.
const LARGEST_PADDING: usize = 1_500_000;

/// The place of a value, made with all its parents where it does not exist.
pub(super) fn place<'a>(document: &'a mut Document, path: &[String]) -> Result<&'a mut Bson> {
    let Some((name, rest)) = path.split_first() else {
        return Err(CommandError::new(Code::FailedToParse, "an update path is empty"));
    };
    let mut value = document.entry(name.clone()).or_insert(missing(rest));
    for (position, part) in rest.iter().enumerate() {
        let after = rest.get(position + 1..).unwrap_or_default();
        value = match value {
            Bson::Document(nested) => nested.entry(part.clone()).or_insert(missing(after)),
            Bson::Array(items) => {
                let index = part.parse().ok().filter(|index| *index < LARGEST_PADDING);
                let index = index.ok_or_else(|| not_viable(part, "array"))?;
                if items.len() <= index {
                    items.resize(index, Bson::Null);
                    items.push(missing(after));
                }
                items.get_mut(index).ok_or_else(|| not_viable(part, "array"))?
            }
            _ => return Err(not_viable(part, "scalar")),
        };
    }
    Ok(value)
}

/// What stands at a new place until it is set: a document if the path goes on.
fn missing(rest: &[String]) -> Bson {
    if rest.is_empty() { Bson::Undefined } else { Bson::Document(Document::new()) }
}

pub(super) fn not_viable(part: &str, kind: &str) -> CommandError {
    CommandError::new(
        Code::PathNotViable,
        format!("Cannot create field '{part}' in a value of kind {kind}"),
    )
}
