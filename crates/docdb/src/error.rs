//! Errors as clients see them: MongoDB's code, its name, a text, and extra fields.

use bson::Document;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        /// An error code of MongoDB.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Code {$($(#[$doc])* $name,)*}

        impl Code {
            pub(crate) fn number(self) -> i32 {
                match self {$(Self::$name => $code,)*}
            }

            pub(crate) fn name(self) -> &'static str {
                match self {$(Self::$name => stringify!($name),)*}
            }
        }
    };
}

codes! {
    InternalError = 1;
    BadValue = 2;
    FailedToParse = 9;
    Unauthorized = 13;
    TypeMismatch = 14;
    AuthenticationFailed = 18;
    IllegalOperation = 20;
    NamespaceNotFound = 26;
    IndexNotFound = 27;
    PathNotViable = 28;
    ConflictingUpdateOperators = 40;
    CursorNotFound = 43;
    NamespaceExists = 48;
    DollarPrefixedFieldName = 52;
    CommandNotFound = 59;
    ImmutableField = 66;
    CannotCreateIndex = 67;
    InvalidOptions = 72;
    InvalidNamespace = 73;
    IndexOptionsConflict = 85;
    IndexKeySpecsConflict = 86;
    CommandNotSupported = 115;
    DocumentValidationFailure = 121;
    OperationFailed = 96;
    CannotIndexParallelArrays = 171;
    TransactionTooOld = 225;
    SnapshotTooOld = 239;
    QueryExceededMemoryLimitNoDiskUseAllowed = 292;
    BSONObjectTooLarge = 10334;
    DuplicateKey = 11000;
    InvalidPipelineOperator = 168;
    MechanismUnavailable = 334;
    UnsupportedOpQueryCommand = 352;
    InvalidLength = 16;
    /// A stage that does not exist.
    Location40324 = 40324;
    /// A field that a command needs.
    Location40414 = 40414;
    /// A field that a command does not have.
    Location40415 = 40415;
}

/// Why a command, or one statement of it, was refused.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CommandError {
    pub(crate) code: Code,
    pub(crate) message: String,
    /// Further fields of the reply, as for duplicate keys.
    pub(crate) extra: Document,
}

impl CommandError {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), extra: Document::new() }
    }

    /// Refuses what the engine does not have, by its name.
    pub(crate) fn unsupported(what: impl std::fmt::Display) -> Self {
        let message = format!("{what} is not supported by the embedded engine");
        Self::new(Code::CommandNotSupported, message)
    }

    pub(crate) fn reply(&self) -> Document {
        let mut reply = bson::doc! {
            "ok": 0.0,
            "errmsg": &self.message,
            "code": self.code.number(),
            "codeName": self.code.name(),
        };
        reply.extend(self.extra.clone());
        reply
    }
}

impl From<fjall::Error> for CommandError {
    fn from(error: fjall::Error) -> Self {
        tracing::error!(%error, "the storage of an instance failed");
        Self::new(Code::InternalError, "the storage of this instance failed; see the server's log")
    }
}

impl From<bson::error::Error> for CommandError {
    fn from(error: bson::error::Error) -> Self {
        Self::new(Code::BadValue, format!("a document is not valid BSON: {error}"))
    }
}

pub(crate) type Result<T> = std::result::Result<T, CommandError>;
