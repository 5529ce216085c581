//! Results that wait for their client: in memory while they are few, then in an unnamed file.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::sorter::failed;

/// What is kept in memory.
const MEMORY_BYTES: usize = 4 * 1024 * 1024;
const BUFFER_BYTES: usize = 64 * 1024;

/// Takes documents.
pub(crate) struct SpoolWriter {
    folder: PathBuf,
    held: VecDeque<Vec<u8>>,
    held_bytes: usize,
    file: Option<BufWriter<File>>,
}

/// Gives them back in the same order.
pub(crate) struct Spool {
    held: VecDeque<Vec<u8>>,
    file: Option<BufReader<File>>,
}

impl SpoolWriter {
    /// An empty one; what is too much for memory goes to an unnamed file in `folder`.
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), held: VecDeque::new(), held_bytes: 0, file: None }
    }

    /// Adds a document.
    pub(crate) fn push(&mut self, document: Vec<u8>) -> Result<()> {
        if self.file.is_none() && self.held_bytes + document.len() > MEMORY_BYTES {
            let file = tempfile::tempfile_in(&self.folder).map_err(failed)?;
            self.file = Some(BufWriter::with_capacity(BUFFER_BYTES, file));
        }
        if let Some(file) = &mut self.file {
            return file.write_all(&document).map_err(failed);
        }
        self.held_bytes += document.len();
        self.held.push_back(document);
        Ok(())
    }

    /// All that was added.
    pub(crate) fn finish(self) -> Result<Spool> {
        let file = match self.file {
            None => None,
            Some(file) => {
                let mut file = file.into_inner().map_err(|error| failed(error.into_error()))?;
                file.rewind().map_err(failed)?;
                Some(BufReader::with_capacity(BUFFER_BYTES, file))
            }
        };
        Ok(Spool { held: self.held, file })
    }
}

impl Spool {
    /// Nothing.
    pub(crate) fn empty() -> Self {
        Self { held: VecDeque::new(), file: None }
    }

    /// The next document.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>> {
        if let Some(document) = self.held.pop_front() {
            return Ok(Some(document));
        }
        let Some(file) = &mut self.file else { return Ok(None) };
        let mut length = [0; 4];
        match file.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                self.file = None;
                return Ok(None);
            }
            Err(error) => return Err(failed(error)),
        }
        let mut document = length.to_vec();
        let rest = (u32::from_le_bytes(length) as usize).saturating_sub(4);
        document.resize(4 + rest, 0);
        file.read_exact(document.get_mut(4..).unwrap_or_default()).map_err(failed)?;
        Ok(Some(document))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_come_back_in_order_however_many_there_are() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = SpoolWriter::new(folder.path());
        let document = |n: i32| bson::doc! { "n": n, "text": "x".repeat(50_000) }.to_vec().unwrap();
        (0..200).for_each(|n| writer.push(document(n)).unwrap());
        assert!(writer.file.is_some());
        let mut spool = writer.finish().unwrap();
        (0..200).for_each(|n| assert_eq!(spool.next().unwrap(), Some(document(n))));
        assert_eq!(spool.next().unwrap(), None);
    }
}
