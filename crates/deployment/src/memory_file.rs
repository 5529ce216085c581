//! A file that is on no disk, for secrets that a library takes only as files.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

/// Content under a path that only this process can open, for as long as it is held.
pub(crate) struct MemoryFile(File);

impl MemoryFile {
    pub(crate) fn new(content: &[u8]) -> io::Result<Self> {
        let descriptor = rustix::fs::memfd_create("tidemark", rustix::fs::MemfdFlags::CLOEXEC)?;
        let mut file = File::from(descriptor);
        file.write_all(content)?;
        Ok(Self(file))
    }

    /// Opened, it begins at its beginning each time.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_often_as_wanted_and_gone_with_its_holder() {
        let file = MemoryFile::new(b"secret").unwrap();
        let path = file.path();
        for _ in 0..2 {
            assert_eq!(std::fs::read(&path).unwrap(), b"secret");
        }
        drop(file);
        assert!(std::fs::read(&path).is_err());
    }
}
