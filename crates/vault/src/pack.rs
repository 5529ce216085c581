//! Packs: files of compressed, encrypted chunks, with a sealed table at the end.
//!
//! The table makes a pack self-contained: the index of the vault is the sum of all tables.
//! Each pack has a key of its own; the nonce of a chunk is its number in the pack.

use std::collections::BTreeSet;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce};
use tidemark_model::random_bytes;

use crate::cache::Cache;
use crate::digest::ChunkId;
use crate::index::{Name, name_of};
use crate::key::VaultKey;
use crate::layout::PACKS;
use crate::store::{NewObject, Object, Stamp, Store};

const MAGIC: &[u8; 8] = b"TMPACK01";
const END_MAGIC: &[u8; 8] = b"TMPEND01";
const HEADER_BYTES: usize = 24;
const TRAILER_BYTES: usize = 12;
const TABLE_ENTRY_BYTES: usize = 48;
/// Lists of chunks are read in blocks of a pack with so many bytes.
const BLOCK_BYTES: u64 = 4 * 1024 * 1024;
/// The table of almost every pack is in its last bytes; one request reads it.
const USUAL_END_BYTES: u64 = 64 * 1024;
/// The nonce of the table; chunks are numbered from zero and never get there.
const TABLE_NONCE: u64 = u64::MAX;
/// A pack is finished when it has this size.
pub(crate) const FULL_BYTES: u64 = 32 * 1024 * 1024;
/// No chunk is larger once it is decompressed: one document of 16 MiB and its neighbours.
const LARGEST_CHUNK_BYTES: u32 = 32 * 1024 * 1024;
const COMPRESSION_LEVEL: i32 = 1;

/// The name of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PackId(pub(crate) [u8; 16]);

impl PackId {
    /// A name that nobody else can think of.
    pub(crate) fn random() -> Self {
        Self(random_bytes())
    }

    /// The name of its object.
    pub(crate) fn object(self) -> String {
        format!("{PACKS}/{self}")
    }

    /// The pack whose object has this name in the folder of packs.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let number = u128::from_str_radix(name, 16).ok().filter(|_| name.len() == 32)?;
        let id = Self(number.to_be_bytes());
        // Capital letters would be another file.
        (id.to_string() == name).then_some(id)
    }
}

impl std::fmt::Display for PackId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Where a chunk is in its pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: ChunkId,
    pub(crate) ordinal: u32,
    pub(crate) offset: u64,
    pub(crate) sealed_bytes: u32,
    pub(crate) raw_bytes: u32,
}

impl Entry {
    /// Appends it to a table.
    fn encode(&self, table: &mut Vec<u8>) {
        table.extend_from_slice(&self.id.0);
        table.extend_from_slice(&self.offset.to_le_bytes());
        table.extend_from_slice(&self.sealed_bytes.to_le_bytes());
        table.extend_from_slice(&self.raw_bytes.to_le_bytes());
    }
}

/// Why a pack or a chunk in it cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackError {
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    File(#[from] std::io::Error),
    /// The file is not a whole pack.
    #[error("it is not a whole pack")]
    Format,
    /// Bytes were changed since they were written, or sealed with another key.
    #[error("bytes were changed since they were written")]
    Tampered,
}

