//! The link to an attached deployment, through the official driver.
//!
//! The driver finds the servers, logs in and follows elections; documents pass through it as raw
//! batches. What may be sent twice is sent again when the primary changes in between.

use std::time::Duration;

use bson::raw::{RawDocument, RawDocumentBuf};
use bson::{Bson, Document};
use futures_util::StreamExt;
use mongodb::raw_batch_cursor::{RawBatch, RawBatchCursor};
use tokio::task::JoinHandle;

use crate::batch::visit_batch;
use crate::client::Client;
use crate::endpoint::Patience;
use crate::error::{LinkError, check_reply};

/// How often something is sent that may be sent again.
const TRIES: u32 = 5;
/// The wait before the second try, doubled each time: an election takes some seconds.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Commands that write, and wait for the majority unless they say otherwise.
const WRITING: &[&str] = &[
    "applyOps",
    "collMod",
    "create",
    "createIndexes",
    "delete",
    "drop",
    "dropDatabase",
    "dropIndexes",
    "insert",
    "renameCollection",
    "update",
];
const DUPLICATE_KEY: i32 = 11_000;
/// Documents of an answer where the command does not say how many; the server's own bound of bytes counts
/// too. Some servers do not answer who does not say it.
const BATCH: u32 = 10_000;
/// Bytes and documents of one command; one document alone may be larger.
const BODY_BYTES: usize = 12 << 20;
const BODY_DOCUMENTS: usize = 100_000;

/// A command whose answer did not arrive yet.
pub(crate) struct DriverSent {
    doing: String,
    answer: JoinHandle<Result<(), LinkError>>,
}

/// A user of the driver's connections.
pub(crate) struct DriverConnection {
    client: Client,
    patience: Patience,
    /// How many documents or statements a command may have.
    most_documents: usize,
}

impl DriverConnection {
    /// Finds a server and logs in.
    pub(crate) fn open(client: Client, patience: Patience) -> Result<Self, LinkError> {
        let mut link = Self {
            client,
            patience: Patience { answer: patience.connecting, ..patience },
            most_documents: BODY_DOCUMENTS,
        };
        // The old name of `hello` is the one that all servers know.
        let hello = link.command("admin", bson::doc! { "isMaster": 1 })?;
        let most = hello.get("maxWriteBatchSize").and_then(|most| match most {
            Bson::Int32(most) => usize::try_from(*most).ok(),
            Bson::Int64(most) => usize::try_from(*most).ok(),
            _ => None,
        });
        link.most_documents = most.filter(|most| *most > 0).unwrap_or(BODY_DOCUMENTS);
        // A server that lets nobody in answers that all the same.
        link.command("admin", bson::doc! { "ping": 1 })?;
        link.patience = patience;
        Ok(link)
    }

    pub(crate) fn command(
        &mut self,
        database: &str,
        mut command: Document,
    ) -> Result<Document, LinkError> {
        let name = name_of(&command);
        set_write_concern(&mut command, &name);
        let doing = format!("running {name} on {database}");
        let database = self.client.driver().database(database);
        let answer = database.run_command(command).selection_criteria(self.client.criteria());
        let reply = self.client.wait((&doing, self.patience.answer), async { answer.await });
        let reply = reply.map_err(|error| error.of_command(&name))?;
        let raw = RawDocumentBuf::try_from(&reply).map_err(|error| self.protocol(&error))?;
        check_reply(self.client.name(), &name, &raw)?;
        Ok(reply)
    }

    fn protocol(&self, error: &dyn std::fmt::Display) -> LinkError {
        LinkError::Protocol { address: self.client.name().to_owned(), reason: error.to_string() }
    }

