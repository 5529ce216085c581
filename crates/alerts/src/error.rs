//! Why an alert did not arrive.

/// Why an alert did not arrive. No secret is in it.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The service does not answer, or not in time.
    #[error("{0} does not answer: {1}")]
    Unreachable(String, String),
    /// The service does not take it.
    #[error("{0} does not take it: {1}")]
    Refused(String, String),
}

impl SendError {
    /// Whether it may arrive later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable(..))
    }
}
