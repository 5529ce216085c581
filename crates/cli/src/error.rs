//! How a command ends when it does not do what it was asked for.

use std::process::ExitCode;

/// What the exit code of a command means. 0 is success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It failed in a way that has no code of its own.
    Failed = 1,
    /// The command line says something that cannot be.
    Usage = 2,
    /// The server could not be reached, or is not ready.
    Unreachable = 3,
    /// The server does not know the credentials, or they may not do this.
    Denied = 4,
    /// There is no such project, instance, snapshot or job.
    NotFound = 5,
    /// It cannot be done as things are.
    Conflict = 6,
    /// What was waited for ended without success.
    Unsuccessful = 7,
    /// Something was compared or checked and is not as it should be.
    Differs = 8,
    /// Nobody said yes.
    Declined = 9,
}

impl Exit {
    /// All of them, with their meaning as the reference has it.
    pub const ALL: &[(Self, &str)] = &[
        (Self::Failed, "it failed in another way; the message says how"),
        (Self::Usage, "the command line says something that cannot be"),
        (Self::Unreachable, "the server could not be reached, or is not ready"),
        (Self::Denied, "the server does not know the credentials, or they may not do this"),
        (Self::NotFound, "there is no such project, instance, snapshot or job"),
        (Self::Conflict, "it cannot be done as things are"),
        (Self::Unsuccessful, "what was waited for ended without success"),
        (Self::Differs, "something was compared or checked and is not as it should be"),
        (Self::Declined, "nobody said yes"),
    ];
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what it was asked for, and what helps.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CliError {
    exit: Exit,
    message: String,
    hint: Option<String>,
    /// The `errorCode` of the server's refusal.
    code: Option<String>,
}

impl CliError {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None, code: None }
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// With what to do next.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// With the `errorCode` of a refusal.
    pub(crate) fn coded(self, code: &str) -> Self {
        Self { code: Some(code.to_owned()), ..self }
    }

    /// Whether it is the refusal with this `errorCode`.
    pub(crate) fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// The code that the process ends with.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// Says it on the standard error.
    pub fn tell(&self) {
        eprintln!("tidemark: {}", self.message);
        if let Some(hint) = &self.hint {
            eprintln!("  next: {hint}");
        }
    }
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        // Whoever read the output has enough of it.
        Self::failed(format!("the output cannot be written: {error}"))
    }
}

impl From<serde_json::Error> for CliError {
    fn from(error: serde_json::Error) -> Self {
        Self::failed(format!("what the server answered cannot be used: {error}"))
            .hint("use a `tidemark` of the server's release")
    }
}
