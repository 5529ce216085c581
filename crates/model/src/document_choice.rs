//! Documents of one collection that are brought back into a collection as it is now.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::selection::{Rule, Selection, SelectionError};

/// What happens where the target has another document of the same `_id`. One that is equal byte for byte is
/// no conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OnConflict {
    /// Nothing is written at all.
    #[default]
    Insert,
    /// The document of the backup takes its place.
    Replace,
    /// The target's stays.
    Skip,
}

impl OnConflict {
    /// All of them, as the API says them.
    pub const WORDS: [&str; 3] = ["insert", "replace", "skip"];

    /// The word that the API and the catalog use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Replace => "replace",
            Self::Skip => "skip",
        }
    }

    /// The one with this word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Insert, Self::Replace, Self::Skip].into_iter().find(|word| word.as_str() == text)
    }
}

/// Which documents a restore brings back, and where to. Everything else of the target stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DocumentChoice {
    /// The collection of the backup, `database.collection`.
    pub namespace: String,
    /// The collection of the target.
    pub to: String,
    /// A filter in Extended JSON.
    pub filter: Value,
    /// What happens where the target has others.
    pub on_conflict: OnConflict,
}

impl DocumentChoice {
    /// A choice between two collections of users.
    pub fn new(
        (namespace, to): (&str, &str),
        filter: Value,
        on_conflict: OnConflict,
    ) -> Result<Self, SelectionError> {
        for name in [namespace, to] {
            if name.ends_with(".*") {
                return Err(SelectionError::Malformed(name.to_owned()));
            }
        }
        let rule = Rule { from: namespace.to_owned(), to: to.to_owned() };
        Selection::new(vec![rule])?;
        Ok(Self { namespace: namespace.to_owned(), to: to.to_owned(), filter, on_conflict })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_go_from_one_collection_to_one() {
        let choose = |from, to| DocumentChoice::new((from, to), json!({}), OnConflict::Insert);
        assert!(choose("shop.orders", "shop.back").is_ok());
        for bad in [("shop.*", "shop.*"), ("shop", "shop.a"), ("shop.a", "admin.a")] {
            assert!(choose(bad.0, bad.1).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn words_are_read_as_they_are_said() {
        for word in OnConflict::WORDS {
            assert_eq!(OnConflict::parse(word).map(OnConflict::as_str), Some(word));
        }
        assert_eq!(OnConflict::parse("merge"), None);
    }
}
