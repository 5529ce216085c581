//! Filters for whoever has documents from elsewhere.

use bson::Document;
use bson::raw::RawDocument;

use crate::filter::{Filter, parse_filter};

/// A filter, as `find` takes it.
#[derive(Debug, Clone)]
pub struct Matcher(Filter);

impl Matcher {
    /// Reads a filter; what is not supported is refused by name.
    pub fn parse(filter: &Document) -> Result<Self, String> {
        let bytes = filter.to_vec().map_err(|error| error.to_string())?;
        let raw = RawDocument::from_bytes(&bytes).map_err(|error| error.to_string())?;
        parse_filter(raw).map(Self).map_err(|error| error.message)
    }

    /// Whether a document is meant.
    pub fn matches(&self, document: &RawDocument) -> Result<bool, String> {
        self.0.matches(document).map_err(|error| error.message)
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn filters_match_as_find_does_and_unknown_ones_are_named() {
        let matcher = Matcher::parse(&doc! { "a.b": { "$gt": 3 }, "c": "x" }).unwrap();
        let holds = |document: Document| {
            let bytes = document.to_vec().unwrap();
            matcher.matches(RawDocument::from_bytes(&bytes).unwrap()).unwrap()
        };
        assert!(holds(doc! { "a": { "b": 4 }, "c": ["x", "y"] }));
        assert!(!holds(doc! { "a": { "b": 3 }, "c": "x" }));
        let error = Matcher::parse(&doc! { "a": { "$near": 1 } }).unwrap_err();
        assert!(error.contains("$near"), "{error}");
    }
}