    pub(crate) fn begin_write(
        &mut self,
        database: &str,
        mut command: Document,
        (field, run): (&str, &[u8]),
    ) -> Result<DriverSent, LinkError> {
        let name = name_of(&command);
        command.remove("writeConcern");
        set_write_concern(&mut command, &name);
        let commands = split(run, self.most_documents)
            .map(|run| run.and_then(|run| with_run(&command, (field, run))))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| self.protocol(&error))?;
        let doing = format!("running {name} on {database}");
        let write = Write {
            client: self.client.clone(),
            patience: self.patience.answer,
            database: database.to_owned(),
            commands,
            name,
            doing: doing.clone(),
        };
        Ok(DriverSent { doing, answer: self.client.runtime().spawn(write.run()) })
    }

    pub(crate) fn finish_write(&mut self, sent: DriverSent) -> Result<(), LinkError> {
        match self.client.runtime().block_on(sent.answer) {
            Ok(outcome) => outcome,
            Err(error) => Err(LinkError::Connection {
                address: self.client.name().to_owned(),
                doing: sent.doing,
                source: std::io::Error::other(error.to_string()),
            }),
        }
    }

    pub(crate) fn for_each<E: From<LinkError>>(
        &mut self,
        database: &str,
        command: Document,
        mut visit: impl FnMut(&RawDocument) -> Result<(), E>,
    ) -> Result<Option<bson::Timestamp>, E> {
        let name = name_of(&command);
        let (mut cursor, first) = self.first_batch(database, &command, &name)?;
        let mut at = None;
        let mut batch = first;
        while let Some(present) = batch {
            let reply = present.as_raw_document();
            if at.is_none() {
                let described = reply.get_document("cursor").ok();
                at = described.and_then(|cursor| cursor.get_timestamp("atClusterTime").ok());
            }
            // Two batches are in memory at most: the one that is visited, the one that is on its way.
            let next = self.client.runtime().spawn(async move {
                let next = cursor.next().await;
                (cursor, next)
            });
            let documents = present.doc_slices().map_err(|error| self.protocol(&error))?;
            let visited = visit_batch(self.client.name(), documents, &mut visit);
            self.client.keep_pace(reply.as_bytes().len());
            if let Err(error) = visited {
                // The driver closes the cursor with it.
                next.abort();
                return Err(error);
            }
            let (with_next, following) = self.await_batch(&name, next)?;
            cursor = with_next;
            batch = following;
        }
        Ok(at)
    }

    /// Asks for a cursor, more than once if the deployment is just changing its primary.
    fn first_batch(
        &mut self,
        database: &str,
        command: &Document,
        name: &str,
    ) -> Result<(RawBatchCursor, Option<RawBatch>), LinkError> {
        let doing = format!("running {name} on {database}");
        let mut tries = 1;
        loop {
            let asked = self.client.wait((&doing, self.patience.answer), async {
                let database = self.client.driver().database(database);
                let asking = database.run_cursor_command(command.clone());
                let batch = command.get_i32("batchSize").ok().and_then(|n| u32::try_from(n).ok());
                let mut cursor = asking
                    .selection_criteria(self.client.criteria())
                    .batch_size(batch.unwrap_or(BATCH))
                    .batch()
                    .await?;
                let first = cursor.next().await.transpose()?;
                Ok((cursor, first))
            });
            match asked.map_err(|error| error.of_command(name)) {
                Err(error) if error.is_transient() && tries < TRIES => {
                    std::thread::sleep(FIRST_WAIT * (1 << (tries - 1)));
                    tries += 1;
                }
                outcome => return outcome,
            }
        }
    }

    fn await_batch(
        &self,
        name: &str,
        next: JoinHandle<(RawBatchCursor, Option<mongodb::error::Result<RawBatch>>)>,
    ) -> Result<(RawBatchCursor, Option<RawBatch>), LinkError> {
        let doing = format!("reading on with {name}");
        let patience = self.patience.answer;
        let abort = next.abort_handle();
        let joined =
            self.client.runtime().block_on(async { tokio::time::timeout(patience, next).await });
        match joined {
            Ok(Ok((cursor, following))) => {
                let following = following.transpose();
                let following = following.map_err(|error| self.client.error(&doing, &error));
                Ok((cursor, following.map_err(|error| error.of_command("getMore"))?))
            }
            Ok(Err(error)) => Err(self.protocol(&error)),
            Err(_) => {
                abort.abort();
                Err(self.client.too_slow(&doing, patience))
            }
        }
    }
}

