//! How deep documents nest, measured before anything recurses into them.

use bson::{RawBsonRef, RawDocument};

/// The deepest nesting of a message, as the server limits it (`maxBSONDepth`).
pub const LARGEST_DEPTH: usize = 200;
/// The deepest nesting of a stored document: twenty levels are left for what is around it.
pub const LARGEST_STORED_DEPTH: usize = LARGEST_DEPTH - 20;

/// Why the depth of a document is refused.
#[derive(Debug, thiserror::Error)]
pub enum DepthError {
    /// It nests deeper than allowed.
    #[error("a document nests deeper than {most} levels")]
    TooDeep {
        /// How deep it may be.
        most: usize,
    },
    /// Its bytes are not BSON.
    #[error("a document is not valid BSON: {0}")]
    Malformed(#[from] bson::error::Error),
}

/// Refuses a document that nests deeper than `most` levels, itself included, or whose bytes are
/// not BSON.
///
/// It does not recurse: the open containers stand in a list.
pub fn check_depth(document: &RawDocument, most: usize) -> Result<(), DepthError> {
    let mut open = vec![document.iter_elements()];
    while let Some(elements) = open.last_mut() {
        let Some(element) = elements.next() else {
            open.pop();
            continue;
        };
        let inner = match element?.value()? {
            RawBsonRef::Document(inner) => inner.iter_elements(),
            RawBsonRef::Array(inner) => RawDocument::from_bytes(inner.as_bytes())?.iter_elements(),
            RawBsonRef::JavaScriptCodeWithScope(code) => code.scope.iter_elements(),
            _ => continue,
        };
        if open.len() >= most {
            return Err(DepthError::TooDeep { most });
        }
        open.push(inner);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(levels: usize) -> Vec<u8> {
        let mut bytes = vec![5, 0, 0, 0, 0];
        for _ in 1..levels {
            let length = u32::try_from(bytes.len() + 8).unwrap().to_le_bytes();
            bytes = [length.as_slice(), b"\x03a\0", &bytes, &[0]].concat();
        }
        bytes
    }

    #[test]
    fn two_hundred_levels_are_the_most() {
        let check =
            |levels| check_depth(RawDocument::from_bytes(&nested(levels)).unwrap(), LARGEST_DEPTH);
        assert!(check(LARGEST_DEPTH).is_ok());
        for levels in [LARGEST_DEPTH + 1, 20_000] {
            assert!(matches!(check(levels), Err(DepthError::TooDeep { .. })));
        }
    }
}
