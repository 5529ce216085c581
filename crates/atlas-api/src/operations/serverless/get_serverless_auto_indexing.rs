//! `GET …/performanceAdvisor/autoIndexing`: whether automatic indexing was asked for.
//!
//! The flag is kept and shown; the embedded database makes no indexes by itself.

use crate::answer::Answer;
use crate::call::{Call, Target};
use crate::error::Result;

pub(crate) fn run(_: &Call<'_>, target: &Target) -> Result<Answer> {
    Ok(Answer::entity(serde_json::Value::from(target.instance.settings.auto_indexing)))
}
