//! An alert as a text.

use crate::{Alert, Severity};

/// Everything of it as a text.
pub(crate) fn plain(alert: &Alert) -> String {
    let word = match alert.severity {
        Severity::Resolved => "RESOLVED",
        Severity::Warning => "WARNING",
        Severity::Critical => "CRITICAL",
    };
    format!("[{word}] {}\n{}\n{} · {}", alert.title, alert.text, alert.at, alert.server)
}
