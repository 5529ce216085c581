//! Bringing documents of a snapshot back into a collection as it is, one batch after another.
//!
//! What the target has under the same `_id` is read first: equal byte for byte it is done, whoever wrote it.
//! So an attempt that begins anew goes on where the one before ended. Nothing is staged and nothing takes
//! anything's place: what was written before a job fails stays, and the job says so.

use std::collections::HashMap;
use std::ops::ControlFlow;

use bson::raw::{RawBsonRef, RawDocument, RawDocumentBuf};
use bson::{Bson, Document};
use tidemark_deployment::{Connection, Endpoint, LinkError};
use tidemark_model::{DocumentChoice, OnConflict};
use tidemark_vault::{Manifest, Vault};
use tidemark_wire::encode_document;

use crate::error::MoverError;
use crate::lookup::{IdRanges, find_collection, visit_documents};
use crate::stop::{Progress, Stop};

/// Documents of one batch.
const BATCH: usize = 1_000;
/// Bytes of documents of one batch, but for its last one.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// How often a batch is looked at anew that another client wrote into meanwhile.
const RACES: u32 = 5;
/// MongoDB's code of a key that is there.
const DUPLICATE_KEY: i32 = 11_000;

/// Whether a document is meant.
pub type Matches = Box<dyn Fn(&RawDocument) -> Result<bool, String> + Send + Sync>;

/// What the target has of the documents that are meant.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Presence {
    /// Documents that are meant.
    pub documents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of those, the ones that are there byte for byte.
    pub equal: u64,
    /// Those of which the target has another document.
    pub different: u64,
    /// The `_id` of the first of these.
    pub first_different: Option<Bson>,
}

/// Documents of a snapshot on their way into a collection.
pub struct DocumentRestore<'a> {
    /// The vault that holds the snapshot.
    pub vault: &'a Vault,
    /// The snapshot.
    pub manifest: &'a Manifest,
    /// What is wanted.
    pub choice: &'a DocumentChoice,
    /// Whether a document is meant by the filter.
    pub matches: &'a Matches,
    /// The target.
    pub endpoint: &'a Endpoint,
    /// Ends it between two batches.
    pub stop: &'a Stop,
    /// How far it is.
    pub progress: &'a Progress,
}

/// What a batch meets at the target.
enum Met {
    Nothing,
    Equal,
    Different,
}

