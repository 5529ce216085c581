//! What an insert can do before it is the writer: complete the document, check it, encode its keys.

use std::borrow::Cow;
use std::collections::BTreeSet;

use bson::raw::{RawDocument, RawDocumentBuf};
use bson::{Bson, RawBsonRef, Timestamp};
use tidemark_wire::LARGEST_DOCUMENT_BYTES;

use crate::collections::Collection;
use crate::engine::Engine;
use crate::error::{Code, CommandError, Result};

/// What a write may skip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct WriteOptions {
    /// A top-level `Timestamp(0, 0)` stays; on every MongoDB server it becomes the present time.
    pub(crate) keeps_empty_timestamps: bool,
    /// Documents need not fulfil the collection's validator.
    pub(crate) bypasses_validation: bool,
}

/// A document that is ready to be inserted into one state of a collection.
pub(crate) struct Prepared<'d> {
    document: Cow<'d, RawDocument>,
    /// For each index its keys.
    keys: Vec<BTreeSet<Vec<u8>>>,
}

impl<'d> Prepared<'d> {
    /// Completes and checks a document: `_id` is made if it is missing and comes first, a
    /// top-level `Timestamp(0, 0)` becomes the present time.
    pub(crate) fn new(
        engine: &Engine,
        collection: &Collection,
        document: &'d RawDocument,
        options: WriteOptions,
    ) -> Result<Self> {
        crate::depth::check_document(document)?;
        let normalized = normalize(engine, document, options)?;
        let document = normalized.map_or(Cow::Borrowed(document), Cow::Owned);
        check_size(&document)?;
        check_id(&document)?;
        check_validator(collection, &document, options)?;
        let mut keys = Vec::new();
        if !collection.is_loading() {
            for index in &collection.indexes {
                keys.push(index.keys_of(&document)?);
            }
        }
        Ok(Self { document, keys })
    }

    pub(crate) fn document(&self) -> &RawDocument {
        &self.document
    }

    pub(super) fn keys(&self) -> &[BTreeSet<Vec<u8>>] {
        &self.keys
    }

    /// Its `_id`.
    pub(crate) fn id(&self) -> Result<Bson> {
        Ok(self.document.get("_id")?.map(Bson::try_from).transpose()?.unwrap_or(Bson::Null))
    }
}

fn check_id(document: &RawDocument) -> Result<()> {
    let id = document
        .get("_id")?
        .ok_or_else(|| CommandError::new(Code::InternalError, "a document has no _id"))?;
    if matches!(id, RawBsonRef::Array(_) | RawBsonRef::RegularExpression(_) | RawBsonRef::Undefined)
    {
        let text = "The '_id' value cannot be an array, a regex or undefined";
        return Err(CommandError::new(Code::BadValue, text));
    }
    if let RawBsonRef::Document(id) = id {
        for field in id {
            let (name, _) = field?;
            if name.as_str().starts_with('$') {
                let text = format!(
                    "_id fields may not contain '$'-prefixed fields: {} is not valid for storage.",
                    name.as_str()
                );
                return Err(CommandError::new(Code::DollarPrefixedFieldName, text));
            }
        }
    }
    Ok(())
}

fn normalize(
    engine: &Engine,
    document: &RawDocument,
    options: WriteOptions,
) -> Result<Option<RawDocumentBuf>> {
    let is_empty = |value: RawBsonRef<'_>| {
        matches!(value, RawBsonRef::Timestamp(Timestamp { time: 0, increment: 0 }))
    };
    let mut has_empty_timestamp = false;
    let mut id_position = None;
    for (position, element) in document.iter_elements().enumerate() {
        let element = element?;
        if element.key().as_str() == "_id" {
            id_position.get_or_insert(position);
        } else if !options.keeps_empty_timestamps
            && element.element_type() == bson::spec::ElementType::Timestamp
            && element.value().is_ok_and(is_empty)
        {
            has_empty_timestamp = true;
        }
    }
    if id_position == Some(0) && !has_empty_timestamp {
        return Ok(None);
    }
    let mut out = RawDocumentBuf::new();
    match document.get("_id")? {
        Some(id) => out.append(bson::raw::cstr!("_id"), id),
        None => out.append(bson::raw::cstr!("_id"), bson::oid::ObjectId::new()),
    }
    let seconds = u32::try_from(engine.clock.now().as_second()).unwrap_or(0);
    let now = Timestamp { time: seconds, increment: 1 };
    for element in document.iter_elements() {
        let element = element?;
        if element.key().as_str() == "_id" {
            continue;
        }
        match element.value()? {
            value if has_empty_timestamp && is_empty(value) => out.append(element.key(), now),
            value => out.append(element.key(), value),
        }
    }
    Ok(Some(out))
}

/// Refuses what does not fulfil the collection's validator.
pub(super) fn check_validator(
    collection: &Collection,
    document: &RawDocument,
    options: WriteOptions,
) -> Result<()> {
    if options.bypasses_validation {
        return Ok(());
    }
    let Ok(validator) = collection.options.get_document("validator") else {
        return Ok(());
    };
    let is_off = collection.options.get_str("validationLevel").is_ok_and(|level| level == "off")
        || collection.options.get_str("validationAction").is_ok_and(|action| action == "warn");
    if is_off {
        return Ok(());
    }
    let bytes = validator.to_vec()?;
    if crate::filter::parse_filter(RawDocument::from_bytes(&bytes)?)?.matches(document)? {
        return Ok(());
    }
    Err(CommandError::new(Code::DocumentValidationFailure, "Document failed validation"))
}

pub(crate) fn check_size(document: &RawDocument) -> Result<()> {
    let size = document.as_bytes().len();
    if size <= LARGEST_DOCUMENT_BYTES {
        return Ok(());
    }
    let text = format!(
        "object to insert too large. size in bytes: {size}, max size: {LARGEST_DOCUMENT_BYTES}"
    );
    Err(CommandError::new(Code::BSONObjectTooLarge, text))
}
