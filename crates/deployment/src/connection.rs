//! A connection to a deployment: commands, raw batches in and out.
//!
//! Documents pass through as they are: what a cursor answers is never decoded, and what a chunk
//! holds is the body of an insert.

use std::borrow::Cow;

use bson::Document;
use bson::raw::RawDocument;

use crate::driver_link::{DriverConnection, DriverSent};
use crate::endpoint::{Endpoint, Patience};
use crate::error::LinkError;
use crate::scope::Scope;
use crate::wire_link::{WireConnection, WireSent};

/// The collection with the entries of the oplog.
const OPLOG: &str = "oplog.rs";

/// A command whose answer was not read yet.
pub struct Sent(SentKind);

enum SentKind {
    Wire(WireSent),
    Driver(DriverSent),
}

/// An authenticated connection. It does one thing at a time.
pub struct Connection {
    kind: Kind,
    /// The part of the deployment that it leads to, if not the whole.
    scope: Option<Scope>,
}

enum Kind {
    Wire(WireConnection),
    Driver(DriverConnection),
}

impl Connection {
    /// Connects and logs in.
    pub fn open(endpoint: &Endpoint) -> Result<Self, LinkError> {
        Self::open_patiently(endpoint, Patience::default())
    }

    /// Connects and logs in, with so much patience.
    pub fn open_patiently(endpoint: &Endpoint, patience: Patience) -> Result<Self, LinkError> {
        Ok(match endpoint {
            Endpoint::Embedded(address) => {
                let kind = Kind::Wire(WireConnection::open(address, patience)?);
                Self { kind, scope: None }
            }
            Endpoint::Attached(client) => {
                let kind = Kind::Driver(DriverConnection::open(client.clone(), patience)?);
                Self { kind, scope: client.scope() }
            }
        })
    }

    /// A command and its database as the deployment is to get them.
    fn outwards<'a>(&self, database: &'a str, command: Document) -> (Cow<'a, str>, Document) {
        match &self.scope {
            Some(scope) => (scope.database(database), scope.command(command)),
            None => (Cow::Borrowed(database), command),
        }
    }

    /// Whether it leads to an engine inside Tidemark.
    pub(crate) fn is_embedded(&self) -> bool {
        matches!(self.kind, Kind::Wire(_))
    }

    /// Runs a command and answers its reply; an error reply is an error.
    pub fn command(&mut self, database: &str, command: Document) -> Result<Document, LinkError> {
        let (database, command) = self.outwards(database, command);
        let reply = self.run(&database, command)?;
        Ok(match &self.scope {
            Some(scope) => scope.reply(reply),
            None => reply,
        })
    }

    /// Runs a command as it is, on the whole deployment.
    fn run(&mut self, database: &str, command: Document) -> Result<Document, LinkError> {
        match &mut self.kind {
            Kind::Wire(link) => link.command(database, command),
            Kind::Driver(link) => link.command(database, command),
        }
    }

    /// The databases of a part of a deployment that cannot have our names: they are not protected.
    pub fn unreachable_databases(&mut self) -> Result<Vec<String>, LinkError> {
        let Some(scope) = self.scope.clone() else { return Ok(Vec::new()) };
        let list = bson::doc! { "listDatabases": 1, "nameOnly": true };
        Ok(scope.unreachable(&self.run("admin", list)?))
    }

    /// Runs a writing command with concatenated documents or statements beside it, as they are.
    pub fn write_run(
        &mut self,
        database: &str,
        command: Document,
        run: (&str, &[u8]),
    ) -> Result<(), LinkError> {
        let sent = self.begin_write(database, command, run)?;
        self.finish_write(sent)
    }

    /// Sends a writing command without waiting; `finish_write` says how it went.
    pub fn begin_write(
        &mut self,
        database: &str,
        command: Document,
        run: (&str, &[u8]),
    ) -> Result<Sent, LinkError> {
        let (database, command) = self.outwards(database, command);
        Ok(Sent(match &mut self.kind {
            Kind::Wire(link) => SentKind::Wire(link.begin_write(&database, command, run)?),
            Kind::Driver(link) => SentKind::Driver(link.begin_write(&database, command, run)?),
        }))
    }

    /// Waits for a write that was begun.
    pub fn finish_write(&mut self, sent: Sent) -> Result<(), LinkError> {
        match (&mut self.kind, sent.0) {
            (Kind::Wire(link), SentKind::Wire(sent)) => link.finish_write(&sent),
            (Kind::Driver(link), SentKind::Driver(sent)) => link.finish_write(sent),
            _ => Err(LinkError::Settings {
                reason: "a write was begun on another connection".to_owned(),
            }),
        }
    }

    /// Runs a command that answers a cursor and visits every document of it.
    ///
    /// Answers the time of a snapshot read, if it was one. The next batch is asked for before one
    /// is visited, so that both sides work at the same time. The visitor's error ends the reading
    /// and closes the cursor.
    pub fn for_each<E: From<LinkError>>(
        &mut self,
        database: &str,
        command: Document,
        mut visit: impl FnMut(&RawDocument) -> Result<(), E>,
    ) -> Result<Option<bson::Timestamp>, E> {
        let is_oplog =
            command.get_str("find").is_ok_and(|name| database == "local" && name == OPLOG);
        let (database, command) = self.outwards(database, command);
        let scope = self.scope.clone().filter(|_| is_oplog);
        let visit = |document: &RawDocument| match &scope {
            None => visit(document),
            Some(scope) => {
                let entry = scope.entry(document).map_err(|error| LinkError::Protocol {
                    address: "the deployment".to_owned(),
                    reason: format!("an entry of its oplog: {error}"),
                })?;
                visit(&entry)
            }
        };
        match &mut self.kind {
            Kind::Wire(link) => link.for_each(&database, command, visit),
            Kind::Driver(link) => link.for_each(&database, command, visit),
        }
    }
}
