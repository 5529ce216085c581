//! Which namespaces of a snapshot and an oplog are staged, and where.

use std::collections::BTreeMap;

use tidemark_model::Selection;

/// The namespaces that a restore needs, by the names that they have in the source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    selection: Selection,
    /// What is not taken itself, but is renamed later to what is, with the database in which it is
    /// staged.
    renamed_later: BTreeMap<String, String>,
}

impl Wanted {
    pub(crate) fn new(selection: Selection) -> Self {
        Self { selection, renamed_later: BTreeMap::new() }
    }

    /// Takes renames of an oplog, in their order, into account.
    pub(crate) fn follow(&mut self, renames: &[(String, String)]) {
        for (from, to) in renames.iter().rev() {
            if let Some(database) = self.database_for(to)
                && self.database_for(from).is_none()
            {
                self.renamed_later.insert(from.clone(), database);
            }
        }
    }

    /// The database in which a namespace is staged; nothing if it is not.
    pub(crate) fn database_for(&self, namespace: &str) -> Option<String> {
        match self.target_of(namespace) {
            Some(target) => target.split_once('.').map(|(database, _)| database.to_owned()),
            None => self.renamed_later.get(namespace).cloned(),
        }
    }

    /// What a namespace becomes in the target; nothing if it is not put there.
    pub(crate) fn target_of(&self, namespace: &str) -> Option<String> {
        self.selection.target_of(namespace)
    }

    pub(crate) fn selection(&self) -> &Selection {
        &self.selection
    }

    /// The first rule that takes none of these namespaces.
    pub(crate) fn idle_rule<'a>(
        &self,
        namespaces: impl Iterator<Item = &'a String> + Clone,
    ) -> Option<&str> {
        let takes = |rule: &str, namespace: &String| match rule.strip_suffix(".*") {
            Some(database) => {
                namespace.strip_prefix(database).is_some_and(|rest| rest.starts_with('.'))
            }
            None => rule == namespace,
        };
        let rules = self.selection.rules().iter().map(|rule| rule.from.as_str());
        let mut idle = rules.filter(|rule| !namespaces.clone().any(|name| takes(rule, name)));
        idle.next()
    }
}

#[cfg(test)]
mod tests {
    use tidemark_model::Rule;

    use super::*;

    #[test]
    fn what_becomes_what_is_wanted_is_wanted() {
        let rule = Rule { from: "shop.orders".into(), to: "old.orders".into() };
        let mut wanted = Wanted::new(Selection::new(vec![rule]).unwrap());
        let rename = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        wanted.follow(&[
            rename("shop.tmp1", "shop.tmp2"),
            rename("shop.tmp2", "shop.orders"),
            rename("shop.other", "shop.tmp1"),
        ]);
        for name in ["shop.orders", "shop.tmp1", "shop.tmp2"] {
            assert_eq!(wanted.database_for(name).as_deref(), Some("old"), "{name}");
        }
        assert_eq!(wanted.database_for("shop.other"), None);
        assert_eq!(wanted.target_of("shop.tmp1"), None);
        let there = ["shop.tmp1".to_owned()];
        assert_eq!(wanted.idle_rule(there.iter()), Some("shop.orders"));
    }
}
