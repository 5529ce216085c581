//! Attempts at a restore job, and the names of what they stage.

use tidemark_deployment::STAGE_PREFIX;

/// The database of the marker collections and of the record of swaps.
pub(super) const MARKER_DATABASE: &str = "tidemark";
/// How the name of a marker ends: the collection that holds the plan of a swap.
pub(super) const MARKER: &str = "marker";

/// An attempt at a restore job. What it stages has its name, so that an attempt that was given up
/// and goes on somewhere writes to nothing that a later one reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The job's id.
    pub job: String,
    /// Which attempt it is.
    pub number: i64,
}

impl Attempt {
    pub(super) fn prefix(&self) -> String {
        format!("{}{}.", prefix_of_job(&self.job), self.number)
    }

    pub(super) fn marker(&self) -> String {
        format!("{}{MARKER}", self.prefix())
    }
}

/// What the names of all collections begin with that attempts at a job staged.
pub(super) fn prefix_of_job(job: &str) -> String {
    format!("{STAGE_PREFIX}{job}-")
}
