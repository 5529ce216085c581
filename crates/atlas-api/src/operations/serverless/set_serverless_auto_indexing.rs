//! `POST …/performanceAdvisor/autoIndexing?enable=…`: records whether automatic indexing is asked for.

use tidemark_catalog::InstanceSettings;

use crate::answer::Answer;
use crate::call::{Call, Target};
use crate::error::{ApiError, Result};

pub(crate) fn run(call: &Call<'_>, target: &Target) -> Result<Answer> {
    if call.query_value("enable").is_none_or(str::is_empty) {
        return Err(ApiError::missing_query_parameter("enable"));
    }
    let auto_indexing = call.query_flag("enable", true)?;
    let settings = InstanceSettings { auto_indexing, ..target.instance.settings.clone() };
    call.catalog.set_instance_settings(target.instance.id, &settings)?;
    Ok(Answer::empty())
}
