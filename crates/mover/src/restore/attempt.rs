//! Attempts at a restore job, and the names of what they stage.

use tidemark_deployment::{ATTACHED_STAGE_PREFIX, Endpoint, STAGE_PREFIX};

/// The database of the marker collections and of the record of swaps.
pub(super) const MARKER_DATABASE: &str = "tidemark";
/// How the name of a marker ends: the collection that holds the plan of a swap.
pub(super) const MARKER: &str = "marker";
/// How the name of the collection of records ends.
const RECORDS: &str = "swapped";

/// An attempt at a restore job. What it stages has its name, so that an attempt that was given up
/// and goes on somewhere writes to nothing that a later one reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The job's id.
    pub job: String,
    /// Which attempt it is.
    pub number: i64,
}

/// How collections of restores are named on a deployment.
///
/// An engine inside Tidemark hides those that begin as it knows from everybody else. On others names
/// have no dot: there are servers that do not rename what has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Names {
    prefix: &'static str,
    separator: char,
}

impl Names {
    const EMBEDDED: Self = Self { prefix: STAGE_PREFIX, separator: '.' };
    const ATTACHED: Self = Self { prefix: ATTACHED_STAGE_PREFIX, separator: '_' };

    /// The names on a deployment.
    pub(super) fn on(endpoint: &Endpoint) -> Self {
        match endpoint {
            Endpoint::Embedded(_) => Self::EMBEDDED,
            Endpoint::Attached(_) => Self::ATTACHED,
        }
    }

    /// What the names of all collections begin with that attempts at a job staged.
    pub(super) fn of_job(self, job: &str) -> String {
        format!("{}{job}-", self.prefix)
    }

    /// What the names of all collections begin with that an attempt staged.
    pub(super) fn of_attempt(self, attempt: &Attempt) -> String {
        format!("{}{}{}", self.of_job(&attempt.job), attempt.number, self.separator)
    }

    /// The collection with the plan of an attempt.
    pub(super) fn marker(self, attempt: &Attempt) -> String {
        format!("{}{MARKER}", self.of_attempt(attempt))
    }

    /// The number of the attempt at a job that a marker belongs to.
    pub(super) fn number_of_marker(self, job: &str, name: &str) -> Option<i64> {
        let number = name.strip_prefix(&self.of_job(job))?.strip_suffix(MARKER)?;
        number.strip_suffix(self.separator)?.parse().ok()
    }

    /// The collection with a record of each swap whose job is not over.
    pub(super) fn records(self) -> String {
        format!("{}{RECORDS}", self.prefix)
    }

    /// Whether a namespace is that of the records, on whichever deployment.
    pub(super) fn is_records(namespace: &str) -> bool {
        namespace.split_once('.').is_some_and(|(database, name)| {
            database == MARKER_DATABASE
                && [Self::EMBEDDED, Self::ATTACHED].iter().any(|names| names.records() == name)
        })
    }
}

/// The job that staged a collection with this name.
pub(super) fn job_of(name: &str) -> Option<&str> {
    let prefixes = [Names::EMBEDDED, Names::ATTACHED];
    let rest = prefixes.iter().find_map(|names| name.strip_prefix(names.prefix))?;
    rest.split_once('-').map(|(job, _)| job)
}
