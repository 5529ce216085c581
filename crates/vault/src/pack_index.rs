//! Index objects: which chunks are in which packs, many packs in one object.
//!
//! They make a start read few objects. A pack's own table stays the truth: what no index object
//! names is read from the tables, and losing index objects costs that work and nothing else.

use crate::index::{Name, name_of};
use crate::pack::{FinishedPack, PackId};
use crate::store::Stamp;

/// What an index object says of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IndexedPack {
    pub(crate) id: PackId,
    /// What its object is like, where that is the same for everybody; a file's times are not.
    pub(crate) stamp: Option<Stamp>,
    /// The chunks in it, in their order, by half of their names.
    pub(crate) chunks: Vec<Name>,
}

/// An index object is finished when it has so many bytes.
pub(crate) const FULL_BYTES: usize = 16 * 1024 * 1024;
const NAME_BYTES: usize = size_of::<Name>();
/// Id, size, tag and number of chunks.
const HEAD_BYTES: usize = 16 + 8 + 8 + 4;

impl IndexedPack {
    /// A pack that was just written.
    pub(crate) fn new(finished: &FinishedPack) -> Self {
        Self {
            id: finished.id,
            stamp: Some(finished.stamp),
            chunks: finished.chunks.iter().copied().map(name_of).collect(),
        }
    }

    /// How many bytes it takes in an index object.
    pub(crate) fn encoded_bytes(&self) -> usize {
        HEAD_BYTES + self.chunks.len() * NAME_BYTES
    }
}

/// Some packs, as bytes.
pub(crate) fn encode<'a>(packs: impl IntoIterator<Item = &'a IndexedPack>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for pack in packs {
        // Only a bucket's stamp means something to others.
        let stamp = pack.stamp.filter(|stamp| stamp.modified == 0);
        let (size, changed) = stamp.map_or((0, 0), |stamp| (stamp.size, stamp.changed));
        let count = u32::try_from(pack.chunks.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&pack.id.0);
        bytes.extend_from_slice(&size.to_le_bytes());
        bytes.extend_from_slice(&changed.to_le_bytes());
        bytes.extend_from_slice(&count.to_le_bytes());
        pack.chunks.iter().for_each(|name| bytes.extend_from_slice(name));
    }
    bytes
}

/// What such bytes say; `None` if they are no such bytes.
pub(crate) fn decode(mut bytes: &[u8]) -> Option<Vec<IndexedPack>> {
    let mut packs = Vec::new();
    while !bytes.is_empty() {
        let (id, rest) = bytes.split_first_chunk::<16>()?;
        let (size, rest) = rest.split_first_chunk::<8>()?;
        let (changed, rest) = rest.split_first_chunk::<8>()?;
        let (count, rest) = rest.split_first_chunk::<4>()?;
        let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
        let (names, rest) = rest.split_at_checked(count.checked_mul(NAME_BYTES)?)?;
        let (size, changed) = (u64::from_le_bytes(*size), i64::from_le_bytes(*changed));
        // Without a tag the size alone proves nothing.
        let stamp = (changed != 0).then_some(Stamp { size, modified: 0, changed });
        packs.push(IndexedPack {
            id: PackId(*id),
            stamp,
            chunks: names.as_chunks::<NAME_BYTES>().0.to_vec(),
        });
        bytes = rest;
    }
    Some(packs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_survive_their_bytes() {
        let stamp = |modified| Stamp { size: 9, modified, changed: -3 };
        let pack = |id: u8, stamp, chunks: u8| IndexedPack {
            id: PackId([id; 16]),
            stamp,
            chunks: (0..chunks).map(|n| [n; 16]).collect(),
        };
        let packs = [pack(1, Some(stamp(0)), 3), pack(2, None, 0), pack(3, Some(stamp(7)), 1)];
        let bytes = encode(&packs);
        assert_eq!(bytes.len(), packs.iter().map(IndexedPack::encoded_bytes).sum::<usize>());
        // A file's stamp is nobody else's.
        let expected = [packs[0].clone(), packs[1].clone(), pack(3, None, 1)];
        assert_eq!(decode(&bytes).unwrap(), expected);
        assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
        assert_eq!(decode(&bytes[1..]), None);
        assert_eq!(decode(b"").unwrap(), []);
    }
}
