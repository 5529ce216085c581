//! Restore drills: backups brought back into a scratch database, compared, and reported.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::transition::InvalidTransition;
use crate::{Failure, InstanceId, OplogTime};

/// Where a drill stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DrillState {
    /// Wanted; nobody works on it yet.
    Queued,
    /// A worker is at this step.
    Running {
        /// The step.
        step: DrillStep,
    },
    /// Everything came back and is equal, and every check holds.
    Proven {
        /// When that was known.
        finished_at: Timestamp,
    },
    /// Something did not come back, is not equal, or a check does not hold.
    Failed {
        /// When it was given up.
        finished_at: Timestamp,
        /// What went wrong.
        failure: Failure,
    },
}

/// What is done in a drill, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrillStep {
    /// Every chunk is read and hashed, every oplog entry parsed.
    Verify,
    /// The scratch database is filled.
    Restore,
    /// Everything is read back from it as a client reads, and compared with the backup.
    Compare,
    /// The user's own checks are asked.
    Check,
}

impl DrillStep {
    const ALL: [Self; 4] = [Self::Verify, Self::Restore, Self::Compare, Self::Check];

    /// The word that the API and the catalog use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Restore => "restore",
            Self::Compare => "compare",
            Self::Check => "check",
        }
    }

    /// The step with this word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.as_str() == text)
    }
}

/// What can happen to a drill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DrillEvent {
    /// A worker begins a step; the first one again after another worker died.
    StepStarted(DrillStep),
    /// Everything is equal.
    Proven(Timestamp),
    /// It is over without that.
    GivenUp {
        /// When.
        at: Timestamp,
        /// Why.
        failure: Failure,
    },
}

impl DrillState {
    /// The word that the API and the catalog use.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running { .. } => "running",
            Self::Proven { .. } => "proven",
            Self::Failed { .. } => "failed",
        }
    }

    /// When it was over.
    pub fn finished_at(&self) -> Option<Timestamp> {
        match self {
            Self::Proven { finished_at } | Self::Failed { finished_at, .. } => Some(*finished_at),
            Self::Queued | Self::Running { .. } => None,
        }
    }

    /// The state after an event.
    pub fn after(&self, event: DrillEvent) -> Result<Self, InvalidTransition> {
        match (self, event) {
            (Self::Queued | Self::Running { .. }, DrillEvent::StepStarted(step)) => {
                Ok(Self::Running { step })
            }
            (Self::Running { .. }, DrillEvent::Proven(at)) => Ok(Self::Proven { finished_at: at }),
            (Self::Queued | Self::Running { .. }, DrillEvent::GivenUp { at, failure }) => {
                Ok(Self::Failed { finished_at: at, failure })
            }
            (state, event) => Err(InvalidTransition::new("drill", state.as_str(), &event)),
        }
    }
}

/// A question of the user's own, asked of what came back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DrillCheck {
    /// What it is called in the report.
    pub name: String,
    /// The collection.
    pub namespace: String,
    /// A filter in Extended JSON; everything if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Value>,
    /// An aggregation pipeline in Extended JSON, instead of a filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<Vec<Value>>,
    /// So many documents there must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// So many there must be at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<u64>,
    /// These documents, in this order, it must be, in Extended JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documents: Option<Vec<Value>>,
}

/// Why a check cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DrillCheckError {
    /// It has no name, or one that another one has.
    #[error("every check needs a name of its own; {0:?} is not")]
    Name(String),
    /// It names no collection.
    #[error("the check {0:?} names no collection as `database.collection`")]
    Namespace(String),
    /// It says both what to find and what to aggregate.
    #[error("the check {0:?} has a filter and a pipeline; give one of them")]
    Both(String),
    /// It says nothing of what is expected, or more than one thing.
    #[error("the check {0:?} must say one of `count`, `atLeast` and `documents`")]
    Expectation(String),
    /// It names more documents than are compared.
    #[error(
        "the check {0:?} names more than {MOST_DOCUMENTS} documents; use `count`, or a pipeline that sums them up"
    )]
    Documents(String),
    /// There are too many.
    #[error("a drill asks at most {MOST_CHECKS} checks")]
    TooMany,
}

/// Documents that a check compares at most.
pub const MOST_DOCUMENTS: usize = 1_000;
/// Checks of a drill at most.
pub const MOST_CHECKS: usize = 200;