impl PackError {
    /// Whether the pack is to blame, and not the machine at this moment.
    pub(crate) fn is_damage(&self) -> bool {
        use std::io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
        match self {
            Self::Format | Self::Tampered => true,
            Self::File(error) => {
                let code = error.raw_os_error();
                // A link where a file should be, or a disk that cannot read the place.
                matches!(error.kind(), InvalidData | NotFound | UnexpectedEof)
                    || code.is_some_and(|code| {
                        [rustix::io::Errno::LOOP, rustix::io::Errno::IO]
                            .iter()
                            .any(|errno| errno.raw_os_error() == code)
                    })
            }
        }
    }
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; 12];
    let (low, _) = bytes.split_at_mut(8);
    low.copy_from_slice(&number.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

const PURPOSE: &str = "pack";

/// The ciphers that may have sealed parts of a pack, the most likely one first.
struct Openers(Vec<(u32, LessSafeKey)>);

impl Openers {
    fn new(key: &VaultKey, id: PackId) -> Self {
        Self(key.ciphers(PURPOSE, &id.0).collect())
    }

    /// Opens a part, and answers the number of the key that sealed it.
    fn open<'b>(
        &self,
        number: u64,
        associated: &[u8],
        sealed: &'b mut [u8],
    ) -> Result<(&'b mut [u8], u32), PackError> {
        let (last, before) = self.0.split_last().ok_or(PackError::Tampered)?;
        // What a cipher does not open is not there any more afterwards.
        for (key, cipher) in before {
            let mut copy = sealed.to_vec();
            let opened = cipher.open_in_place(nonce(number), Aad::from(associated), &mut copy);
            if let Ok(length) = opened.map(|opened| opened.len()) {
                let opened = sealed.get_mut(..length).ok_or(PackError::Tampered)?;
                opened.copy_from_slice(copy.get(..length).ok_or(PackError::Tampered)?);
                return Ok((opened, *key));
            }
        }
        let (key, cipher) = last;
        let opened = cipher.open_in_place(nonce(number), Aad::from(associated), sealed);
        Ok((opened.map_err(|_| PackError::Tampered)?, *key))
    }

    /// From now on tries a key before all others.
    fn prefer(&mut self, key: u32) {
        self.0.sort_by_key(|(number, _)| *number != key);
    }
}

/// Compresses a chunk; done by many threads at once, before the pack is locked.
pub(crate) fn compress(raw: &[u8]) -> std::io::Result<Vec<u8>> {
    zstd::bulk::compress(raw, COMPRESSION_LEVEL)
}

/// A pack in the making; one thread at a time has it.
pub(crate) struct PackWriter {
    id: PackId,
    cipher: LessSafeKey,
    object: Box<dyn NewObject>,
    offset: u64,
    entries: Vec<Entry>,
}

/// What a finished pack holds.
pub(crate) struct FinishedPack {
    pub(crate) id: PackId,
    pub(crate) stamp: Stamp,
    pub(crate) chunks: Vec<ChunkId>,
}

impl PackWriter {
    /// Starts a pack.
    pub(crate) fn create(key: &VaultKey, store: &dyn Store) -> std::io::Result<Self> {
        let id = PackId::random();
        let mut object = store.create(&id.object())?;
        object.write(&[MAGIC.as_slice(), &id.0].concat())?;
        Ok(Self {
            id,
            cipher: key.cipher(PURPOSE, &id.0),
            object,
            offset: HEADER_BYTES as u64,
            entries: Vec::new(),
        })
    }

    pub(crate) fn is_full(&self) -> bool {
        self.offset >= FULL_BYTES
    }

    /// Seals and appends a compressed chunk.
    pub(crate) fn append(
        &mut self,
        id: ChunkId,
        raw_bytes: usize,
        mut compressed: Vec<u8>,
    ) -> std::io::Result<()> {
        let ordinal = u32::try_from(self.entries.len()).map_err(std::io::Error::other)?;
        self.seal(u64::from(ordinal), &id.0, &mut compressed)?;
        self.object.write(&compressed)?;
        let size = |bytes: usize| {
            u32::try_from(bytes).map_err(|_| std::io::Error::other("a chunk is too large"))
        };
        let entry = Entry {
            id,
            ordinal,
            offset: self.offset,
            sealed_bytes: size(compressed.len())?,
            raw_bytes: size(raw_bytes)?,
        };
        self.offset += compressed.len() as u64;
        self.entries.push(entry);
        Ok(())
    }

    fn seal(&self, number: u64, associated: &[u8], bytes: &mut Vec<u8>) -> std::io::Result<()> {
        self.cipher
            .seal_in_place_append_tag(nonce(number), Aad::from(associated), bytes)
            .map_err(|_| std::io::Error::other("sealing failed"))
    }

