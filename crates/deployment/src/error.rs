//! Why a deployment did not do what it was asked.

/// Why a deployment did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The deployment cannot be reached, or the connection broke.
    #[error(
        "the connection to {address} failed while {doing}: {source}; the job can be tried again"
    )]
    Connection {
        /// The deployment.
        address: String,
        /// What was being done.
        doing: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The deployment answered something that is not the protocol.
    #[error("{address} does not speak the MongoDB protocol as expected: {reason}")]
    Protocol {
        /// The deployment.
        address: String,
        /// What is wrong.
        reason: String,
    },
    /// The deployment refused a command.
    #[error("{address} refused {command}: {message} (code {code})")]
    Command {
        /// The deployment.
        address: String,
        /// The command's name.
        command: String,
        /// MongoDB's error code.
        code: i32,
        /// What the deployment says.
        message: String,
    },
}

impl LinkError {
    /// Whether the same may succeed later without anybody's help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Connection { .. })
    }

    /// MongoDB's code, if the deployment refused a command.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Command { code, .. } => Some(*code),
            _ => None,
        }
    }
}
