//! Lists of chunks: which chunks a collection consists of, in parts that are chunks themselves.
//!
//! A list of a terabyte's chunks has gigabytes. It is cut by content into parts of some hundred
//! references each, and parts are stored like chunks of documents: a snapshot of data that hardly
//! changed stores few parts anew, and whoever reads a list holds one part at a time.

use bson::{Binary, Bson, Document};

use crate::digest::ChunkId;

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
    /// Between which `_id`s its documents are.
    pub extent: Extent,
}

/// Between which `_id`s the documents of a chunk are.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Extent {
    /// Anywhere: their `_id`s are of several kinds, of one without an order, or nobody has looked.
    #[default]
    Unknown,
    /// Between the first and the last document's.
    Ends,
    /// Between these, both included.
    Between(Box<(Bson, Bson)>),
}

impl ChunkRef {
    /// The smallest and the largest `_id` of its documents, where that is known.
    pub fn extent(&self) -> Option<(&Bson, &Bson)> {
        match &self.extent {
            Extent::Unknown => None,
            Extent::Ends => Some((&self.first_id, &self.last_id)),
            Extent::Between(ends) => Some((&ends.0, &ends.1)),
        }
    }
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

pub(crate) fn encode_chunk(chunk: &ChunkRef) -> Document {
    let mut encoded = bson::doc! {
        "id": binary(&chunk.id.0),
        "n": i64::from(chunk.documents),
        "b": i64::from(chunk.bytes),
        "first": chunk.first_id.clone(),
        "last": chunk.last_id.clone(),
    };
    match &chunk.extent {
        Extent::Unknown => {}
        Extent::Ends => drop(encoded.insert("ends", true)),
        Extent::Between(ends) => {
            encoded.insert("least", ends.0.clone());
            encoded.insert("greatest", ends.1.clone());
        }
    }
    encoded
}

pub(crate) fn decode_chunk(chunk: &Document) -> Option<ChunkRef> {
    Some(ChunkRef {
        id: chunk_id(chunk, "id")?,
        documents: u32::try_from(chunk.get_i64("n").ok()?).ok()?,
        bytes: u32::try_from(chunk.get_i64("b").ok()?).ok()?,
        first_id: chunk.get("first")?.clone(),
        last_id: chunk.get("last")?.clone(),
        extent: match (chunk.get("least"), chunk.get("greatest")) {
            (Some(least), Some(greatest)) => {
                Extent::Between(Box::new((least.clone(), greatest.clone())))
            }
            _ if chunk.get_bool("ends").unwrap_or(false) => Extent::Ends,
            // Earlier releases did not look.
            _ => Extent::Unknown,
        },
    })
}