    /// Writes the table, makes the pack durable and gives it its name.
    pub(crate) fn finish(mut self) -> std::io::Result<FinishedPack> {
        let mut table = Vec::with_capacity(self.entries.len() * TABLE_ENTRY_BYTES + 16);
        self.entries.iter().for_each(|entry| entry.encode(&mut table));
        self.seal(TABLE_NONCE, MAGIC, &mut table)?;
        let length = u32::try_from(table.len())
            .map_err(|_| std::io::Error::other("a pack has too many chunks"))?;
        table.extend_from_slice(&length.to_le_bytes());
        table.extend_from_slice(END_MAGIC);
        self.object.write(&table)?;
        let stamp = self.object.finish()?;
        let chunks = self.entries.iter().map(|entry| entry.id).collect();
        Ok(FinishedPack { id: self.id, stamp, chunks })
    }
}

/// A finished pack with its table.
pub(crate) struct PackReader {
    id: PackId,
    openers: Openers,
    /// The number of the key that sealed its table.
    key: u32,
    object: Box<dyn Object>,
    entries: Vec<Entry>,
}

impl PackReader {
    /// Opens a pack and reads its table, whose seal proves that it is the one its name says.
    pub(crate) fn open(key: &VaultKey, store: &dyn Store, id: PackId) -> Result<Self, PackError> {
        let (object, end) = store.open_end(&id.object(), USUAL_END_BYTES)?;
        Self::read_table((key, id), object, &end)
    }

    /// Opens a pack that had this stamp; asks for its end only where `kept` has not got it, and tells
    /// that what was asked may be kept.
    pub(crate) fn open_known(
        (key, id): (&VaultKey, PackId),
        (store, stamp): (&dyn Store, Stamp),
        cache: &Cache,
    ) -> Result<Self, PackError> {
        let object = store.open_known(&id.object(), stamp)?;
        let name = format!("{id}/end");
        if let Some(end) = cache.find(&name) {
            if let Ok(reader) = Self::read_table((key, id), object, &end) {
                return Ok(reader);
            }
            cache.forget(&name);
            return Self::open(key, store, id);
        }
        let size = usize::try_from(stamp.size.min(USUAL_END_BYTES)).unwrap_or_default();
        let mut end = vec![0; size];
        object.read_at(&mut end, stamp.size - size as u64)?;
        let reader = Self::read_table((key, id), object, &end)?;
        cache.keep(&name, &end);
        Ok(reader)
    }

    /// Reads the table at the end of a pack.
    fn read_table(
        (key, id): (&VaultKey, PackId),
        object: Box<dyn Object>,
        end: &[u8],
    ) -> Result<Self, PackError> {
        let (before, trailer) = end.split_last_chunk::<TRAILER_BYTES>().ok_or(PackError::Format)?;
        let (length, magic) = trailer.split_first_chunk::<4>().ok_or(PackError::Format)?;
        if magic != END_MAGIC {
            return Err(PackError::Format);
        }
        let length = u32::from_le_bytes(*length);
        let start = object
            .stamp()
            .size
            .checked_sub(TRAILER_BYTES as u64 + u64::from(length))
            .filter(|start| *start >= HEADER_BYTES as u64)
            .ok_or(PackError::Format)?;
        let mut sealed = vec![0; length as usize];
        match before.len().checked_sub(sealed.len()).and_then(|at| before.get(at..)) {
            Some(table) => sealed.copy_from_slice(table),
            None => object.read_at(&mut sealed, start)?,
        }
        let mut openers = Openers::new(key, id);
        let (table, key) = openers.open(TABLE_NONCE, MAGIC, &mut sealed)?;
        let entries = parse_table(table)?;
        openers.prefer(key);
        Ok(Self { id, openers, key, object, entries })
    }

    /// Checks that the pack begins as one with its name does.
    pub(crate) fn check_begin(&self) -> Result<(), PackError> {
        let mut header = [0; HEADER_BYTES];
        self.object.read_at(&mut header, 0)?;
        let (magic, name) = header.split_at(8);
        if magic == MAGIC && name == self.id.0 { Ok(()) } else { Err(PackError::Tampered) }
    }

