//! Files that are kept in the vault for a while: downloads that any node can serve, uploads that any node
//! can read. They are no part of a backup: `verify`, `copy` and `prune` do not know them.
//!
//! `files/<name>/<attempt>-<number>` are its parts, sealed, all but the last of the same size;
//! `files/<name>/end` says how many bytes there are and of which attempt, and makes it a file.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;

use bson::Document;
use tidemark_model::Secret;

use crate::error::VaultError;
use crate::layout::FILES;
use crate::sealed::{self, Kind};
use crate::store::Put;
use crate::vault::Vault;

/// The bytes of every part but the last.
const PART_BYTES: usize = 8 * 1024 * 1024;
const VERSION: i32 = 1;

fn end_name(file: &str) -> String {
    format!("{FILES}/{file}/end")
}

fn part_name(file: &str, attempt: &str, number: u64) -> String {
    format!("{FILES}/{file}/{attempt}-{number}")
}

/// A file in the making; nobody sees it before it is finished.
pub struct FileWriter {
    vault: Arc<Vault>,
    name: String,
    attempt: String,
    /// What is not stored yet.
    part: Vec<u8>,
    stored: u64,
    size: u64,
    is_finished: bool,
}

impl Write for FileWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let room = PART_BYTES - self.part.len();
        let taken = bytes.get(..bytes.len().min(room)).unwrap_or_default();
        self.part.extend_from_slice(taken);
        self.size += taken.len() as u64;
        if self.part.len() == PART_BYTES {
            self.store_part()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl FileWriter {
    fn store_part(&mut self) -> std::io::Result<()> {
        let name = part_name(&self.name, &self.attempt, self.stored);
        let sealed = sealed::seal(&self.vault.key, (Kind::FilePart, &name), &self.part);
        self.vault.store.put(&name, &sealed, Put::Replace)?;
        self.part.clear();
        self.stored += 1;
        Ok(())
    }

    /// Makes it a file; answers whether it is this one, and not one that had the name already.
    pub fn finish(mut self) -> Result<bool, VaultError> {
        let end = end_name(&self.name);
        if !self.part.is_empty() {
            self.store_part().map_err(self.vault.file_error(&end))?;
        }
        let said = bson::doc! {
            "version": VERSION,
            "attempt": &self.attempt,
            "size": self.size.cast_signed(),
        };
        let encoded = said.to_vec().map_err(|error| self.vault.damaged(&end, error))?;
        let sealed = sealed::seal(&self.vault.key, (Kind::FileEnd, &end), &encoded);
        match self.vault.put(&end, &sealed) {
            Ok(()) => {
                self.is_finished = true;
                Ok(true)
            }
            // Somebody else was faster; what this one stored is removed.
            Err(VaultError::Exists { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        if !self.is_finished && self.stored > 0 {
            let removed = self.vault.remove_parts(&self.name, |attempt| attempt == self.attempt);
            // What stays is removed with the file, or as one that was never finished.
            drop(removed);
        }
    }
}

/// A file that is whole.
#[derive(Clone)]
pub struct KeptFile {
    vault: Arc<Vault>,
    name: String,
    attempt: String,
    size: u64,
}

impl KeptFile {
    /// Its bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Some of its bytes from an offset on, as many as come at once; none at its end.
    pub fn read_at(&self, offset: u64) -> Result<Vec<u8>, VaultError> {
        if offset >= self.size {
            return Ok(Vec::new());
        }
        let bytes = PART_BYTES as u64;
        let (number, skip) = (offset / bytes, offset % bytes);
        let name = part_name(&self.name, &self.attempt, number);
        let mut part = self.vault.load_object((Kind::FilePart, &name), "part of a file")?;
        let expected = (self.size - number * bytes).min(bytes);
        if part.len() as u64 != expected {
            return Err(self.vault.damaged(&name, "it has another size than its file says"));
        }
        let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(part.len());
        drop(part.drain(..skip));
        Ok(part)
    }

    /// Reads it from its beginning.
    pub fn reader(self) -> impl Read {
        KeptFileReader { file: self, offset: 0, part: std::io::Cursor::default() }
    }
}

struct KeptFileReader {
    file: KeptFile,
    /// What comes after the part.
    offset: u64,
    part: std::io::Cursor<Vec<u8>>,
}

impl Read for KeptFileReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.part.read(buffer)?;
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        let next = self.file.read_at(self.offset).map_err(std::io::Error::other)?;
        self.offset += next.len() as u64;
        self.part = std::io::Cursor::new(next);
        self.part.read(buffer)
    }
}

impl Vault {
    /// Begins a file. Its name holds letters, digits, `.`, `-` and `_` only.
    pub fn create_file(self: &Arc<Self>, name: &str) -> FileWriter {
        FileWriter {
            vault: Arc::clone(self),
            name: name.to_owned(),
            attempt: Secret::random::<8>().expose().to_owned(),
            part: Vec::new(),
            stored: 0,
            size: 0,
            is_finished: false,
        }
    }

    /// The file with this name; nothing if there is none.
    pub fn find_file(self: &Arc<Self>, name: &str) -> Result<Option<KeptFile>, VaultError> {
        let end = end_name(name);
        let bytes = match self.load_object((Kind::FileEnd, &end), "file") {
            Err(VaultError::Missing { .. }) => return Ok(None),
            outcome => outcome?,
        };
        let said = Document::from_reader(bytes.as_slice()).ok();
        let said = said.as_ref().filter(|said| said.get_i32("version").ok() == Some(VERSION));
        let read = |said: &Document| {
            let attempt = said.get_str("attempt").ok()?.to_owned();
            let size = said.get_i64("size").ok()?.cast_unsigned();
            Some(KeptFile { vault: Arc::clone(self), name: name.to_owned(), attempt, size })
        };
        said.and_then(read)
            .map(Some)
            .ok_or_else(|| self.damaged(&end, "it does not say what a file is"))
    }

    /// The names of all files, unfinished ones too.
    pub fn files(&self) -> Result<Vec<String>, VaultError> {
        self.store.list(FILES).map_err(self.file_error(FILES))
    }

    /// Removes a file, and what unfinished ones of its name left. Removing it twice is fine.
    pub fn remove_file(&self, name: &str) -> Result<(), VaultError> {
        let end = end_name(name);
        self.store.remove(&end).map_err(self.file_error(&end))?;
        self.remove_parts(name, |_| true)
    }

    fn remove_parts(&self, file: &str, of: impl Fn(&str) -> bool) -> Result<(), VaultError> {
        let folder = format!("{FILES}/{file}");
        let names = self.store.list(&folder).map_err(self.file_error(&folder))?;
        for name in names {
            let is_part = name.split_once('-').is_some_and(|(attempt, _)| of(attempt));
            if !is_part {
                continue;
            }
            let object = format!("{folder}/{name}");
            match self.store.remove(&object) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                outcome => outcome.map_err(self.file_error(&object))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::VaultKey;

    fn bytes(count: usize) -> Vec<u8> {
        (0..count).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect()
    }

    #[test]
    fn a_file_is_there_when_it_is_finished_and_read_from_everywhere() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(folder.path(), VaultKey::from_bytes([1; 32])).unwrap();
        for size in [0, 10, PART_BYTES, 2 * PART_BYTES + 5] {
            let content = bytes(size);
            let mut writer = vault.create_file("one.gz");
            writer.write_all(&content).unwrap();
            assert!(writer.finish().unwrap());
            let file = vault.find_file("one.gz").unwrap().unwrap();
            assert_eq!(file.size(), size as u64);
            let mut read = Vec::new();
            file.clone().reader().read_to_end(&mut read).unwrap();
            assert!(read == content, "{size}");
            for offset in [0, size / 3, size.saturating_sub(1), size, size + 7] {
                let rest = content.get(offset..).unwrap_or_default();
                assert!(rest.starts_with(&file.read_at(offset as u64).unwrap()), "{size} {offset}");
            }
            if size != 2 * PART_BYTES + 5 {
                vault.remove_file("one.gz").unwrap();
            }
        }
        let parts = || vault.store.list("files/one.gz").unwrap().len();
        assert_eq!(parts(), 4);
        // Of two at the same time the first one stays, with all of its parts.
        let mut second = vault.create_file("one.gz");
        second.write_all(&bytes(PART_BYTES + 1)).unwrap();
        assert!(!second.finish().unwrap());
        assert_eq!(parts(), 4);
        let mut read = Vec::new();
        vault.find_file("one.gz").unwrap().unwrap().reader().read_to_end(&mut read).unwrap();
        assert_eq!(read.len(), 2 * PART_BYTES + 5);
        // One that is not finished changes nothing, and leaves nothing.
        let mut writer = vault.create_file("one.gz");
        writer.write_all(&bytes(PART_BYTES + 1)).unwrap();
        assert_eq!(parts(), 5);
        drop(writer);
        assert_eq!((parts(), vault.files().unwrap()), (4, vec!["one.gz".to_owned()]));
        assert!(vault.find_file("two").unwrap().is_none());
        vault.remove_file("one.gz").unwrap();
        vault.remove_file("one.gz").unwrap();
        assert!(vault.find_file("one.gz").unwrap().is_none());
        assert_eq!(parts(), 0);
    }

    #[test]
    fn a_part_of_another_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(folder.path(), VaultKey::from_bytes([1; 32])).unwrap();
        for name in ["one", "two"] {
            let mut writer = vault.create_file(name);
            writer.write_all(&bytes(100)).unwrap();
            writer.finish().unwrap();
        }
        let part = |name: &str| {
            let listed = vault.store.list(&format!("files/{name}")).unwrap();
            let part = listed.into_iter().find(|part| part != "end").unwrap();
            folder.path().join("files").join(name).join(part)
        };
        std::fs::copy(part("one"), part("two")).unwrap();
        assert!(vault.find_file("two").unwrap().unwrap().read_at(0).is_err());
        assert!(vault.find_file("one").unwrap().unwrap().read_at(0).is_ok());
    }
}
