//! A connection to a deployment: commands, raw batches in and out.
//!
//! Documents pass through as they are: what a cursor answers is never decoded, and what a chunk
//! holds is the body of an insert.

use bson::Document;
use bson::raw::RawDocument;

use crate::driver_link::{DriverConnection, DriverSent};
use crate::endpoint::{Endpoint, Patience};
use crate::error::LinkError;
use crate::wire_link::{WireConnection, WireSent};

/// A command whose answer was not read yet.
pub struct Sent(SentKind);

enum SentKind {
    Wire(WireSent),
    Driver(DriverSent),
}

/// An authenticated connection. It does one thing at a time.
pub struct Connection(Kind);

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
        Ok(Self(match endpoint {
            Endpoint::Embedded(address) => Kind::Wire(WireConnection::open(address, patience)?),
            Endpoint::Attached(client) => {
                Kind::Driver(DriverConnection::open(client.clone(), patience)?)
            }
        }))
    }

    /// Whether it leads to an engine inside Tidemark.
    pub(crate) fn is_embedded(&self) -> bool {
        matches!(self.0, Kind::Wire(_))
    }

    /// Runs a command and answers its reply; an error reply is an error.
    pub fn command(&mut self, database: &str, command: Document) -> Result<Document, LinkError> {
        match &mut self.0 {
            Kind::Wire(link) => link.command(database, command),
            Kind::Driver(link) => link.command(database, command),
        }
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
        Ok(Sent(match &mut self.0 {
            Kind::Wire(link) => SentKind::Wire(link.begin_write(database, command, run)?),
            Kind::Driver(link) => SentKind::Driver(link.begin_write(database, command, run)?),
        }))
    }

    /// Waits for a write that was begun.
    pub fn finish_write(&mut self, sent: Sent) -> Result<(), LinkError> {
        match (&mut self.0, sent.0) {
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
        visit: impl FnMut(&RawDocument) -> Result<(), E>,
    ) -> Result<Option<bson::Timestamp>, E> {
        match &mut self.0 {
            Kind::Wire(link) => link.for_each(database, command, visit),
            Kind::Driver(link) => link.for_each(database, command, visit),
        }
    }
}
