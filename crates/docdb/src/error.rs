//! Errors as clients see them: MongoDB's code, its name, a text, and extra fields.

use bson::Document;
use tidemark_store::StoreError;

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
    NoSuchKey = 4;
    FailedToParse = 9;
    Unauthorized = 13;
    TypeMismatch = 14;
    Overflow = 15;
    AuthenticationFailed = 18;
    IllegalOperation = 20;
    NamespaceNotFound = 26;
    IndexNotFound = 27;
    PathNotViable = 28;
    ConflictingUpdateOperators = 40;
    CursorNotFound = 43;
    NamespaceExists = 48;
    MaxTimeMSExpired = 50;
    DollarPrefixedFieldName = 52;
    CommandNotFound = 59;
    ImmutableField = 66;
    CannotCreateIndex = 67;
    InvalidOptions = 72;
    UnknownReplWriteConcern = 79;
    UnsatisfiableWriteConcern = 100;
    AmbiguousIndexKeyPattern = 181;
    InvalidIndexSpecificationOption = 197;
    InvalidNamespace = 73;
    IndexOptionsConflict = 85;
    IndexKeySpecsConflict = 86;
    CommandNotSupported = 115;
    DocumentValidationFailure = 121;
    OperationFailed = 96;
    CannotIndexParallelArrays = 171;
    TransactionTooOld = 225;
    SnapshotTooOld = 239;
    TooManyLogicalSessions = 261;
    ClientDisconnect = 279;
    APIVersionError = 322;
    CappedPositionLost = 136;
    QueryPlanKilled = 175;
    BSONObjectTooLarge = 10334;
    OutOfDiskSpace = 14031;
    DuplicateKey = 11000;
    InvalidPipelineOperator = 168;
    MechanismUnavailable = 334;
    UnsupportedOpQueryCommand = 352;
    InvalidLength = 16;
    /// More distinct values than an answer holds.
    Location17217 = 17217;
    /// A pipeline of too many stages.
    Location7749501 = 7_749_501;
    ExceededMemoryLimit = 146;
    /// A number out of its bounds.
    Location51024 = 51024;
    /// A stage with more or less than one field.
    Location40323 = 40323;
    /// A new root that is no document.
    Location40228 = 40228;
    /// Paths of which one leads through the other.
    Location31250 = 31250;
    /// An accumulator with another number of arguments than one.
    Location40237 = 40237;
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

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        match &error {
            // What a user can act on is said to them.
            StoreError::OtherFormat { .. } => Self::new(Code::InternalError, error.to_string()),
            StoreError::DiskFull => Self::new(Code::OutOfDiskSpace, error.to_string()),
            _ => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, cause, "the store of an instance failed");
                Self::new(
                    Code::InternalError,
                    "the store of this instance failed; see the server's log",
                )
            }
        }
    }
}

impl From<bson::error::Error> for CommandError {
    fn from(error: bson::error::Error) -> Self {
        Self::new(Code::BadValue, format!("a document is not valid BSON: {error}"))
    }
}

pub(crate) type Result<T> = std::result::Result<T, CommandError>;
