//! The documents of one answer.

use bson::raw::{RawArray, RawBsonRef, RawDocument};

use crate::error::LinkError;

/// Visits the documents of one batch.
pub(crate) fn visit_batch<E: From<LinkError>>(
    address: &str,
    batch: &RawArray,
    visit: &mut impl FnMut(&RawDocument) -> Result<(), E>,
) -> Result<(), E> {
    for element in batch {
        let Ok(RawBsonRef::Document(document)) = element else {
            let reason = "a batch holds something that is not a document".to_owned();
            return Err(LinkError::Protocol { address: address.to_owned(), reason }.into());
        };
        visit(document)?;
    }
    Ok(())
}
