//! Where the data of new instances is kept: rules of the configuration.

use crate::{InstanceName, ProjectId};

/// Where an instance is to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In an engine inside Tidemark.
    Embedded,
    /// On an attached deployment, in databases whose names begin with a prefix.
    Deployment {
        /// The deployment's name.
        name: String,
        /// Its project, as an id or a name; `None` for the instance's own.
        project: Option<String>,
        /// What the prefix begins with; the name of the instance and `_` follow.
        prefix: String,
    },
}

/// A rule: which instances are kept where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacementRule {
    /// Only instances of this project, given by its id or name.
    pub project: Option<String>,
    /// Only instances with this name, or whose names begin so where it ends with `*`.
    pub name: Option<String>,
    /// Where they are kept.
    pub place: Place,
}

/// Which projects have a vault of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultRule {
    /// The vault's name.
    pub vault: String,
    /// Its projects, each by its id or name.
    pub projects: Vec<String>,
}

/// The name of the vault in which the backups of new instances of a project are kept; the common one has
/// none.
pub fn vault_of(rules: &[VaultRule], (project, name): (ProjectId, &str)) -> Option<String> {
    let is_it = |wanted: &String| *wanted == project.to_string() || wanted == name;
    let rule = rules.iter().find(|rule| rule.projects.iter().any(is_it));
    rule.map(|rule| rule.vault.clone())
}

/// No name of a database is longer, in bytes. Source: the limits of MongoDB.
const LONGEST_DATABASE_NAME: usize = 63;
/// So many bytes are left for the users' part of it at least.
const SHORTEST_REST: usize = 16;

/// Where an instance is kept: as the first rule that is for it says, and inside if none is.
pub fn place_of<'r>(
    rules: &'r [PlacementRule],
    (project, project_name): (ProjectId, &str),
    name: &InstanceName,
) -> &'r Place {
    let is_for = |rule: &&PlacementRule| {
        let is_project = |wanted: &String| *wanted == project.to_string() || wanted == project_name;
        let is_name = |wanted: &String| match wanted.strip_suffix('*') {
            Some(beginning) => name.as_str().starts_with(beginning),
            None => wanted == name.as_str(),
        };
        rule.project.as_ref().is_none_or(is_project) && rule.name.as_ref().is_none_or(is_name)
    };
    rules.iter().find(is_for).map_or(&Place::Embedded, |rule| &rule.place)
}

/// What the names of an instance's databases begin with. No name of an instance has a `_`, so that no
/// prefix is the beginning of another one. Nothing if no room would be left for names.
pub fn database_prefix(prefix: &str, name: &InstanceName) -> Option<String> {
    let whole = format!("{prefix}{name}_");
    (whole.len() + SHORTEST_REST <= LONGEST_DATABASE_NAME).then_some(whole)
}

/// Whether names of databases may begin so.
pub fn is_database_prefix(prefix: &str) -> bool {
    prefix.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(project: Option<&str>, name: Option<&str>, prefix: &str) -> PlacementRule {
        let place =
            Place::Deployment { name: "main".into(), project: None, prefix: prefix.to_owned() };
        PlacementRule { project: project.map(Into::into), name: name.map(Into::into), place }
    }

    #[test]
    fn the_first_rule_that_is_for_an_instance_counts() {
        let id: ProjectId = "0123456789abcdef01234567".parse().unwrap();
        let rules = [
            PlacementRule { place: Place::Embedded, ..rule(None, Some("ci-*"), "") },
            rule(Some("0123456789abcdef01234567"), Some("a"), "1"),
            rule(Some("Shop"), None, "2"),
        ];
        let prefix = |project: &str, name: &str| match place_of(
            &rules,
            (id, project),
            &name.parse().unwrap(),
        ) {
            Place::Embedded => None,
            Place::Deployment { prefix, .. } => Some(prefix.clone()),
        };
        assert_eq!(prefix("Shop", "ci-1"), None);
        assert_eq!(prefix("Other", "a").as_deref(), Some("1"));
        assert_eq!(prefix("Shop", "b").as_deref(), Some("2"));
        assert_eq!(prefix("Other", "b"), None);
    }

    #[test]
    fn prefixes_are_no_beginnings_of_each_other_and_leave_room() {
        let of = |name: &str| database_prefix("tm_", &name.parse().unwrap());
        assert_eq!(of("a").as_deref(), Some("tm_a_"));
        assert!(!of("a-b").unwrap().starts_with(&of("a").unwrap()));
        assert_eq!(of(&"x".repeat(44)), None);
        assert!(
            is_database_prefix("tm_1-") && !is_database_prefix("a.b") && !is_database_prefix("ä")
        );
    }
}
