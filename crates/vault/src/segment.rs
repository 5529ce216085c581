//! Segments of captured oplogs.
//!
//! A segment begins with the entry that the one before it ends with; that entry, byte for byte,
//! is the proof that nothing is missing between them.

use std::fmt;

use bson::{Bson, Document};
use tidemark_model::OplogTime;

/// First and last position of a segment; the name of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentName {
    /// The position of the first entry.
    pub first: OplogTime,
    /// The position of the last entry.
    pub last: OplogTime,
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}", self.first.to_u64(), self.last.to_u64())
    }
}

impl SegmentName {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-')?;
        let position = |text| u64::from_str_radix(text, 16).ok().map(OplogTime::from_u64);
        Some(Self { first: position(first)?, last: position(last)? })
    }
}

/// Captured oplog entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OplogSegment {
    /// Where it begins and ends.
    pub name: SegmentName,
    /// How many entries it holds.
    pub count: u64,
    /// The namespaces that its entries name.
    pub namespaces: Vec<String>,
    /// The entries, concatenated, as they were read.
    pub entries: Vec<u8>,
}

/// No segment is larger once it is decompressed.
const LARGEST_BYTES: usize = 256 * 1024 * 1024;

impl OplogSegment {
    pub(crate) fn encode(&self) -> std::io::Result<Vec<u8>> {
        let namespaces: Vec<Bson> = self.namespaces.iter().map(Bson::from).collect();
        let size = i64::try_from(self.entries.len()).map_err(std::io::Error::other)?;
        let header = bson::doc! {
            "version": 1,
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
        if header.get_i32("version").ok()? != 1 || size > LARGEST_BYTES {
            return None;
        }
        let namespaces = header.get_array("namespaces").ok()?.iter();
        Some(Self {
            name: SegmentName { first: position("first")?, last: position("last")? },
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
        let name = SegmentName { first: OplogTime::new(1, 2), last: OplogTime::new(3, 4) };
        assert_eq!(SegmentName::parse(&name.to_string()), Some(name));
        let segment =
            OplogSegment { name, count: 2, namespaces: vec!["a.b".into()], entries: vec![1; 100] };
        assert_eq!(OplogSegment::decode(&segment.encode().unwrap()).as_ref(), Some(&segment));
        assert_eq!(OplogSegment::decode(b"x"), None);
    }
}
