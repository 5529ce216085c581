//! How deep documents, paths and results may nest, checked before anything recurses into them.

use bson::raw::RawDocument;
use bson::{Bson, Document};
use tidemark_wire::{DepthError, LARGEST_DEPTH, LARGEST_STORED_DEPTH, check_depth};

use crate::error::{Code, CommandError, Result};

/// Refuses a document that nests too deep to be stored.
pub(crate) fn check_document(document: &RawDocument) -> Result<()> {
    check(document, LARGEST_STORED_DEPTH, |most| {
        format!("cannot insert document because it exceeds {most} levels of nesting")
    })
}

/// Refuses a message that nests too deep to be read.
pub(crate) fn check_message(document: &RawDocument) -> Result<()> {
    check(document, LARGEST_DEPTH, |most| {
        format!("a message nests deeper than {most} levels of documents and arrays")
    })
}

fn check(document: &RawDocument, most: usize, text: impl Fn(usize) -> String) -> Result<()> {
    match check_depth(document, most) {
        Ok(()) => Ok(()),
        Err(DepthError::TooDeep { most }) => Err(CommandError::new(Code::Overflow, text(most))),
        Err(DepthError::Malformed(error)) => Err(error.into()),
    }
}

/// Refuses a dotted path of more components than documents may have levels.
pub(crate) fn check_path(path: &str) -> Result<()> {
    if path.bytes().filter(|byte| *byte == b'.').count() < LARGEST_DEPTH {
        return Ok(());
    }
    Err(CommandError::new(Code::Overflow, "FieldPath is too deep"))
}

/// Refuses the result of an expression that nests too deep to go on with.
///
/// It does not recurse: the open containers stand in a list.
pub(crate) fn check_result(document: &Document) -> Result<()> {
    let mut open: Vec<Box<dyn Iterator<Item = &Bson>>> = vec![Box::new(document.values())];
    while let Some(values) = open.last_mut() {
        let inner: Box<dyn Iterator<Item = &Bson>> = match values.next() {
            None => {
                open.pop();
                continue;
            }
            Some(Bson::Document(inner)) => Box::new(inner.values()),
            Some(Bson::Array(inner)) => Box::new(inner.iter()),
            Some(_) => continue,
        };
        if open.len() >= LARGEST_DEPTH {
            let text = format!(
                "a result nests deeper than {LARGEST_DEPTH} levels of documents and arrays"
            );
            return Err(CommandError::new(Code::Overflow, text));
        }
        open.push(inner);
    }
    Ok(())
}
