//! Transactions that span several entries of an oplog.
//!
//! Source: `oplog_entry.idl` and `transaction_oplog_application.cpp` of the MongoDB server. What a
//! transaction did becomes visible at its last entry: the last `applyOps` of one that was not
//! prepared, `commitTransaction` of one that was. Until then its entries are kept aside, in memory
//! up to a bound and beyond that in files without a name.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};

use bson::raw::RawDocument;
use tidemark_model::OplogTime;
use tidemark_wire::DocumentRun;

use crate::error::MoverError;

/// Bytes of entries that are kept in memory; the largest transaction goes to a file beyond that.
const MEMORY_BYTES: usize = 32 << 20;
/// An entry is no larger: the largest document and what is around it.
const LARGEST_ENTRY: usize = 17 << 20;

/// What an entry has to do with a transaction.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Nothing, or all of it is in this one entry.
    Alone,
    /// It is a part; nothing of it is visible yet.
    Part(Chain),
    /// It is the last part, and everything is visible now.
    Last(Chain),
    /// What was prepared is visible now.
    Commit(Chain),
    /// What was prepared or done so far never was.
    Abort(Chain),
}

/// Where an entry stands in its transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    /// The session and the number of the transaction.
    key: Vec<u8>,
    /// Its own position.
    at: OplogTime,
    /// The position of the part before it; `None` for the first.
    before: Option<OplogTime>,
}

impl Role {
    /// What an entry has to do with a transaction.
    pub(crate) fn of(entry: &RawDocument) -> Self {
        let Some(chain) = Chain::of(entry) else { return Self::Alone };
        let Ok(command) = entry.get_document("o") else { return Self::Alone };
        let is = |field: &str| command.get_bool(field).unwrap_or(false);
        let name = command.into_iter().next().and_then(Result::ok);
        let name = name.as_ref().map_or("", |(name, _)| name.as_str());
        match name {
            "commitTransaction" => Self::Commit(chain),
            "abortTransaction" => Self::Abort(chain),
            // A list of inserts, each of which counts for itself.
            "applyOps" if entry.get_i32("multiOpType").unwrap_or(0) == 1 => Self::Alone,
            "applyOps" if is("partialTxn") || is("prepare") => Self::Part(chain),
            "applyOps" if chain.before.is_some() => Self::Last(chain),
            _ => Self::Alone,
        }
    }
}

impl Chain {
    fn of(entry: &RawDocument) -> Option<Self> {
        if entry.get_str("op").ok()? != "c" {
            return None;
        }
        let session = entry.get_document("lsid").ok()?;
        let number = entry.get_i64("txnNumber").ok()?;
        let position = |ts: bson::Timestamp| OplogTime::new(ts.time, ts.increment);
        let before = entry.get_document("prevOpTime").ok();
        let before = before.and_then(|before| before.get_timestamp("ts").ok());
        Some(Self {
            key: [session.as_bytes(), &number.to_le_bytes()].concat(),
            at: position(entry.get_timestamp("ts").ok()?),
            before: before.map(position).filter(|before| *before != OplogTime::default()),
        })
    }
}

/// The transactions that are not over.
#[derive(Default)]
pub(crate) struct Transactions {
    open: HashMap<Vec<u8>, Pending>,
    bytes: usize,
}

#[derive(Default)]
struct Pending {
    last: OplogTime,
    memory: Vec<u8>,
    file: Option<File>,
}

impl Transactions {
    /// Keeps a part; who only wants to know whether all parts are there gives no bytes.
    pub(crate) fn keep(&mut self, chain: &Chain, entry: &[u8]) -> Result<(), MoverError> {
        self.check(chain)?;
        let pending = self.open.entry(chain.key.clone()).or_default();
        pending.last = chain.at;
        pending.memory.extend_from_slice(entry);
        self.bytes += entry.len();
        if self.bytes > MEMORY_BYTES {
            self.spill().map_err(failed)?;
        }
        Ok(())
    }