    /// Reads bytes of the pack as they are.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), PackError> {
        Ok(self.object.read_at(buffer, offset)?)
    }

    /// The file's stamp when it was opened.
    pub(crate) fn stamp(&self) -> Stamp {
        self.object.stamp()
    }

    /// The number of the key that sealed it.
    pub(crate) fn key_number(&self) -> u32 {
        self.key
    }

    /// The chunks in their order.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Half of the names of the chunks, in their order.
    pub(crate) fn names(&self) -> Vec<Name> {
        self.entries.iter().map(|entry| name_of(entry.id)).collect()
    }

    /// Reads, decrypts and decompresses a chunk.
    pub(crate) fn chunk(&self, entry: &Entry) -> Result<Vec<u8>, PackError> {
        let mut sealed = Vec::new();
        decompress(self.unseal(entry, &mut sealed)?, entry)
    }

    /// Decrypts and decompresses a chunk of a list, of which a block that is kept may have the bytes:
    /// what lies beside it is wanted next.
    pub(crate) fn part(&self, entry: &Entry, cache: &Cache) -> Result<Vec<u8>, PackError> {
        if entry.sealed_bytes > LARGEST_CHUNK_BYTES {
            return Err(PackError::Format);
        }
        let mut sealed = vec![0; entry.sealed_bytes as usize];
        self.read_blocks(&mut sealed, entry.offset, cache)?;
        let opened = self.open_sealed(entry, &mut sealed).and_then(|c| decompress(c, entry));
        if opened.is_err() {
            // What was kept may be what is damaged.
            for block in
                entry.offset / BLOCK_BYTES..=(entry.offset + sealed.len() as u64) / BLOCK_BYTES
            {
                cache.forget(&self.block_name(block));
            }
            return self.chunk(entry);
        }
        opened
    }

    fn block_name(&self, block: u64) -> String {
        format!("{}/{block}", self.id)
    }

    /// Fills a buffer from the blocks of the pack, each of which is kept as a whole.
    fn read_blocks(&self, buffer: &mut [u8], offset: u64, cache: &Cache) -> Result<(), PackError> {
        let size = self.stamp().size;
        let mut at = offset;
        let mut rest = buffer;
        while !rest.is_empty() {
            let (block, within) = (at / BLOCK_BYTES, at % BLOCK_BYTES);
            let wanted =
                usize::try_from(BLOCK_BYTES - within).unwrap_or(usize::MAX).min(rest.len());
            let (piece, after) = rest.split_at_mut(wanted);
            let name = self.block_name(block);
            if !cache.fill(&name, piece, within) {
                let begin = block * BLOCK_BYTES;
                let length = BLOCK_BYTES.min(size.checked_sub(begin).ok_or(PackError::Format)?);
                let mut whole = vec![0; usize::try_from(length).unwrap_or_default()];
                self.object.read_at(&mut whole, begin)?;
                cache.keep(&name, &whole);
                let from = usize::try_from(within).unwrap_or_default();
                let found = whole.get(from..from + wanted).ok_or(PackError::Format)?;
                piece.copy_from_slice(found);
            }
            at += wanted as u64;
            rest = after;
        }
        Ok(())
    }

    /// Reads a chunk's bytes and checks their seal, without decompressing them.
    pub(crate) fn check(&self, entry: &Entry) -> Result<(), PackError> {
        self.unseal(entry, &mut Vec::new()).map(drop)
    }

    /// The compressed bytes of a chunk, opened in `sealed`.
    fn unseal<'b>(&self, entry: &Entry, sealed: &'b mut Vec<u8>) -> Result<&'b [u8], PackError> {
        if entry.raw_bytes > LARGEST_CHUNK_BYTES || entry.sealed_bytes > LARGEST_CHUNK_BYTES {
            return Err(PackError::Format);
        }
        sealed.resize(entry.sealed_bytes as usize, 0);
        self.object.read_at(sealed, entry.offset)?;
        self.open_sealed(entry, sealed)
    }

    fn open_sealed<'b>(&self, entry: &Entry, sealed: &'b mut [u8]) -> Result<&'b [u8], PackError> {
        // Another process may have sealed the pack anew since it was opened.
        let (opened, _) = self.openers.open(u64::from(entry.ordinal), &entry.id.0, sealed)?;
        Ok(opened)
    }
}

