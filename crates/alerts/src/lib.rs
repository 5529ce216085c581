//! Telling people what went wrong: webhooks in the words of each service, and e-mail.

mod body;
mod channel;
mod error;
mod mail;
mod message;
mod target;

pub use channel::Channel;
pub use error::SendError;
pub use mail::{Mail, Security};
pub use target::Target;

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It is well again.
    Resolved,
    /// Somebody should look.
    Warning,
    /// Backups are not as they should be.
    Critical,
}

impl Severity {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resolved => "resolved",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// What kind of thing it is: `snapshotFailed`, `drillFailed`, `restoreFailed`, `complaint`, `test`.
    pub kind: String,
    /// How bad it is.
    pub severity: Severity,
    /// In a few words.
    pub title: String,
    /// In a sentence or two, with what to do.
    pub text: String,
    /// The kind of the reason, one word, if something failed.
    pub cause: Option<String>,
    /// When, as RFC 3339 has it.
    pub at: String,
    /// The instance, if it is about one.
    pub instance: Option<String>,
    /// Its project.
    pub project: Option<String>,
    /// The server that tells it, as it is reached.
    pub server: String,
}