    /// Keeps a part that may have begun before anybody looked: then it is left out, and whatever goes
    /// on from it later is refused.
    pub(crate) fn keep_if_whole(&mut self, chain: &Chain, entry: &[u8]) -> Result<(), MoverError> {
        match self.keep(chain, entry) {
            Err(MoverError::CutTransaction { .. }) => Ok(()),
            outcome => outcome,
        }
    }

    /// Visits the parts of a transaction that is visible now, and forgets it.
    pub(crate) fn finish(
        &mut self,
        chain: &Chain,
        visit: impl FnMut(&RawDocument) -> Result<(), MoverError>,
    ) -> Result<(), MoverError> {
        self.check(chain)?;
        let Some(pending) = self.open.remove(&chain.key) else { return Ok(()) };
        self.bytes = self.bytes.saturating_sub(pending.memory.len());
        pending.for_each(visit)
    }

    /// Forgets a transaction that never was.
    pub(crate) fn abort(&mut self, chain: &Chain) {
        if let Some(pending) = self.open.remove(&chain.key) {
            self.bytes = self.bytes.saturating_sub(pending.memory.len());
        }
    }

    /// Refuses a part whose parts before it were not seen: they lie before what was captured.
    fn check(&self, chain: &Chain) -> Result<(), MoverError> {
        let seen = self.open.get(&chain.key).map(|pending| pending.last);
        if seen == chain.before {
            return Ok(());
        }
        Err(MoverError::CutTransaction { at: chain.at, before: chain.before.unwrap_or_default() })
    }

    fn spill(&mut self) -> std::io::Result<()> {
        let largest = self.open.values_mut().max_by_key(|pending| pending.memory.len());
        let Some(pending) = largest else { return Ok(()) };
        let file = match &mut pending.file {
            Some(file) => file,
            None => pending.file.insert(tempfile::tempfile()?),
        };
        file.write_all(&pending.memory)?;
        self.bytes = self.bytes.saturating_sub(pending.memory.len());
        pending.memory = Vec::new();
        Ok(())
    }
}

impl Pending {
    fn for_each(
        self,
        mut visit: impl FnMut(&RawDocument) -> Result<(), MoverError>,
    ) -> Result<(), MoverError> {
        if let Some(mut file) = self.file {
            file.seek(SeekFrom::Start(0)).map_err(failed)?;
            let mut reader = BufReader::new(file);
            while let Some(entry) = read_entry(&mut reader).map_err(failed)? {
                let entry = RawDocument::from_bytes(&entry);
                visit(entry.map_err(|error| failed(std::io::Error::other(error.to_string())))?)?;
            }
        }
        for entry in DocumentRun::new(&self.memory) {
            visit(entry.map_err(|error| failed(std::io::Error::other(error.to_string())))?)?;
        }
        Ok(())
    }
}

/// The next entry of a file; `None` at its end.
fn read_entry(reader: &mut impl Read) -> std::io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match reader.read_exact(&mut length) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        outcome => outcome?,
    }
    let bytes = u32::from_le_bytes(length) as usize;
    if !(5..=LARGEST_ENTRY).contains(&bytes) {
        return Err(std::io::Error::other("an entry has an unusable length"));
    }
    let mut entry = length.to_vec();
    entry.resize(bytes, 0);
    reader.read_exact(entry.get_mut(4..).unwrap_or_default())?;
    Ok(Some(entry))
}

fn failed(source: std::io::Error) -> MoverError {
    MoverError::File { path: "a file for the parts of transactions".to_owned(), source }
}

#[cfg(test)]
mod tests {
    use bson::{Document, doc};

    use super::*;

