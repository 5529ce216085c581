//! Lists of chunks: which chunks a collection consists of, in parts that are chunks themselves.
//!
//! A list of a terabyte's chunks has gigabytes. It is cut by content into parts of some hundred
//! references each, and parts are stored like chunks of documents: a snapshot of data that hardly
//! changed stores few parts anew, and whoever reads a list holds one part at a time.

use bson::{Binary, Bson, Document};

use crate::chunker::RawChunk;
use crate::digest::ChunkId;
use crate::vault::{Vault, VaultError};
use crate::writer::SnapshotWriter;

/// A part ends after a chunk whose name says so, one of so many.
const AVERAGE_PART: u16 = 512;
/// No part has fewer chunks; fewer are named by the manifest itself.
const SMALLEST_PART: usize = 32;
/// No part has more chunks.
const LARGEST_PART: usize = 2_048;

/// A reference to a chunk.
#[derive(Debug, Clone, PartialEq)]
pub struct ChunkRef {
    /// Its name.
    pub id: ChunkId,
    /// How many documents it holds.
    pub documents: u32,
    /// Their bytes.
    pub bytes: u32,
    /// The `_id` of its first document.
    pub first_id: Bson,
    /// The `_id` of its last document.
    pub last_id: Bson,
}

/// A part of a list, which is a chunk itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartRef {
    /// The name of the chunk that holds the part.
    pub id: ChunkId,
    /// How many chunks it names.
    pub chunks: u32,
}

/// An item of a list.
#[expect(
    clippy::large_enum_variant,
    reason = "a manifest names at most 2,048 chunks of a list itself"
)]
#[derive(Debug, Clone, PartialEq)]
pub enum ListItem {
    /// A chunk.
    Chunk(ChunkRef),
    /// Many chunks.
    Part(PartRef),
}

/// A list of chunks, in their order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ChunkList {
    /// The items, in their order.
    pub items: Vec<ListItem>,
}

impl ChunkList {
    /// Whether it names no chunk.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Appends another list.
    pub fn extend(&mut self, other: Self) {
        self.items.extend(other.items);
    }

    pub(crate) fn encode(&self) -> Vec<Bson> {
        self.items
            .iter()
            .map(|item| match item {
                ListItem::Chunk(chunk) => Bson::Document(encode_chunk(chunk)),
                ListItem::Part(part) => Bson::Document(
                    bson::doc! { "part": binary(&part.id.0), "chunks": i64::from(part.chunks) },
                ),
            })
            .collect()
    }

    pub(crate) fn decode(items: &[Bson]) -> Option<Self> {
        let decode = |item: &Bson| {
            let item = item.as_document()?;
            if !item.contains_key("part") {
                return decode_chunk(item).map(ListItem::Chunk);
            }
            Some(ListItem::Part(PartRef {
                id: chunk_id(item, "part")?,
                chunks: u32::try_from(item.get_i64("chunks").ok()?).ok()?,
            }))
        };
        Some(Self { items: items.iter().map(decode).collect::<Option<_>>()? })
    }
}

pub(crate) fn binary(bytes: &[u8]) -> Binary {
    Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: bytes.to_vec() }
}

fn chunk_id(document: &Document, field: &str) -> Option<ChunkId> {
    Some(ChunkId(document.get_binary_generic(field).ok()?.as_slice().try_into().ok()?))
}

fn encode_chunk(chunk: &ChunkRef) -> Document {
    bson::doc! {
        "id": binary(&chunk.id.0),
        "n": i64::from(chunk.documents),
        "b": i64::from(chunk.bytes),
        "first": chunk.first_id.clone(),
        "last": chunk.last_id.clone(),
    }
}

fn decode_chunk(chunk: &Document) -> Option<ChunkRef> {
    Some(ChunkRef {
        id: chunk_id(chunk, "id")?,
        documents: u32::try_from(chunk.get_i64("n").ok()?).ok()?,
        bytes: u32::try_from(chunk.get_i64("b").ok()?).ok()?,
        first_id: chunk.get("first")?.clone(),
        last_id: chunk.get("last")?.clone(),
    })
}

/// Makes a list of chunks that come one by one; holds one part in memory.
#[derive(Debug, Default)]
pub struct ListWriter {
    list: ChunkList,
    part: Vec<ChunkRef>,
}

impl ListWriter {
    /// Adds the next chunk.
    pub fn push(&mut self, writer: &SnapshotWriter, chunk: ChunkRef) -> Result<(), VaultError> {
        let [.., a, b] = chunk.id.0;
        let is_last = u16::from_le_bytes([a, b]) % AVERAGE_PART == 0;
        self.part.push(chunk);
        let enough = if is_last { SMALLEST_PART } else { LARGEST_PART };
        if self.part.len() >= enough { self.finish_part(writer) } else { Ok(()) }
    }

    fn finish_part(&mut self, writer: &SnapshotWriter) -> Result<(), VaultError> {
        let part = std::mem::take(&mut self.part);
        let mut bytes = Vec::new();
        for chunk in &part {
            encode_chunk(chunk)
                .to_writer(&mut bytes)
                .map_err(|_| VaultError::Unwritable("a list of chunks".to_owned()))?;
        }
        let chunks = u32::try_from(part.len()).unwrap_or(u32::MAX);
        let id = writer.put_chunk(&RawChunk { bytes, documents: chunks })?;
        self.list.items.push(ListItem::Part(PartRef { id, chunks }));
        Ok(())
    }

    /// The whole list.
    pub fn finish(mut self, writer: &SnapshotWriter) -> Result<ChunkList, VaultError> {
        if self.part.len() >= SMALLEST_PART {
            self.finish_part(writer)?;
        }
        self.list.items.extend(self.part.into_iter().map(ListItem::Chunk));
        Ok(self.list)
    }
}

impl Vault {
    /// The chunks that an item of a list stands for.
    pub fn load_item(&self, item: &ListItem) -> Result<Vec<ChunkRef>, VaultError> {
        match item {
            ListItem::Chunk(chunk) => Ok(vec![chunk.clone()]),
            ListItem::Part(part) => {
                let bytes = self.read_chunk(part.id)?;
                let chunks = parse_part(&bytes).filter(|c| c.len() == part.chunks as usize);
                chunks.ok_or_else(|| VaultError::Damaged {
                    path: self.root().to_owned(),
                    reason: format!(
                        "chunk {} is not the list of chunks that it should be",
                        part.id
                    ),
                })
            }
        }
    }

    /// Visits the chunks of a list in their order.
    pub fn for_each_chunk(
        &self,
        list: &ChunkList,
        mut visit: impl FnMut(&ChunkRef) -> Result<(), VaultError>,
    ) -> Result<(), VaultError> {
        for item in &list.items {
            self.load_item(item)?.iter().try_for_each(&mut visit)?;
        }
        Ok(())
    }
}

fn parse_part(mut bytes: &[u8]) -> Option<Vec<ChunkRef>> {
    let mut chunks = Vec::new();
    while !bytes.is_empty() {
        chunks.push(decode_chunk(&Document::from_reader(&mut bytes).ok()?)?);
    }
    Some(chunks)
}
