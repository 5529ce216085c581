//! What a client asks: a command with its fields, and documents beside it.

use std::time::Duration;

use bson::raw::RawDocument;
use bson::{Bson, RawBsonRef};
use tidemark_model::OplogTime;
use tidemark_wire::{DocumentRun, OpMsg};

use crate::collections::Namespace;
use crate::error::{Code, CommandError, Result};
use crate::number::as_integer;
use crate::transaction::StatementId;

/// Fields that every command may carry and that do not change its result here.
const GENERIC_FIELDS: &[&str] = &[
    "$db",
    "lsid",
    "$clusterTime",
    "$readPreference",
    "readConcern",
    "writeConcern",
    "txnNumber",
    "maxTimeMS",
    "comment",
    "apiVersion",
    "apiStrict",
    "apiDeprecationErrors",
    "rawData",
    "$audit",
    "help",
    "mayBypassWriteBlocking",
];

/// A command.
pub(crate) struct Request<'a> {
    message: &'a OpMsg,
    pub(crate) body: &'a RawDocument,
    /// The command's name as the client spells it.
    pub(crate) name: &'a str,
    pub(crate) database: &'a str,
}

impl<'a> Request<'a> {
    /// Reads what is common to all commands; refuses what no command here can do.
    pub(crate) fn parse(message: &'a OpMsg) -> Result<Self> {
        let body = message.body();
        let (name, _) = body.into_iter().next().ok_or_else(|| {
            CommandError::new(Code::FailedToParse, "a command document is empty")
        })??;
        let request = Self {
            message,
            body,
            name: name.as_str(),
            database: body.get_str("$db").unwrap_or("admin"),
        };
        if request.field("startTransaction").is_some() || request.field("autocommit").is_some() {
            return Err(CommandError::unsupported("a multi-document transaction"));
        }
        Ok(request)
    }

