//! Segments of captured oplogs.
//!
//! A segment begins with the entry that the one before it ends with; that entry, byte for byte,
//! is the proof that nothing is missing between them. A segment of one position begins a range:
//! nothing leads to it.

use std::collections::BTreeSet;

use bson::raw::RawDocument;
use bson::{Bson, Document};
use tidemark_model::{OplogSpan, OplogTime};

/// Bytes in a segment that are no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes at {at} are no oplog entry")]
pub struct SegmentError {
    /// Where in the segment.
    pub at: usize,
}

/// The position of an entry.
fn position_of(entry: &RawDocument) -> Option<OplogTime> {
    let ts = entry.get_timestamp("ts").ok()?;
    Some(OplogTime::new(ts.time, ts.increment))
}

/// The first document of concatenated ones, and what follows it.
fn split_document(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::try_from(i32::from_le_bytes(*bytes.first_chunk()?)).ok()?;
    bytes.split_at_checked(length.max(5))
}

/// Captured oplog entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OplogSegment {
    /// Where it begins and ends.
    pub name: OplogSpan,
    /// How many entries it holds.
    pub count: u64,
    /// The namespaces that its entries name.
    pub namespaces: Vec<String>,
    /// The entries, concatenated, as they were read.
    pub entries: Vec<u8>,
}

const VERSION: i32 = 2;
/// No segment is larger once it is decompressed.
const LARGEST_BYTES: usize = 256 * 1024 * 1024;

impl OplogSegment {
    /// Its entries, one by one; an error for bytes that are none.
    pub fn entries(&self) -> impl Iterator<Item = Result<&RawDocument, SegmentError>> {
        let mut rest = self.entries.as_slice();
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let at = self.entries.len() - rest.len();
            let Some((entry, after)) = split_document(rest) else {
                rest = &[];
                return Some(Err(SegmentError { at }));
            };
            rest = after;
            Some(RawDocument::from_bytes(entry).map_err(|_| SegmentError { at }))
        })
    }

    /// Takes the entries of the segment that follows it; gives that one back where it does not follow, or
    /// both are larger than `most` bytes together.
    pub fn append(&mut self, next: Self, most: usize) -> Result<(), Self> {
        // The first entry is the last one of the segment before.
        let shared = next.entries().next().and_then(Result::ok).map_or(0, |e| e.as_bytes().len());
        let (first, rest) = next.entries.split_at_checked(shared).unwrap_or_default();
        if next.name.first != self.name.last
            || self.entries.len() + rest.len() > most
            || !self.entries.ends_with(first)
        {
            return Err(next);
        }
        self.entries.extend_from_slice(rest);
        self.count += next.count - 1;
        self.name.last = next.name.last;
        let known: BTreeSet<String> = self.namespaces.drain(..).chain(next.namespaces).collect();
        self.namespaces = known.into_iter().collect();
        Ok(())
    }

    /// Whether its bytes are what its header says: so many entries, the first and the last at the
    /// positions of its name, in order.
    pub(crate) fn is_whole(&self) -> bool {
        let (mut count, mut before) = (0_u64, None);
        for entry in self.entries() {
            let Some(at) = entry.ok().and_then(position_of) else { return false };
            if before.map_or(at != self.name.first, |before| at <= before) {
                return false;
            }
            before = Some(at);
            count += 1;
        }
        count == self.count && before == Some(self.name.last)
    }

    pub(crate) fn encode(&self) -> std::io::Result<Vec<u8>> {
        let namespaces: Vec<Bson> = self.namespaces.iter().map(Bson::from).collect();
        let size = i64::try_from(self.entries.len()).map_err(std::io::Error::other)?;
        let header = bson::doc! {
            "version": VERSION,
            "first": self.name.first.to_u64().cast_signed(),
            "last": self.name.last.to_u64().cast_signed(),
            "count": self.count.cast_signed(),
            "namespaces": namespaces,
            "bytes": size,
        };
        let mut out = header.to_vec().map_err(std::io::Error::other)?;
        out.extend(zstd::bulk::compress(&self.entries, 1)?);
        Ok(out)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let length = usize::try_from(i32::from_le_bytes(*bytes.first_chunk()?)).ok()?;
        let (header, compressed) = bytes.split_at_checked(length)?;
        let header = Document::from_reader(header).ok()?;
        let position =
            |field| header.get_i64(field).ok().map(|n: i64| OplogTime::from_u64(n.cast_unsigned()));
        let size = usize::try_from(header.get_i64("bytes").ok()?).ok()?;
        if header.get_i32("version").ok()? != VERSION || size > LARGEST_BYTES {
            return None;
        }
        let namespaces = header.get_array("namespaces").ok()?.iter();
        Some(Self {
            name: OplogSpan { first: position("first")?, last: position("last")? },
            count: header.get_i64("count").ok()?.cast_unsigned(),
            namespaces: namespaces.filter_map(|name| name.as_str().map(str::to_owned)).collect(),
            entries: zstd::bulk::decompress(compressed, size)
                .ok()
                .filter(|raw| raw.len() == size)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_survives_its_bytes_and_its_name() {
        let name = OplogSpan { first: OplogTime::new(1, 2), last: OplogTime::new(3, 4) };
        assert_eq!(OplogSpan::parse(&name.to_string()), Some(name));
        let segment =
            OplogSegment { name, count: 2, namespaces: vec!["a.b".into()], entries: vec![1; 100] };
        assert_eq!(OplogSegment::decode(&segment.encode().unwrap()).as_ref(), Some(&segment));
        assert_eq!(OplogSegment::decode(b"x"), None);
    }
}
