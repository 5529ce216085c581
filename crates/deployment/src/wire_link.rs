//! The link to one embedded engine: its address, its protocol, nothing between.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use bson::raw::RawDocument;
use bson::{Bson, Document};
use tidemark_model::Secret;
use tidemark_wire::{HEADER_BYTES, OpMsg, ScramClient, encode_msg, parse_header, parse_msg};

use crate::batch::visit_batch;
use crate::endpoint::{Address, Patience};
use crate::error::{LinkError, check_reply};
use crate::tls::Stream;

/// A command whose answer was not read yet.
pub(crate) struct WireSent {
    command: String,
    database: String,
}

/// An authenticated connection.
pub(crate) struct WireConnection {
    stream: Stream,
    address: String,
    requests: i32,
}

fn connect(address: &str, patience: Duration) -> std::io::Result<TcpStream> {
    let mut failure = std::io::Error::other("the address names no host");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, patience) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

impl WireConnection {
    /// Connects and logs in.
    pub(crate) fn open(endpoint: &Address, patience: Patience) -> Result<Self, LinkError> {
        let failed = |source| LinkError::Connection {
            address: endpoint.address.clone(),
            doing: "connecting".to_owned(),
            source,
        };
        let stream = connect(&endpoint.address, patience.connecting).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_write_timeout(Some(patience.answer)).map_err(failed)?;
        stream.set_read_timeout(Some(patience.connecting)).map_err(failed)?;
        let stream = Stream::new(stream, endpoint.pins.as_ref()).map_err(failed)?;
        let mut connection = Self { stream, address: endpoint.address.clone(), requests: 0 };
        connection.log_in(endpoint)?;
        connection.stream.tcp().set_read_timeout(Some(patience.answer)).map_err(failed)?;
        Ok(connection)
    }

    fn protocol(&self, reason: impl Into<String>) -> LinkError {
        LinkError::Protocol { address: self.address.clone(), reason: reason.into() }
    }

