//! Which namespaces a restore takes, and under which names they come back.

use serde::{Deserialize, Serialize};

/// The longest namespace that MongoDB takes, in bytes.
const LONGEST: usize = 255;
/// Databases that belong to the deployment and not to its users.
const INTERNAL: &[&str] = &["admin", "config", "local"];

/// One namespace, or all of a database (`db.*`), and what it is called afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// What is taken: `db.collection` or `db.*`.
    pub from: String,
    /// What it becomes, of the same kind.
    pub to: String,
}

/// Why rules cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// Something that is neither a namespace nor `db.*`.
    #[error("{0:?} is neither `database.collection` nor `database.*`")]
    Malformed(String),
    /// A database of the deployment itself.
    #[error("{0:?} belongs to the deployment and is not restored")]
    Internal(String),
    /// One name for many collections, or many names for one.
    #[error("{from:?} cannot become {to:?}: either both end in `.*` or none does")]
    Kinds {
        /// What is taken.
        from: String,
        /// What it should become.
        to: String,
    },
    /// Two rules take the same.
    #[error("{0:?} is named twice")]
    Twice(String),
    /// Two rules lead to the same.
    #[error("more than one collection would become {0:?}")]
    Clash(String),
}

/// The namespaces that a restore takes; all of them unless it has rules.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Selection {
    rules: Vec<Rule>,
}

fn parts(name: &str) -> Result<(&str, &str), SelectionError> {
    let malformed = || SelectionError::Malformed(name.to_owned());
    let (database, collection) = name.split_once('.').ok_or_else(malformed)?;
    let is_usable = !database.is_empty()
        && !collection.is_empty()
        && name.len() <= LONGEST
        && !name.contains(['\0', '$'])
        && !database.contains(['/', '\\', ' ', '"']);
    // Stored functions are users' own.
    let is_of_server = collection.starts_with("system.") && collection != "system.js";
    if !is_usable || is_of_server {
        return Err(malformed());
    }
    if INTERNAL.contains(&database) {
        return Err(SelectionError::Internal(name.to_owned()));
    }
    Ok((database, collection))
}

impl Selection {
    /// Everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// The namespaces that rules name.
    pub fn new(rules: Vec<Rule>) -> Result<Self, SelectionError> {
        for (number, rule) in rules.iter().enumerate() {
            let ((_, from), (_, to)) = (parts(&rule.from)?, parts(&rule.to)?);
            if (from == "*") != (to == "*") {
                return Err(SelectionError::Kinds { from: rule.from.clone(), to: rule.to.clone() });
            }
            let before = rules.iter().take(number);
            if before.clone().any(|other| other.from == rule.from) {
                return Err(SelectionError::Twice(rule.from.clone()));
            }
            if before.clone().any(|other| other.to == rule.to) {
                return Err(SelectionError::Clash(rule.to.clone()));
            }
        }
        Ok(Self { rules })
    }

    /// Whether it takes everything, under the same names.
    pub fn is_everything(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rules.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What a namespace becomes; nothing if it is not taken. What is named itself counts more than
    /// what is named with its database.
    pub fn target_of(&self, namespace: &str) -> Option<String> {
        if self.is_everything() {
            return Some(namespace.to_owned());
        }
        if let Some(rule) = self.rules.iter().find(|rule| rule.from == namespace) {
            return Some(rule.to.clone());
        }
        let (database, collection) = namespace.split_once('.')?;
        let covers = |rule: &&Rule| rule.from.strip_suffix(".*") == Some(database);
        let rule = self.rules.iter().find(covers)?;
        Some(format!("{}.{collection}", rule.to.strip_suffix(".*")?))
    }

    /// Refuses rules by which several of these namespaces would become one.
    pub fn check(&self, namespaces: &[String]) -> Result<(), SelectionError> {
        let mut targets: Vec<String> =
            namespaces.iter().filter_map(|namespace| self.target_of(namespace)).collect();
        targets.sort_unstable();
        let clash = targets.windows(2).find_map(|pair| match pair {
            [one, other] if one == other => Some(one.clone()),
            _ => None,
        });
        clash.map_or(Ok(()), |clash| Err(SelectionError::Clash(clash)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(from: &str, to: &str) -> Rule {
        Rule { from: from.to_owned(), to: to.to_owned() }
    }

    #[test]
    fn what_is_named_itself_counts_more() {
        let rules = vec![rule("shop.*", "old.*"), rule("shop.orders", "shop.yesterday")];
        let selection = Selection::new(rules).unwrap();
        assert_eq!(selection.target_of("shop.orders").as_deref(), Some("shop.yesterday"));
        assert_eq!(selection.target_of("shop.a.b").as_deref(), Some("old.a.b"));
        assert_eq!(selection.target_of("shopping.a"), None);
        assert_eq!(Selection::everything().target_of("x.y").as_deref(), Some("x.y"));
        let clash = ["shop.orders", "shop.a"].map(str::to_owned);
        assert_eq!(selection.check(&clash), Ok(()));
    }

    #[test]
    fn rules_that_contradict_themselves_are_refused() {
        for bad in [
            "",
            "a",
            ".a",
            "a.",
            "a.$b",
            "a b.c",
            "a.system.views",
            &format!("a.{}", "x".repeat(255)),
        ] {
            assert!(Selection::new(vec![rule(bad, bad)]).is_err(), "{bad}");
        }
        let refused = |rules: Vec<Rule>| Selection::new(rules).unwrap_err();
        assert_eq!(
            refused(vec![rule("admin.x", "a.x")]),
            SelectionError::Internal("admin.x".into())
        );
        assert!(matches!(refused(vec![rule("a.*", "b.c")]), SelectionError::Kinds { .. }));
        assert!(matches!(
            refused(vec![rule("a.b", "c.d"), rule("a.b", "c.e")]),
            SelectionError::Twice(_)
        ));
        assert!(matches!(
            refused(vec![rule("a.b", "c.d"), rule("a.c", "c.d")]),
            SelectionError::Clash(_)
        ));
        let selection = Selection::new(vec![rule("a.*", "b.*"), rule("c.x", "b.x")]).unwrap();
        let there = ["a.x", "c.x"].map(str::to_owned);
        assert_eq!(selection.check(&there), Err(SelectionError::Clash("b.x".into())));
    }
}
