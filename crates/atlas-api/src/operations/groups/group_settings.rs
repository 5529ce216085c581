//! The settings of a project: flags that are kept and shown.

use serde_json::{Map, Value};
use tidemark_catalog::Project;

use crate::body::Body;
use crate::error::Result;

/// Each flag with its default.
const FLAGS: &[(&str, bool)] = &[
    ("isClusterAiAssistantEnabled", true),
    ("isCollectDatabaseSpecificsStatisticsEnabled", true),
    ("isDataExplorerEnabled", true),
    ("isDataExplorerGenAIFeaturesEnabled", true),
    ("isDataExplorerGenAISampleDocumentPassingEnabled", false),
    ("isDataValidationEnabled", true),
    ("isExtendedStorageSizesEnabled", false),
    ("isNativeRerankingEnabled", true),
    ("isPerformanceAdvisorEnabled", true),
    ("isRealtimePerformancePanelEnabled", true),
    ("isSchemaAdvisorEnabled", true),
];

pub(super) fn describe(project: &Project) -> Value {
    let flag = |(name, default): &(&str, bool)| {
        let value = project.settings.get(*name).cloned();
        ((*name).to_owned(), value.unwrap_or_else(|| (*default).into()))
    };
    Value::Object(FLAGS.iter().map(flag).collect())
}

/// The settings after what a body changes.
pub(super) fn change(settings: &Map<String, Value>, body: &Body<'_>) -> Result<Map<String, Value>> {
    let names: Vec<&str> = FLAGS.iter().map(|(name, _)| *name).collect();
    body.allow(&names)?;
    let mut changed = settings.clone();
    for name in names {
        if let Some(flag) = body.flag(name)? {
            changed.insert(name.to_owned(), flag.into());
        }
    }
    Ok(changed)
}