    fn log_in(&mut self, endpoint: &Address) -> Result<(), LinkError> {
        let nonce = Secret::random::<18>();
        let (client, first) = ScramClient::start(&endpoint.user, nonce.expose());
        let payload =
            |bytes: Vec<u8>| bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes };
        let start = bson::doc! {
            "saslStart": 1,
            "mechanism": "SCRAM-SHA-256",
            "payload": payload(first),
            "options": { "skipEmptyExchange": true },
        };
        let reply = self.command("admin", start)?;
        let server_first =
            reply.get_binary_generic("payload").map_err(|_| self.protocol("no SASL payload"))?;
        let (proof, expected) = client
            .answer(endpoint.password.expose(), server_first)
            .map_err(|error| self.protocol(error.to_string()))?;
        let conversation = reply.get("conversationId").cloned().unwrap_or(Bson::Int32(1));
        let answer = bson::doc! { "saslContinue": 1, "conversationId": conversation, "payload": payload(proof) };
        let reply = self.command("admin", answer)?;
        match reply.get_binary_generic("payload") {
            Ok(found) if *found == expected => Ok(()),
            _ => Err(self.protocol("the server could not prove that it knows the password")),
        }
    }

    /// Runs a command and answers its reply; an error reply is an error.
    pub(crate) fn command(
        &mut self,
        database: &str,
        command: Document,
    ) -> Result<Document, LinkError> {
        let message = self.send(database, command, None)?;
        Document::try_from(message.body()).map_err(|error| self.protocol(error.to_string()))
    }

    /// Sends a command, with documents beside it, and reads the answer.
    fn send(
        &mut self,
        database: &str,
        command: Document,
        documents: Option<(&str, &[u8])>,
    ) -> Result<OpMsg, LinkError> {
        let sent = self.write(database, command, documents)?;
        self.read(&sent)
    }

    /// Sends a command; the answer must be read before the next one is sent.
    fn write(
        &mut self,
        database: &str,
        mut command: Document,
        documents: Option<(&str, &[u8])>,
    ) -> Result<WireSent, LinkError> {
        let sent = WireSent {
            command: command.keys().next().cloned().unwrap_or_default(),
            database: database.to_owned(),
        };
        command.insert("$db", database);
        let body = tidemark_wire::encode_document(&command);
        self.requests = self.requests.wrapping_add(1);
        let request = encode_msg(self.requests, 0, &body, documents);
        let written = self.stream.write_all(&request).and_then(|()| self.stream.flush());
        written.map_err(|source| self.broken(&sent, source))?;
        Ok(sent)
    }

    /// Reads the answer to what was sent.
    fn read(&mut self, sent: &WireSent) -> Result<OpMsg, LinkError> {
        let message = self.receive().map_err(|source| self.broken(sent, source))?;
        check_reply(&self.address, &sent.command, message.body())?;
        Ok(message)
    }

    fn broken(&self, sent: &WireSent, source: std::io::Error) -> LinkError {
        LinkError::Connection {
            address: self.address.clone(),
            doing: format!("running {} on {}", sent.command, sent.database),
            source,
        }
    }

    fn receive(&mut self) -> std::io::Result<OpMsg> {
        let mut head = [0; HEADER_BYTES];
        self.stream.read_exact(&mut head)?;
        let header = parse_header(head).map_err(std::io::Error::other)?;
        let mut body = vec![0; header.body_bytes];
        self.stream.read_exact(&mut body)?;
        if header.response_to != self.requests {
            return Err(std::io::Error::other("an answer to another request arrived"));
        }
        parse_msg(header, body).map_err(std::io::Error::other)
    }

    /// Sends a writing command without waiting; `finish_write` says how it went.
    pub(crate) fn begin_write(
        &mut self,
        database: &str,
        command: Document,
        run: (&str, &[u8]),
    ) -> Result<WireSent, LinkError> {
        self.write(database, command, Some(run))
    }

    /// Waits for a write that was begun.
    pub(crate) fn finish_write(&mut self, sent: &WireSent) -> Result<(), LinkError> {
        self.read(sent).map(drop)
    }

    /// Runs a command that answers a cursor and visits every document of it.
    ///
    /// Answers the time of a snapshot read, if it was one. The next batch is asked for before one
    /// is visited, so that both sides work at the same time. The visitor's error ends the reading
    /// and closes the cursor.
    pub(crate) fn for_each<E: From<LinkError>>(
        &mut self,
        database: &str,
        command: Document,
        mut visit: impl FnMut(&RawDocument) -> Result<(), E>,
    ) -> Result<Option<bson::Timestamp>, E> {
        let mut message = self.send(database, command, None)?;
        let mut field = "firstBatch";
        let mut at = None;
        loop {
            let cursor = self.cursor(&message)?;
            at = at.or(cursor.get_timestamp("atClusterTime").ok());
            let id = cursor.get_i64("id").unwrap_or(0);
            let namespace = cursor.get_str("ns").unwrap_or_default();
            let collection = namespace.split_once('.').map_or("", |(_, name)| name).to_owned();
            let more = if id == 0 {
                None
            } else {
                let get_more = bson::doc! { "getMore": id, "collection": &collection };
                Some(self.write(database, get_more, None)?)
            };
            let batch = self
                .cursor(&message)?
                .get_array(field)
                .map_err(|error| E::from(self.protocol(error.to_string())));
            let visited = batch.and_then(|batch| visit_batch(&self.address, batch, &mut visit));
            let next = more.map(|sent| self.read(&sent)).transpose();
            if let Err(error) = visited {
                self.close(database, &collection, id);
                return Err(error);
            }
            match next? {
                Some(next) => message = next,
                None => return Ok(at),
            }
            field = "nextBatch";
        }
    }

    fn cursor<'m>(&self, message: &'m OpMsg) -> Result<&'m RawDocument, LinkError> {
        message.body().get_document("cursor").map_err(|error| self.protocol(error.to_string()))
    }

    /// Closes a cursor; if that fails the server closes it itself after a while.
    fn close(&mut self, database: &str, collection: &str, id: i64) {
        if id != 0 {
            let _ =
                self.command(database, bson::doc! { "killCursors": collection, "cursors": [id] });
        }
    }
}