impl DrillCheck {
    /// Refuses checks that cannot be asked.
    pub fn check_all(checks: &[Self]) -> Result<(), DrillCheckError> {
        if checks.len() > MOST_CHECKS {
            return Err(DrillCheckError::TooMany);
        }
        let mut names = std::collections::HashSet::new();
        for check in checks {
            let name = || check.name.clone();
            if check.name.trim().is_empty() || !names.insert(check.name.as_str()) {
                return Err(DrillCheckError::Name(name()));
            }
            if check.namespace.split_once('.').is_none_or(|(a, b)| a.is_empty() || b.is_empty()) {
                return Err(DrillCheckError::Namespace(name()));
            }
            if check.filter.is_some() && check.pipeline.is_some() {
                return Err(DrillCheckError::Both(name()));
            }
            let expectations = usize::from(check.count.is_some())
                + usize::from(check.at_least.is_some())
                + usize::from(check.documents.is_some());
            if expectations != 1 {
                return Err(DrillCheckError::Expectation(name()));
            }
            if check.documents.as_ref().is_some_and(|all| all.len() > MOST_DOCUMENTS) {
                return Err(DrillCheckError::Documents(name()));
            }
        }
        Ok(())
    }
}

/// What a drill found: what an auditor reads. Its signature is beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrillReport {
    /// The form of this report.
    pub version: u32,
    /// The drill.
    pub drill_id: String,
    /// `proven` or `failed`.
    pub outcome: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whose backup it is.
    pub instance_id: InstanceId,
    /// What the instance is called.
    pub instance_name: String,
    /// The snapshot from which was restored.
    pub snapshot_id: String,
    /// The moment that was restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shows: Option<OplogTime>,
    /// When it began, as an RFC 3339 instant.
    pub started_at: String,
    /// When it was over.
    pub finished_at: String,
    /// What restored it.
    pub restored_by: String,
    /// Every collection.
    pub collections: Vec<ProvenCollection>,
    /// What was not restored, and why: the scratch database does not have it.
    pub not_restored: Vec<NotRestored>,
    /// The user's own checks.
    pub checks: Vec<CheckResult>,
}

/// A collection as the backup has it, and as it came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProvenCollection {
    /// `database.collection`.
    pub namespace: String,
    /// As the backup has it.
    pub expected: ContentProof,
    /// As it came back.
    pub found: ContentProof,
    /// Whether every index is there.
    pub has_indexes: bool,
    /// Whether everything is equal.
    pub is_equal: bool,
}

/// What proves a collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContentProof {
    /// Documents.
    pub documents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The sum of the BLAKE3 hashes of all documents, lane by lane, in hexadecimal digits.
    pub hash: String,
}

/// Something that a scratch database cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotRestored {
    /// `database.collection`.
    pub namespace: String,
    /// What it is.
    pub kind: String,
    /// Why it was left out.
    pub reason: String,
}

/// How a check ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckResult {
    /// The check.
    pub check: DrillCheck,
    /// What was found: a count, or documents.
    pub found: Value,
    /// Whether it holds.
    pub holds: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_drill_goes_through_its_steps_and_ends_once() {
        let running = DrillState::Queued.after(DrillEvent::StepStarted(DrillStep::Verify)).unwrap();
        let proven = running.after(DrillEvent::Proven(at(5))).unwrap();
        assert_eq!(proven.finished_at(), Some(at(5)));
        assert!(DrillState::Queued.after(DrillEvent::Proven(at(5))).is_err());
        for event in [
            DrillEvent::StepStarted(DrillStep::Check),
            DrillEvent::Proven(at(6)),
            DrillEvent::GivenUp { at: at(6), failure: Failure::new(crate::Cause::Different, "") },
        ] {
            assert!(proven.after(event).is_err());
        }
        for step in DrillStep::ALL {
            assert_eq!(DrillStep::parse(step.as_str()), Some(step));
        }
    }

    #[test]
    fn checks_that_say_nothing_or_two_things_are_refused() {
        let parse = |text: &str| -> Vec<DrillCheck> { serde_json::from_str(text).unwrap() };
        let fine = r#"[{"name": "a", "namespace": "d.c", "count": 3}, {"name": "b", "namespace": "d.c",
            "pipeline": [], "documents": []}]"#;
        assert_eq!(DrillCheck::check_all(&parse(fine)), Ok(()));
        for bad in [
            r#"[{"name": "", "namespace": "d.c", "count": 3}]"#,
            r#"[{"name": "a", "namespace": "d.c", "count": 3}, {"name": "a", "namespace": "d.c", "count": 3}]"#,
            r#"[{"name": "a", "namespace": "d", "count": 3}]"#,
            r#"[{"name": "a", "namespace": "d.c"}]"#,
            r#"[{"name": "a", "namespace": "d.c", "count": 3, "atLeast": 2}]"#,
            r#"[{"name": "a", "namespace": "d.c", "count": 3, "filter": {}, "pipeline": []}]"#,
        ] {
            assert!(DrillCheck::check_all(&parse(bad)).is_err(), "{bad}");
        }
    }
}
