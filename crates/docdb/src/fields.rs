//! The types of command fields: one strict reader for all commands.
//!
//! A field means the same in every command that has it, so its type stands in one table. As on the
//! server, null counts as absent where a field may be absent.

use bson::RawBsonRef;
use bson::raw::RawDocument;
use bson::spec::ElementType;

use crate::error::{Code, CommandError, Result};
use crate::number::as_integer;

/// What a field may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A boolean and nothing else.
    Bool,
    /// A boolean or a number.
    SafeBool,
    Number,
    Text,
    Object,
    Array,
    ObjectOrArray,
    TextOrObject,
    TextObjectOrArray,
    Any,
}

impl Kind {
    fn takes(self, value: RawBsonRef<'_>) -> bool {
        let is_number = matches!(
            value.element_type(),
            ElementType::Int32 | ElementType::Int64 | ElementType::Double | ElementType::Decimal128
        );
        let is_bool = matches!(value, RawBsonRef::Boolean(_));
        let is_text = matches!(value, RawBsonRef::String(_));
        let is_object = matches!(value, RawBsonRef::Document(_));
        let is_array = matches!(value, RawBsonRef::Array(_));
        match self {
            Self::Bool => is_bool,
            Self::SafeBool => is_bool || is_number,
            Self::Number => is_number,
            Self::Text => is_text,
            Self::Object => is_object,
            Self::Array => is_array,
            Self::ObjectOrArray => is_object || is_array,
            Self::TextOrObject => is_text || is_object,
            Self::TextObjectOrArray => is_text || is_object || is_array,
            Self::Any => true,
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Bool => "'bool'",
            Self::SafeBool => "'[bool, long, int, decimal, double]'",
            Self::Number => "'[long, int, decimal, double]'",
            Self::Text => "'string'",
            Self::Object => "'object'",
            Self::Array => "'array'",
            Self::ObjectOrArray => "'[object, array]'",
            Self::TextOrObject => "'[string, object]'",
            Self::TextObjectOrArray => "'[string, object, array]'",
            Self::Any => "any type",
        }
    }
}

const KINDS: &[(&str, Kind)] = &[
    ("$db", Kind::Text),
    ("$readPreference", Kind::Object),
    ("allowDiskUse", Kind::SafeBool),
    ("allowPartialResults", Kind::SafeBool),
    ("apiDeprecationErrors", Kind::Bool),
    ("apiStrict", Kind::Bool),
    ("apiVersion", Kind::Text),
    ("arrayFilters", Kind::Array),
    ("awaitData", Kind::SafeBool),
    ("authorizedCollections", Kind::SafeBool),
    ("authorizedDatabases", Kind::SafeBool),
    ("batchSize", Kind::Number),
    ("bypassDocumentValidation", Kind::SafeBool),
    ("collation", Kind::Object),
    ("collection", Kind::Text),
    ("cursor", Kind::Object),
    ("cursors", Kind::Array),
    ("deletes", Kind::Array),
    ("documents", Kind::Array),
    ("dropTarget", Kind::SafeBool),
    ("fields", Kind::Object),
    ("filter", Kind::Object),
    ("hint", Kind::TextOrObject),
    ("index", Kind::TextObjectOrArray),
    ("indexes", Kind::Array),
    ("key", Kind::Text),
    ("let", Kind::Object),
    ("limit", Kind::Number),
    ("lsid", Kind::Object),
    ("maxTimeMS", Kind::Number),
    ("multi", Kind::Bool),
    ("nameOnly", Kind::SafeBool),
    ("new", Kind::SafeBool),
    ("noCursorTimeout", Kind::SafeBool),
    ("oplogReplay", Kind::SafeBool),
    ("ordered", Kind::Bool),
    ("pipeline", Kind::Array),
    ("projection", Kind::Object),
    ("q", Kind::Object),
    ("query", Kind::Object),
    ("readConcern", Kind::Object),
    ("remove", Kind::SafeBool),
    ("scale", Kind::Number),
    ("singleBatch", Kind::SafeBool),
    ("skip", Kind::Number),
    ("sort", Kind::Object),
    ("tailable", Kind::SafeBool),
    ("tidemarkRecords", Kind::Object),
    ("to", Kind::Text),
    ("txnNumber", Kind::Number),
    ("u", Kind::ObjectOrArray),
    ("update", Kind::ObjectOrArray),
    ("updates", Kind::Array),
    ("upsert", Kind::SafeBool),
    ("validationAction", Kind::Text),
    ("validationLevel", Kind::Text),
    ("validator", Kind::Object),
    ("writeConcern", Kind::Object),
];

/// Refuses a value of a type that a field does not take. `owner` is the command or statement.
pub(crate) fn check_type(owner: &str, name: &str, value: RawBsonRef<'_>) -> Result<()> {
    if matches!(value, RawBsonRef::Null | RawBsonRef::Undefined) {
        return Ok(());
    }
    let kind = KINDS.iter().find(|(known, _)| *known == name).map_or(Kind::Any, |(_, kind)| *kind);
    if kind.takes(value) {
        return Ok(());
    }
    let text = format!(
        "BSON field '{owner}.{name}' is the wrong type '{}', expected type {}",
        type_name(value),
        kind.expected()
    );
    Err(CommandError::new(Code::TypeMismatch, text))
}

