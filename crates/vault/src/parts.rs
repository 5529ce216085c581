//! Lists of chunks in parts: long ones are stored as chunks themselves.

use bson::Document;

use crate::chunker::RawChunk;
use crate::error::VaultError;
use crate::list::{ChunkList, ChunkRef, ListItem, PartRef, decode_chunk, encode_chunk};
use crate::vault::Vault;
use crate::writer::SnapshotWriter;

/// A part ends after a chunk whose name says so, one of so many.
const AVERAGE_PART: u16 = 512;
/// No part has fewer chunks; fewer are named by the manifest itself.
const SMALLEST_PART: usize = 32;
/// No part has more chunks.
const LARGEST_PART: usize = 2_048;

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
        let id = writer.put_part(&RawChunk { bytes, documents: chunks })?;
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
                let bytes = self.read_part(part.id)?;
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