/// A write on its way.
struct Write {
    client: Client,
    patience: Duration,
    database: String,
    name: String,
    doing: String,
    /// Done one after another.
    commands: Vec<RawDocumentBuf>,
}

impl Write {
    /// Sends it until it is done or refused. Each of the statements can be done twice: documents have
    /// their `_id`, and changes name the document that they lead to.
    async fn run(self) -> Result<(), LinkError> {
        for command in &self.commands {
            self.run_one(command).await?;
        }
        Ok(())
    }

    async fn run_one(&self, command: &RawDocumentBuf) -> Result<(), LinkError> {
        let mut tries = 1;
        loop {
            match self.send(command, tries > 1).await {
                Err(error) if error.is_transient() && tries < TRIES => {
                    tokio::time::sleep(FIRST_WAIT * (1 << (tries - 1))).await;
                    tries += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn send(&self, command: &RawDocumentBuf, is_again: bool) -> Result<(), LinkError> {
        let database = self.client.driver().database(&self.database);
        let mut command = command.clone();
        if is_again {
            // What the first try wrote of it is in its place; the rest is still to be written.
            command = unordered(&command).map_err(|reason| LinkError::Protocol {
                address: self.client.name().to_owned(),
                reason,
            })?;
        }
        let asking = async { database.run_raw_command(command).await };
        let reply = match tokio::time::timeout(self.patience, asking).await {
            Ok(reply) => reply
                .map_err(|error| self.client.error(&self.doing, &error).of_command(&self.name))?,
            Err(_) => return Err(self.client.too_slow(&self.doing, self.patience)),
        };
        if is_again && self.name == "insert" && only_duplicates(&reply) {
            return Ok(());
        }
        let raw = RawDocumentBuf::try_from(&reply).map_err(|error| LinkError::Protocol {
            address: self.client.name().to_owned(),
            reason: error.to_string(),
        })?;
        check_reply(self.client.name(), &self.name, &raw)
    }
}

/// Whether all that a reply complains of is that documents are there already.
fn only_duplicates(reply: &Document) -> bool {
    let is_duplicate = |error: &Bson| {
        error.as_document().and_then(|e| e.get_i32("code").ok()) == Some(DUPLICATE_KEY)
    };
    let is_ok =
        matches!(reply.get("ok"), Some(Bson::Double(1.0) | Bson::Int32(1) | Bson::Int64(1)));
    is_ok
        && !reply.contains_key("writeConcernError")
        && reply.get_array("writeErrors").is_ok_and(|errors| errors.iter().all(is_duplicate))
}

fn name_of(command: &Document) -> String {
    command.keys().next().cloned().unwrap_or_default()
}

fn set_write_concern(command: &mut Document, name: &str) {
    if WRITING.contains(&name) && !command.contains_key("writeConcern") {
        command.insert("writeConcern", bson::doc! { "w": "majority" });
    }
}

/// Runs of whole documents that fit into one command each: its body is one document, which may have
/// the size of the largest document and a little more.
fn split(run: &[u8], most: usize) -> impl Iterator<Item = Result<&[u8], String>> {
    let mut left = run;
    std::iter::from_fn(move || {
        if left.is_empty() {
            return None;
        }
        let (mut bytes, mut documents) = (0, 0);
        for document in tidemark_wire::DocumentRun::new(left) {
            let length = match document {
                Ok(document) => document.as_bytes().len(),
                Err(error) => {
                    left = &[];
                    return Some(Err(error.to_string()));
                }
            };
            if documents > 0 && (bytes + length > BODY_BYTES || documents == most) {
                break;
            }
            bytes += length;
            documents += 1;
        }
        let (now, later) = left.split_at_checked(bytes)?;
        left = later;
        Some(Ok(now))
    })
}

/// The same writing command, whose statements do not wait for each other.
fn unordered(command: &RawDocumentBuf) -> Result<RawDocumentBuf, String> {
    let mut other = RawDocumentBuf::new();
    for element in command {
        let (name, value) = element.map_err(|error| error.to_string())?;
        if name != "ordered" {
            other.append(name, value);
        }
    }
    other.append(bson::raw::cstr!("ordered"), false);
    Ok(other)
}

/// A command with concatenated documents as one of its fields.
fn with_run(command: &Document, (field, run): (&str, &[u8])) -> Result<RawDocumentBuf, String> {
    let mut bytes = tidemark_wire::encode_document(command);
    bytes.reserve(run.len() + run.len() / 32 + 64);
    // The end of the document comes again at its new end.
    bytes.pop();
    bytes.push(0x04);
    bytes.extend_from_slice(field.as_bytes());
    bytes.push(0);
    let array_at = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    for (number, document) in tidemark_wire::DocumentRun::new(run).enumerate() {
        let document = document.map_err(|error| error.to_string())?;
        bytes.push(0x03);
        bytes.extend_from_slice(number.to_string().as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(document.as_bytes());
    }
    bytes.push(0);
    set_length(&mut bytes, array_at);
    bytes.push(0);
    set_length(&mut bytes, 0);
    RawDocumentBuf::from_bytes(bytes).map_err(|error| error.to_string())
}

/// Writes at `at` how long what begins there is.
fn set_length(bytes: &mut [u8], at: usize) {
    let length = u32::try_from(bytes.len() - at).unwrap_or(u32::MAX).to_le_bytes();
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_becomes_an_array() {
        let documents = [bson::doc! { "_id": 1 }, bson::doc! { "_id": 2, "a": ["x", {}] }];
        let run: Vec<u8> = documents.iter().flat_map(tidemark_wire::encode_document).collect();
        let command = bson::doc! { "insert": "c", "ordered": true };
        let made = with_run(&command, ("documents", &run)).unwrap();
        let expected =
            bson::doc! { "insert": "c", "ordered": true, "documents": documents.to_vec() };
        assert_eq!(Document::try_from(&*made).unwrap(), expected);
        assert!(with_run(&command, ("documents", &run[..run.len() - 1])).is_err());
        let again = unordered(&made).unwrap();
        let expected =
            bson::doc! { "insert": "c", "documents": documents.to_vec(), "ordered": false };
        assert_eq!(Document::try_from(&*again).unwrap(), expected);
    }

    #[test]
    fn what_does_not_fit_into_one_command_becomes_several() {
        let document = |bytes: usize| bson::doc! { "t": "x".repeat(bytes) }.to_vec().unwrap();
        let sizes = [100, 5 << 20, 6 << 20, 5 << 20, 15 << 20, 100, 100];
        let run: Vec<u8> = sizes.iter().flat_map(|bytes| document(*bytes)).collect();
        let parts: Vec<&[u8]> = split(&run, 100).map(Result::unwrap).collect();
        let counts = parts.iter().map(|part| tidemark_wire::DocumentRun::new(part).count());
        assert_eq!(counts.collect::<Vec<_>>(), [3, 1, 1, 2]);
        assert_eq!(parts.concat(), run);
        assert_eq!(split(&[], 100).count(), 0);
        assert!(split(&run[..50], 100).any(|part| part.is_err()));
        let many: Vec<u8> = (0..=BODY_DOCUMENTS).flat_map(|_| document(0)).collect();
        assert_eq!(split(&many, BODY_DOCUMENTS).count(), 2);
    }

    #[test]
    fn a_repeated_insert_is_done_when_only_duplicates_are_left() {
        let error = |code: i32| bson::doc! { "index": 0, "code": code, "errmsg": "e" };
        let reply = |codes: &[i32]| {
            let errors: Vec<_> = codes.iter().copied().map(error).collect();
            bson::doc! { "n": 0, "writeErrors": errors, "ok": 1.0 }
        };
        assert!(only_duplicates(&reply(&[11_000, 11_000])));
        assert!(!only_duplicates(&reply(&[11_000, 121])));
        assert!(!only_duplicates(&bson::doc! { "n": 1, "ok": 1.0 }));
        let mut unsafe_yet = reply(&[11_000]);
        unsafe_yet.insert("writeConcernError", bson::doc! { "code": 64 });
        assert!(!only_duplicates(&unsafe_yet));
    }
}
