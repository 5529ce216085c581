//! Ways on which alerts reach people, for whoever lists and tries them.

use serde::Serialize;

/// A way on which alerts reach people. No secret is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertChannel {
    /// What it is called.
    pub name: String,
    /// `slack`, `discord`, `telegram`, `teams`, `json` or `mail`.
    pub kind: &'static str,
    /// What is not as bad as this is not told: `warning` or `critical`.
    pub least: &'static str,
    /// Whether everything reaches it that is about any project.
    pub is_for_all_projects: bool,
}

/// Knows the ways on which alerts reach people.
pub trait Alerting: Send + Sync + std::fmt::Debug {
    /// All of them.
    fn channels(&self) -> Vec<AlertChannel>;

    /// Sends a message on one of them, now; answers whether there is one, or why it did not arrive.
    fn try_channel(&self, name: &str) -> Result<bool, String>;
}