/// The server's name of a value's type.
fn type_name(value: RawBsonRef<'_>) -> &'static str {
    match value.element_type() {
        ElementType::Double => "double",
        ElementType::String => "string",
        ElementType::EmbeddedDocument => "object",
        ElementType::Array => "array",
        ElementType::Binary => "binData",
        ElementType::Undefined => "undefined",
        ElementType::ObjectId => "objectId",
        ElementType::Boolean => "bool",
        ElementType::DateTime => "date",
        ElementType::Null => "null",
        ElementType::RegularExpression => "regex",
        ElementType::DbPointer => "dbPointer",
        ElementType::JavaScriptCode => "javascript",
        ElementType::Symbol => "symbol",
        ElementType::JavaScriptCodeWithScope => "javascriptWithScope",
        ElementType::Int32 => "int",
        ElementType::Timestamp => "timestamp",
        ElementType::Int64 => "long",
        ElementType::Decimal128 => "decimal",
        ElementType::MinKey => "minKey",
        ElementType::MaxKey => "maxKey",
    }
}

/// Commands that can read a moment in the past.
const SNAPSHOT_READERS: &[&str] = &["find", "aggregate", "distinct", "getMore"];

/// Checks what every command may carry.
pub(crate) fn check_generic(command: &str, body: &RawDocument) -> Result<()> {
    for element in body.iter_elements().skip(1) {
        let element = element?;
        let (name, value) = (element.key().as_str(), element.value()?);
        check_type(command, name, value)?;
        match (name, value) {
            ("readConcern", RawBsonRef::Document(concern)) => check_read_concern(command, concern)?,
            ("writeConcern", RawBsonRef::Document(concern)) => check_write_concern(concern)?,
            ("apiVersion", RawBsonRef::String(version)) if version != "1" => {
                let text = "API version must be \"1\"";
                return Err(CommandError::new(Code::APIVersionError, text));
            }
            _ => {}
        }
    }
    Ok(())
}

fn unknown_field(owner: &str, name: &str) -> CommandError {
    let text = format!("BSON field '{owner}.{name}' is an unknown field.");
    CommandError::new(Code::Location40415, text)
}

fn check_read_concern(command: &str, concern: &RawDocument) -> Result<()> {
    for field in concern {
        let (name, value) = field?;
        let name = name.as_str();
        let is_right = match name {
            "level" => matches!(value, RawBsonRef::String(_)),
            "afterClusterTime" | "atClusterTime" => matches!(value, RawBsonRef::Timestamp(_)),
            "provenance" | "allowTransactionTableSnapshot" => true,
            _ => return Err(unknown_field("readConcern", name)),
        };
        if !is_right {
            let expected = if name == "level" { "string" } else { "timestamp" };
            let text = format!(
                "BSON field 'readConcern.{name}' is the wrong type '{}', expected type '{expected}'",
                type_name(value)
            );
            return Err(CommandError::new(Code::TypeMismatch, text));
        }
        if matches!(value, RawBsonRef::String("snapshot")) && !SNAPSHOT_READERS.contains(&command) {
            let text = format!(
                "Command {command} does not support {{ readConcern: {{ level: \"snapshot\", provenance: \"clientSupplied\" }} }} :: caused by :: read concern not supported"
            );
            return Err(CommandError::new(Code::InvalidOptions, text));
        }
    }
    Ok(())
}

fn check_write_concern(concern: &RawDocument) -> Result<()> {
    for field in concern {
        let (name, value) = field?;
        let name = name.as_str();
        let is_right = match name {
            "w" => {
                matches!(value, RawBsonRef::String(_) | RawBsonRef::Document(_))
                    || Kind::Number.takes(value)
            }
            "j" | "fsync" => Kind::SafeBool.takes(value),
            "wtimeout" => Kind::Number.takes(value),
            "provenance" | "getLastError" | "wOpTime" | "wElectionId" => true,
            _ => return Err(unknown_field("writeConcern", name)),
        };
        if !is_right && !matches!(value, RawBsonRef::Null) {
            let text = format!(
                "BSON field 'writeConcern.{name}' is the wrong type '{}'",
                type_name(value)
            );
            return Err(CommandError::new(Code::TypeMismatch, text));
        }
        if name == "w" && as_integer(value).is_some_and(|w| !(0..=50).contains(&w)) {
            let text = "w has to be a non-negative number and not greater than 50";
            return Err(CommandError::new(Code::FailedToParse, text));
        }
    }
    Ok(())
}

/// Why the one member cannot fulfil a write concern, if it cannot.
pub(crate) fn unfulfilled(body: &RawDocument) -> Option<CommandError> {
    let concern = body.get_document("writeConcern").ok()?;
    match concern.get("w").ok()?? {
        RawBsonRef::String("majority") => None,
        RawBsonRef::String(mode) => Some(CommandError::new(
            Code::UnknownReplWriteConcern,
            format!("No write concern mode named '{mode}' found in replica set configuration"),
        )),
        w if as_integer(w).is_some_and(|w| w > 1) => Some(CommandError::new(
            Code::UnsatisfiableWriteConcern,
            "Not enough data-bearing nodes",
        )),
        _ => None,
    }
}
