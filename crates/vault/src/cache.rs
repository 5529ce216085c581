//! A folder on a local disk with parts of a bucket: what is read again and again is asked once.
//!
//! Only objects that never change are kept, as they are in the bucket: sealed. Whoever opens them
//! proves that they are whole, so the folder need not be trusted. Losing it costs requests.

use std::fs::{File, FileTimes};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use tidemark_model::random_bytes;

use crate::locking::lock;

/// Where a cache is, and how large it may be.
#[derive(Debug, Clone)]
pub struct CachePlace {
    /// A folder that is its own.
    pub folder: PathBuf,
    /// All files together have no more bytes.
    pub limit_bytes: u64,
}

/// A cache; what goes wrong in it is as if nothing was kept.
pub(crate) struct Cache {
    place: CachePlace,
    /// How many bytes its files have. Held while files are removed, not while they are read.
    used: Mutex<u64>,
}

struct Kept {
    path: PathBuf,
    bytes: u64,
    used_at: SystemTime,
}

impl Cache {
    /// Takes up what an earlier process kept.
    pub(crate) fn open(place: CachePlace) -> std::io::Result<Self> {
        std::fs::create_dir_all(&place.folder)?;
        let used = list(&place.folder)?.iter().map(|kept| kept.bytes).sum();
        Ok(Self { place, used: Mutex::new(used) })
    }

    fn path(&self, key: &str) -> PathBuf {
        let hash = blake3::hash(key.as_bytes()).to_hex();
        self.place.folder.join(hash.get(..32).unwrap_or_default())
    }

    /// What was kept under a key.
    pub(crate) fn find(&self, key: &str) -> Option<Vec<u8>> {
        let path = self.path(key);
        let bytes = std::fs::read(&path).ok()?;
        mark_used(&File::open(path).ok()?);
        Some(bytes)
    }

    /// Fills a buffer from an offset of what was kept under a key; answers whether it could.
    pub(crate) fn fill(&self, key: &str, buffer: &mut [u8], offset: u64) -> bool {
        let Ok(file) = File::open(self.path(key)) else { return false };
        mark_used(&file);
        file.read_exact_at(buffer, offset).is_ok()
    }

    /// Keeps something that never changes.
    pub(crate) fn keep(&self, key: &str, bytes: &[u8]) {
        let size = bytes.len() as u64;
        if size > self.place.limit_bytes / 2 {
            return;
        }
        let mut used = lock(&self.used);
        if *used + size > self.place.limit_bytes {
            *used = self.make_room(size).unwrap_or(*used);
        }
        let path = self.path(key);
        let unfinished = path.with_extension(format!("{:08x}", u32::from_le_bytes(random_bytes())));
        let written = File::create(&unfinished)
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| std::fs::rename(&unfinished, &path));
        match written {
            Ok(()) => *used += size,
            Err(_) => drop(std::fs::remove_file(&unfinished)),
        }
    }

    /// Forgets what was kept under a key.
    pub(crate) fn forget(&self, key: &str) {
        let _ = std::fs::remove_file(self.path(key));
    }

    /// Removes what was not used for longest until there is room, and some more so that it is not done
    /// each time; answers how much is left.
    fn make_room(&self, size: u64) -> std::io::Result<u64> {
        let mut kept = list(&self.place.folder)?;
        kept.sort_by_key(|kept| kept.used_at);
        let mut used: u64 = kept.iter().map(|kept| kept.bytes).sum();
        let wanted = (self.place.limit_bytes / 10 * 9).saturating_sub(size);
        for oldest in kept {
            if used <= wanted {
                break;
            }
            std::fs::remove_file(&oldest.path)?;
            used -= oldest.bytes;
        }
        Ok(used)
    }
}

fn list(folder: &Path) -> std::io::Result<Vec<Kept>> {
    let mut kept = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // Another process may use the folder, too.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_file() {
            let used_at = metadata.modified()?;
            kept.push(Kept { path: entry.path(), bytes: metadata.len(), used_at });
        }
    }
    Ok(kept)
}

#[expect(clippy::disallowed_methods, reason = "the time of files, by the clock that wrote them")]
fn mark_used(file: &File) {
    let _ = file.set_times(FileTimes::new().set_modified(SystemTime::now()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_below_its_limit_and_keeps_what_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let place = CachePlace { folder: folder.path().join("cache"), limit_bytes: 100_000 };
        let cache = Cache::open(place.clone()).unwrap();
        for n in 0..50_u8 {
            cache.keep(&format!("k{n}"), &[n; 5_000]);
            assert_eq!(cache.find("k0").as_deref(), Some([0; 5_000].as_slice()), "{n}");
            std::thread::sleep(std::time::Duration::from_millis(2));
            let used: u64 = list(&place.folder).unwrap().iter().map(|kept| kept.bytes).sum();
            assert!(used <= 100_000, "{used}");
        }
        assert_eq!(cache.find("k1"), None);
        let mut part = [0; 10];
        assert!(cache.fill("k49", &mut part, 4_990) && part == [49; 10]);
        assert!(!cache.fill("k49", &mut part, 4_995));
        cache.keep("large", &vec![1; 60_000]);
        assert_eq!(cache.find("large"), None);
        cache.forget("k49");
        assert!(cache.find("k49").is_none());
        // A later process takes it up.
        let later = Cache::open(place).unwrap();
        assert!(later.find("k0").is_some() && *lock(&later.used) > 50_000);
    }
}