impl DocumentRestore<'_> {
    /// Finds out what the target has of them. Nothing is written.
    pub fn look(&self) -> Result<Presence, MoverError> {
        let mut found = Presence::default();
        let mut connection = Connection::open(self.endpoint)?;
        self.refuse_other_kinds(&mut connection)?;
        self.for_each_batch(|batch| {
            for (document, met) in batch.iter().zip(self.meet(&mut connection, batch)?) {
                found.documents += 1;
                found.bytes += document.as_bytes().len() as u64;
                match met {
                    Met::Nothing => {}
                    Met::Equal => found.equal += 1,
                    Met::Different => {
                        found.different += 1;
                        found.first_different.get_or_insert(id_of(document)?);
                    }
                }
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Refuses what the target's documents contradict; for whoever did not ask to replace or skip.
    pub fn check(&self, found: &Presence) -> Result<(), MoverError> {
        match &found.first_different {
            Some(id) if self.choice.on_conflict == OnConflict::Insert => {
                Err(MoverError::Conflict {
                    namespace: self.choice.to.clone(),
                    documents: found.different,
                    first: id.to_string(),
                })
            }
            _ => Ok(()),
        }
    }

    /// Writes them, as far as they are not there yet.
    pub fn write(&self) -> Result<(), MoverError> {
        self.progress.enter(&self.choice.to);
        let mut connection = Connection::open(self.endpoint)?;
        self.for_each_batch(|batch| self.write_batch(&mut connection, batch))
    }

    fn write_batch(
        &self,
        connection: &mut Connection,
        batch: &[RawDocumentBuf],
    ) -> Result<(), MoverError> {
        let mut races = 0;
        loop {
            match self.try_batch(connection, batch) {
                Err(MoverError::Link(error))
                    if error.code() == Some(DUPLICATE_KEY) && races < RACES =>
                {
                    races += 1;
                }
                outcome => break outcome?,
            }
        }
        let bytes: usize = batch.iter().map(|document| document.as_bytes().len()).sum();
        self.progress.add(batch.len() as u64, bytes as u64);
        Ok(())
    }

    fn try_batch(
        &self,
        connection: &mut Connection,
        batch: &[RawDocumentBuf],
    ) -> Result<(), MoverError> {
        let (mut new, mut replaced) = (Vec::new(), Vec::new());
        for (document, met) in batch.iter().zip(self.meet(connection, batch)?) {
            match (met, self.choice.on_conflict) {
                (Met::Nothing, _) => new.extend_from_slice(document.as_bytes()),
                (Met::Equal, _) | (Met::Different, OnConflict::Skip) => {}
                (Met::Different, OnConflict::Replace) => {
                    replaced.extend(encode_document(&replacement(document)?));
                }
                (Met::Different, OnConflict::Insert) => {
                    let found = Presence {
                        different: 1,
                        first_different: Some(id_of(document)?),
                        ..Presence::default()
                    };
                    self.check(&found)?;
                }
            }
        }
        let (database, collection) = self.target();
        let write = |what: &str| {
            bson::doc! { what: collection, "ordered": false, "writeConcern": { "w": "majority" } }
        };
        if !new.is_empty() {
            connection.write_run(database, write("insert"), ("documents", &new))?;
        }
        if !replaced.is_empty() {
            connection.write_run(database, write("update"), ("updates", &replaced))?;
        }
        Ok(())
    }

    /// What each document of a batch meets at the target.
    fn meet(
        &self,
        connection: &mut Connection,
        batch: &[RawDocumentBuf],
    ) -> Result<Vec<Met>, MoverError> {
        let ids = batch.iter().map(|document| id_of(document)).collect::<Result<Vec<_>, _>>()?;
        let (database, collection) = self.target();
        let command = bson::doc! { "find": collection, "filter": { "_id": { "$in": &ids } } };
        let mut there: HashMap<Vec<u8>, RawDocumentBuf> = HashMap::new();
        connection.for_each(database, command, |document| {
            there.insert(key_of(&id_of(document)?), document.to_owned());
            Ok::<_, MoverError>(())
        })?;
        let met = batch.iter().zip(&ids).map(|(document, id)| match there.get(&key_of(id)) {
            None => Met::Nothing,
            Some(found) if found.as_bytes() == document.as_bytes() => Met::Equal,
            Some(_) => Met::Different,
        });
        Ok(met.collect())
    }

    /// Shows the documents that are meant, a batch at a time.
    fn for_each_batch(
        &self,
        mut visit: impl FnMut(&[RawDocumentBuf]) -> Result<(), MoverError>,
    ) -> Result<(), MoverError> {
        let collection = find_collection(self.manifest, &self.choice.namespace)?;
        if collection.kind != "collection" {
            let what = format!("single documents of {}", collection.namespace());
            return Err(MoverError::Unsupported { what });
        }
        let filter = filter_of(self.choice)?;
        let ids = IdRanges::of_filter(&filter);
        let (mut batch, mut bytes) = (Vec::new(), 0);
        visit_documents(self.vault, collection, (&ids, self.stop), |document| {
            if !(self.matches)(document).map_err(|what| MoverError::Lookup { what })? {
                return Ok(ControlFlow::Continue(()));
            }
            bytes += document.as_bytes().len();
            batch.push(document.to_owned());
            if batch.len() >= BATCH || bytes >= BATCH_BYTES {
                visit(&std::mem::take(&mut batch))?;
                bytes = 0;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if batch.is_empty() { Ok(()) } else { visit(&batch) }
    }

    /// Refuses a target that is no collection of documents with an `_id` each.
    fn refuse_other_kinds(&self, connection: &mut Connection) -> Result<(), MoverError> {
        let (database, collection) = self.target();
        let list = bson::doc! { "listCollections": 1, "filter": { "name": collection } };
        let mut kind = None;
        connection.for_each(database, list, |found| {
            kind = found.get_str("type").ok().map(str::to_owned);
            Ok::<_, LinkError>(())
        })?;
        match kind.as_deref() {
            None | Some("collection") => Ok(()),
            Some(kind) => {
                let what = format!("documents into {}, a {kind}", self.choice.to);
                Err(MoverError::Unsupported { what })
            }
        }
    }

    fn target(&self) -> (&str, &str) {
        self.choice.to.split_once('.').unwrap_or((&self.choice.to, ""))
    }
}

/// The filter of a choice.
pub fn filter_of(choice: &DocumentChoice) -> Result<Document, MoverError> {
    let what = match Bson::try_from(choice.filter.clone()) {
        Ok(Bson::Document(filter)) => return Ok(filter),
        Ok(_) => "a filter is an object".to_owned(),
        Err(error) => format!("the filter is no Extended JSON: {error}"),
    };
    Err(MoverError::Lookup { what })
}

fn damaged(error: impl std::fmt::Display) -> MoverError {
    MoverError::Lookup { what: format!("a document is damaged: {error}") }
}

fn id_of(document: &RawDocument) -> Result<Bson, MoverError> {
    let id: RawBsonRef<'_> = match document.get("_id").map_err(damaged)? {
        Some(id) => id,
        None => return Err(damaged("it has no _id")),
    };
    Bson::try_from(id).map_err(damaged)
}

/// The same for `_id`s that a server takes for the same: whole numbers by their value, everything else by
/// its bytes.
fn key_of(id: &Bson) -> Vec<u8> {
    const WHOLE: std::ops::RangeInclusive<f64> = -9_007_199_254_740_992.0..=9_007_199_254_740_992.0;
    let whole = match id {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        #[expect(clippy::cast_possible_truncation, reason = "it is whole and within bounds")]
        Bson::Double(number) if WHOLE.contains(number) && number.fract() == 0.0 => {
            Some(*number as i64)
        }
        _ => None,
    };
    let id = whole.map_or_else(|| id.clone(), Bson::Int64);
    encode_document(&bson::doc! { "": id })
}

/// The statement that puts a document into the place of another.
fn replacement(document: &RawDocument) -> Result<Document, MoverError> {
    let whole = Document::try_from(document).map_err(damaged)?;
    let id = id_of(document)?;
    Ok(bson::doc! { "q": { "_id": { "$eq": id } }, "u": whole, "upsert": true })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_same_as_a_server_takes_them_for_the_same() {
        let same = |a: Bson, b: Bson| key_of(&a) == key_of(&b);
        assert!(same(Bson::Int32(5), Bson::Int64(5)) && same(Bson::Int64(5), Bson::Double(5.0)));
        assert!(!same(Bson::Int32(5), Bson::Double(5.5)));
        assert!(!same(Bson::Int32(5), Bson::String("5".into())));
        assert!(same(Bson::String("a".into()), Bson::String("a".into())));
    }
}