/// A pack under the newest key.
pub(crate) struct Resealed {
    /// Everything is where it was.
    pub(crate) bytes: Vec<u8>,
    /// Half of the names of its chunks.
    pub(crate) names: Vec<Name>,
    /// The numbers of chunks that did not open; they are as they were.
    pub(crate) bad: BTreeSet<u32>,
}

/// Seals everything in a pack with the newest key, in the same place. What cannot be opened stays as it is.
pub(crate) fn reseal(key: &VaultKey, id: PackId, bytes: &[u8]) -> Result<Resealed, PackError> {
    let mut bad = BTreeSet::new();
    let mut out = bytes.to_vec();
    let reader = PackReader::read_table((key, id), Box::new(Bytes(bytes.to_vec())), bytes)?;
    let sealing = key.cipher(PURPOSE, &id.0);
    let mut seal = |number: u64, associated: &[u8], mut opened: Vec<u8>, at: usize| {
        sealing
            .seal_in_place_append_tag(nonce(number), Aad::from(associated), &mut opened)
            .map_err(|_| PackError::Format)?;
        let place = out.get_mut(at..at + opened.len()).ok_or(PackError::Format)?;
        place.copy_from_slice(&opened);
        Ok::<_, PackError>(())
    };
    let mut table = Vec::new();
    for entry in &reader.entries {
        entry.encode(&mut table);
        let mut sealed = Vec::new();
        match reader.unseal(entry, &mut sealed) {
            Ok(opened) => {
                let at = usize::try_from(entry.offset).map_err(|_| PackError::Format)?;
                seal(u64::from(entry.ordinal), &entry.id.0, opened.to_vec(), at)?;
            }
            Err(PackError::Tampered) => drop(bad.insert(entry.ordinal)),
            Err(error) => return Err(error),
        }
    }
    let begin = bytes.len().checked_sub(TRAILER_BYTES + table.len() + AES_256_GCM.tag_len());
    seal(TABLE_NONCE, MAGIC, table, begin.ok_or(PackError::Format)?)?;
    Ok(Resealed { bytes: out, names: reader.names(), bad })
}

/// A pack in memory.
struct Bytes(Vec<u8>);

impl Object for Bytes {
    fn stamp(&self) -> Stamp {
        Stamp { size: self.0.len() as u64, modified: 0, changed: 0 }
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        let begin = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = begin.saturating_add(buffer.len());
        let found = self.0.get(begin..end).ok_or(std::io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        Ok(())
    }
}

fn decompress(compressed: &[u8], entry: &Entry) -> Result<Vec<u8>, PackError> {
    if entry.raw_bytes > LARGEST_CHUNK_BYTES {
        return Err(PackError::Format);
    }
    let raw = zstd::bulk::decompress(compressed, entry.raw_bytes as usize)?;
    if raw.len() == entry.raw_bytes as usize { Ok(raw) } else { Err(PackError::Tampered) }
}

fn parse_table(table: &[u8]) -> Result<Vec<Entry>, PackError> {
    let (rows, rest) = table.as_chunks::<TABLE_ENTRY_BYTES>();
    if !rest.is_empty() {
        return Err(PackError::Format);
    }
    let mut entries = Vec::with_capacity(rows.len());
    for (ordinal, row) in (0..).zip(rows) {
        let (id, row) = row.split_first_chunk::<32>().ok_or(PackError::Format)?;
        let (offset, row) = row.split_first_chunk::<8>().ok_or(PackError::Format)?;
        let (sealed, raw) = row.split_first_chunk::<4>().ok_or(PackError::Format)?;
        let raw = raw.first_chunk::<4>().ok_or(PackError::Format)?;
        entries.push(Entry {
            id: ChunkId(*id),
            ordinal,
            offset: u64::from_le_bytes(*offset),
            sealed_bytes: u32::from_le_bytes(*sealed),
            raw_bytes: u32::from_le_bytes(*raw),
        });
    }
    Ok(entries)
}