    pub(crate) fn field(&self, name: &str) -> Option<RawBsonRef<'a>> {
        self.body.get(name).ok().flatten().filter(|value| !matches!(value, RawBsonRef::Null))
    }

    /// Refuses fields that the command does not have.
    pub(crate) fn allow(&self, fields: &[&str]) -> Result<()> {
        for element in self.body.iter_elements().skip(1) {
            let element = element?;
            let name = element.key().as_str();
            if fields.contains(&name) || GENERIC_FIELDS.contains(&name) {
                continue;
            }
            match (name, element.value()?) {
                ("collation", RawBsonRef::Document(collation))
                    if collation.is_empty()
                        || collation.get_str("locale").is_ok_and(|locale| locale == "simple") => {}
                ("let", RawBsonRef::Document(variables)) if variables.is_empty() => {}
                ("collation" | "let", _) => {
                    return Err(CommandError::unsupported(format!(
                        "the option '{name}' of {}",
                        self.name
                    )));
                }
                _ => {
                    let text = format!(
                        "BSON field '{}.{name}' is an unknown field, or one that the embedded engine does not support",
                        self.name
                    );
                    return Err(CommandError::new(Code::Location40415, text));
                }
            }
        }
        Ok(())
    }

    /// The collection that the command's first field names.
    pub(crate) fn namespace(&self) -> Result<Namespace> {
        let name = self.field(self.name).and_then(RawBsonRef::as_str).ok_or_else(|| {
            let text = format!("collection name has invalid type; {} needs a string", self.name);
            CommandError::new(Code::InvalidNamespace, text)
        })?;
        Namespace::new(self.database, name)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        self.field(name).and_then(RawBsonRef::as_str)
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        match self.field(name) {
            Some(RawBsonRef::Boolean(flag)) => flag,
            Some(value) => as_integer(value).is_some_and(|number| number != 0),
            None => false,
        }
    }

    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>> {
        self.field(name)
            .map(|value| as_integer(value).ok_or_else(|| self.wrong_type(name, "a whole number")))
            .transpose()
    }

    /// A number that may not be negative.
    pub(crate) fn size(&self, name: &str) -> Result<Option<u64>> {
        self.integer(name)?
            .map(|number| {
                u64::try_from(number).map_err(|_| {
                    let text = format!(
                        "BSON field '{}.{name}' value must be >= 0, actual value '{number}'",
                        self.name
                    );
                    CommandError::new(Code::BadValue, text)
                })
            })
            .transpose()
    }

    pub(crate) fn document(&self, name: &str) -> Result<Option<&'a RawDocument>> {
        self.field(name)
            .map(|value| value.as_document().ok_or_else(|| self.wrong_type(name, "an object")))
            .transpose()
    }

    fn wrong_type(&self, name: &str, expected: &str) -> CommandError {
        let text =
            format!("BSON field '{}.{name}' is the wrong type; it must be {expected}", self.name);
        CommandError::new(Code::TypeMismatch, text)
    }

    /// The documents of a list that may stand beside the command or in it.
    pub(crate) fn documents(&self, name: &str) -> Result<Vec<&'a RawDocument>> {
        let documents = self.unchecked_documents(name)?;
        if self.message.sequence(name).is_some() {
            // Those in the body were checked with it.
            documents.iter().try_for_each(|document| crate::depth::check_message(document))?;
        }
        Ok(documents)
    }

    /// As `documents`, of any depth: whoever stores them checks it.
    pub(crate) fn unchecked_documents(&self, name: &str) -> Result<Vec<&'a RawDocument>> {
        if let Some(run) = self.message.sequence(name) {
            let documents: std::result::Result<Vec<_>, _> = DocumentRun::new(run).collect();
            return documents
                .map_err(|error| CommandError::new(Code::FailedToParse, error.to_string()));
        }
        let array = self.field(name).and_then(RawBsonRef::as_array).ok_or_else(|| {
            let text = format!("BSON field '{}.{name}' is missing but a required field", self.name);
            CommandError::new(Code::Location40414, text)
        })?;
        let mut documents = Vec::new();
        for item in array {
            documents.push(
                item?.as_document().ok_or_else(|| self.wrong_type(name, "an array of objects"))?,
            );
        }
        Ok(documents)
    }

    /// How long the command may take: `maxTimeMS`, none for 0.
    pub(crate) fn time_limit(&self) -> Result<Option<Duration>> {
        let Some(value) = self.field("maxTimeMS") else { return Ok(None) };
        let invalid = |text: &str| {
            CommandError::new(Code::BadValue, format!("{text}, not {value:?} for maxTimeMS"))
        };
        let milliseconds = match value {
            RawBsonRef::Int32(_) | RawBsonRef::Int64(_) | RawBsonRef::Double(_) => {
                as_integer(value).ok_or_else(|| invalid("a whole number is needed"))?
            }
            _ => return Err(self.wrong_type("maxTimeMS", "a number")),
        };
        match u32::try_from(milliseconds) {
            Ok(0) => Ok(None),
            Ok(milliseconds) if i32::try_from(milliseconds).is_ok() => {
                Ok(Some(Duration::from_millis(u64::from(milliseconds))))
            }
            _ => Err(invalid("a value from 0 to 2147483647 is needed")),
        }
    }

    /// How many documents the first answer may have: `cursor.batchSize`.
    pub(crate) fn cursor_size(&self) -> Result<Option<u64>> {
        let Some(cursor) = self.document("cursor")? else { return Ok(None) };
        for element in cursor {
            let (name, _) = element?;
            if name.as_str() != "batchSize" {
                let text = format!("BSON field 'cursor.{}' is an unknown field.", name.as_str());
                return Err(CommandError::new(Code::Location40415, text));
            }
        }
        let size = cursor.get("batchSize")?.filter(|size| !matches!(size, RawBsonRef::Null));
        size.map(|size| {
            as_integer(size)
                .ok_or_else(|| self.wrong_type("cursor.batchSize", "a number"))
                .and_then(|size| {
                    u64::try_from(size).map_err(|_| {
                        let text = "BSON field 'batchSize' value must be >= 0";
                        CommandError::new(Code::Location51024, text)
                    })
                })
        })
        .transpose()
    }

    /// What makes the statements of this command repeatable, if the client asked for that.
    ///
    /// A session belongs to a user: another one's with the same id is a different session.
    pub(crate) fn statement(&self, user: Option<&str>) -> Result<Option<StatementId>> {
        let (Some(session), Some(number)) = (self.document("lsid")?, self.integer("txnNumber")?)
        else {
            return Ok(None);
        };
        let id = session.get("id")?.map(Bson::try_from).transpose()?.unwrap_or(Bson::Null);
        let user = format!("{}@admin", user.unwrap_or_default());
        let digest = ring::digest::digest(&ring::digest::SHA256, user.as_bytes());
        let uid = bson::Binary {
            subtype: bson::spec::BinarySubtype::Generic,
            bytes: digest.as_ref().to_vec(),
        };
        let session = bson::doc! { "id": id, "uid": uid }.to_vec()?;
        Ok(Some(StatementId { session: session.into(), number, statement: 0 }))
    }

    /// What the read asks of time.
    pub(crate) fn read_concern(&self) -> Result<ReadConcern> {
        let Some(concern) = self.document("readConcern")? else {
            return Ok(ReadConcern::Local);
        };
        let at = concern.get("atClusterTime")?.and_then(RawBsonRef::as_timestamp);
        match concern.get("level")?.and_then(RawBsonRef::as_str) {
            None | Some("local" | "available") => Ok(ReadConcern::Local),
            Some("majority" | "linearizable") => Ok(ReadConcern::Durable),
            Some("snapshot") => {
                Ok(ReadConcern::Snapshot(at.map(|ts| OplogTime::new(ts.time, ts.increment))))
            }
            Some(level) => {
                let text = format!(
                    "Enumeration value '{level}' for field 'readConcern.level' is not a valid value"
                );
                Err(CommandError::new(Code::BadValue, text))
            }
        }
    }
}

/// What a read asks of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadConcern {
    /// The present.
    Local,
    /// The present, once it is on disk.
    Durable,
    /// One moment, to be read again later.
    Snapshot(Option<OplogTime>),
}