    fn entry(at: u32, before: u32, command: Document) -> Vec<u8> {
        let ts = |seconds: u32| bson::Timestamp { time: seconds, increment: 1 };
        let before =
            if before == 0 { bson::Timestamp { time: 0, increment: 0 } } else { ts(before) };
        doc! {
            "op": "c", "ns": "admin.$cmd", "o": command, "ts": ts(at), "lsid": { "id": "s" },
            "txnNumber": 7i64, "prevOpTime": { "ts": before, "t": 1i64 },
        }
        .to_vec()
        .unwrap()
    }

    fn raw(bytes: &[u8]) -> &RawDocument {
        RawDocument::from_bytes(bytes).unwrap()
    }

    #[test]
    fn the_role_of_an_entry_is_in_its_fields() {
        let part = entry(1, 0, doc! { "applyOps": [], "partialTxn": true });
        assert!(matches!(Role::of(raw(&part)), Role::Part(_)));
        let last = entry(2, 1, doc! { "applyOps": [], "count": 3i64 });
        assert!(matches!(Role::of(raw(&last)), Role::Last(_)));
        let alone = entry(2, 0, doc! { "applyOps": [] });
        assert_eq!(Role::of(raw(&alone)), Role::Alone);
        let prepared = entry(2, 0, doc! { "applyOps": [], "prepare": true });
        assert!(matches!(Role::of(raw(&prepared)), Role::Part(_)));
        let commit = entry(3, 2, doc! { "commitTransaction": 1 });
        assert!(matches!(Role::of(raw(&commit)), Role::Commit(_)));
        let abort = entry(3, 2, doc! { "abortTransaction": 1 });
        assert!(matches!(Role::of(raw(&abort)), Role::Abort(_)));
        let mut vectored: Document = bson::deserialize_from_slice(&last).unwrap();
        vectored.insert("multiOpType", 1);
        assert_eq!(Role::of(raw(&vectored.to_vec().unwrap())), Role::Alone);
        let plain = doc! { "op": "i", "ns": "d.c", "o": { "_id": 1 }, "lsid": { "id": "s" }, "txnNumber": 7i64 };
        assert_eq!(Role::of(raw(&plain.to_vec().unwrap())), Role::Alone);
    }

    #[test]
    fn parts_come_back_in_their_order_whatever_their_size() {
        let mut transactions = Transactions::default();
        let mut kept = Vec::new();
        for n in 1..=9 {
            let text = "x".repeat(5 << 20);
            let part =
                entry(n, n - 1, doc! { "applyOps": [{ "n": n, "t": text }], "partialTxn": true });
            let Role::Part(chain) = Role::of(raw(&part)) else { panic!("{n}") };
            transactions.keep(&chain, &part).unwrap();
            kept.push(part);
        }
        assert!(transactions.bytes <= MEMORY_BYTES, "{}", transactions.bytes);
        let last = entry(10, 9, doc! { "applyOps": [] });
        let Role::Last(chain) = Role::of(raw(&last)) else { panic!() };
        let mut found = Vec::new();
        transactions
            .finish(&chain, |part| {
                found.push(part.as_bytes().to_vec());
                Ok(())
            })
            .unwrap();
        assert!(found == kept);
        assert_eq!(transactions.bytes, 0);
    }

    #[test]
    fn a_transaction_whose_beginning_is_missing_is_refused() {
        let mut transactions = Transactions::default();
        let later = entry(5, 4, doc! { "applyOps": [], "partialTxn": true });
        let Role::Part(chain) = Role::of(raw(&later)) else { panic!() };
        assert!(transactions.keep(&chain, &later).is_err());
        let first = entry(1, 0, doc! { "applyOps": [], "partialTxn": true });
        let Role::Part(chain) = Role::of(raw(&first)) else { panic!() };
        transactions.keep(&chain, &first).unwrap();
        let last = entry(9, 8, doc! { "applyOps": [] });
        let Role::Last(chain) = Role::of(raw(&last)) else { panic!() };
        assert!(transactions.finish(&chain, |_| Ok(())).is_err(), "a part between is missing");
    }
}
