//! Why a deployment did not do what it was asked.

use bson::raw::{RawBsonRef, RawDocument};

/// Why a deployment did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The deployment cannot be reached, or the connection broke.
    #[error("the connection to {address} failed while {doing}: {source}")]
    Connection {
        /// The deployment.
        address: String,
        /// What was being done.
        doing: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The deployment does not let the user in.
    #[error("{address} refuses the login: {reason}; check user, password and authSource")]
    Login {
        /// The deployment.
        address: String,
        /// What it says.
        reason: String,
    },
    /// The connection string, or a certificate, cannot be used.
    #[error("the connection cannot be made as it is described: {reason}")]
    Settings {
        /// What is wrong.
        reason: String,
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

/// What a deployment refuses while its primary changes, it shuts down or is overloaded, and not a
/// moment later: the codes of the drivers' specification of retryable operations.
const PASSING: &[i32] =
    &[6, 7, 89, 91, 134, 189, 262, 9001, 10_107, 11_600, 11_602, 13_435, 13_436];

impl LinkError {
    /// Whether the same may succeed later without anybody's help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connection { .. } => true,
            Self::Command { code, .. } => PASSING.contains(code),
            _ => false,
        }
    }

    /// Whether a command was refused to this user: `Unauthorized` or `AuthenticationFailed`.
    pub fn is_denial(&self) -> bool {
        matches!(self, Self::Command { code: 13 | 18, .. })
    }

    /// The same, of a command with this name.
    pub(crate) fn of_command(self, name: &str) -> Self {
        match self {
            Self::Command { address, code, message, .. } => {
                Self::Command { address, command: name.to_owned(), code, message }
            }
            other => other,
        }
    }

    /// MongoDB's code, if the deployment refused a command.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Command { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// Whether a reply says that the command was done; a refused document is a refused command.
pub(crate) fn check_reply(
    address: &str,
    command: &str,
    reply: &RawDocument,
) -> Result<(), LinkError> {
    let is_ok = match reply.get("ok") {
        Ok(Some(RawBsonRef::Double(ok))) => ok > 0.5,
        Ok(Some(RawBsonRef::Int32(ok))) => ok == 1,
        Ok(Some(RawBsonRef::Int64(ok))) => ok == 1,
        _ => false,
    };
    let error = if is_ok {
        let errors = reply.get_array("writeErrors").ok();
        let refused = errors.and_then(|errors| errors.get_document(0).ok());
        refused.or_else(|| reply.get_document("writeConcernError").ok())
    } else {
        Some(reply)
    };
    let Some(error) = error else { return Ok(()) };
    Err(LinkError::Command {
        address: address.to_owned(),
        command: command.to_owned(),
        code: error.get_i32("code").unwrap_or(0),
        message: error.get_str("errmsg").unwrap_or("no reason given").to_owned(),
    })
}
