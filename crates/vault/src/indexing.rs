//! What a process knows of all packs, and the index objects that it is read from.

use std::collections::HashSet;
use std::sync::Mutex;

use crate::checks::Checks;
use crate::error::VaultError;
use crate::layout::{INDEXES, PACKS};
use crate::locking::lock;
use crate::pack::{PackError, PackId, PackReader};
use crate::pack_index::{self, IndexedPack};
use crate::pack_list::{PackList, Present};
use crate::parallel::in_parallel;
use crate::sealed::{self, Kind};
use crate::state::{Pack, PackState, State};
use crate::store::Listed;
use crate::vault::Vault;
use crate::verify::VerifyReport;

/// Index objects below this size are merged,
const SMALL_BYTES: u64 = pack_index::FULL_BYTES as u64 / 2;
/// when there are more than so many of them.
const MOST_SMALL: usize = 16;

impl Vault {
    /// Learns which chunks are in which packs: of index objects, of the tables of packs that none of
    /// them names or that are not like they were, and of what earlier checks found. A pack that is gone
    /// is forgotten.
    pub(crate) fn load_index(&self) -> Result<(), VaultError> {
        let checks = self.load_checks()?;
        let indexes = self.list_indexes()?;
        // Packs are listed after the index objects: those name no pack that is younger.
        let present = self.list_packs()?;
        let mut state = State::default();
        // Most of the bytes are names.
        let bytes: u64 = indexes.iter().map(|index| index.stamp.size).sum();
        state.index.reserve(usize::try_from(bytes).unwrap_or(0) / size_of::<crate::index::Name>());
        let loading = Mutex::new(state);
        in_parallel(&indexes, |index| {
            let name = format!("{INDEXES}/{}", index.name);
            // Of one that cannot be read, or was merged meanwhile, the packs' own tables say the same.
            let Some(packs) = self.load_index_object(&name)? else { return Ok(()) };
            let mut state = lock(&loading);
            state.known_indexes.insert(index.name.clone());
            for pack in packs {
                let known = pack.stamp.or_else(|| checks.of(pack.id).stamp);
                let present = present.get(&pack.id);
                let is_as_known = present.zip(known).is_some_and(|(a, b)| a.agrees(&b));
                if is_as_known && !state.numbers.contains_key(&pack.id) {
                    add_indexed(&mut state, &pack, &checks);
                }
            }
            Ok(())
        })?;
        let mut missing: Vec<PackId> = {
            let state = lock(&loading);
            present.keys().filter(|id| !state.numbers.contains_key(*id)).copied().collect()
        };
        missing.sort_unstable();
        in_parallel(&missing, |id| {
            let opened = PackReader::open(&self.key, self.store.as_ref(), *id);
            add_unindexed(&mut lock(&loading), (*id, opened), &checks);
            Ok(())
        })?;
        let mut state = loading.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.index.sort();
        let mut before = self.state();
        (state.writers, state.begun) = (before.writers, before.begun);
        state.condemned = before.condemned;
        *before = state;
        drop(before);
        self.close_packs();
        *lock(&self.pack_list) = PackList::new(present);
        self.learn_removals()
    }

    fn list_indexes(&self) -> Result<Vec<Listed>, VaultError> {
        self.store.list_objects(INDEXES).map_err(self.file_error(INDEXES))
    }

    /// The packs that are there.
    pub(crate) fn list_packs(&self) -> Result<Present, VaultError> {
        let listed = self.store.list_objects(PACKS).map_err(self.file_error(PACKS))?;
        Ok(listed
            .iter()
            .filter_map(|pack| Some((PackId::parse(&pack.name)?, pack.stamp)))
            .collect())
    }

    /// Reads an index object; nothing if it is gone or damaged.
    pub(crate) fn load_index_object(
        &self,
        name: &str,
    ) -> Result<Option<Vec<IndexedPack>>, VaultError> {
        match self.load_object((Kind::Index, name), "index") {
            Ok(bytes) => Ok(pack_index::decode(&bytes)),
            Err(VaultError::Missing { .. } | VaultError::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads all index objects.
    pub(crate) fn verify_indexes(&self, report: &mut VerifyReport) -> Result<(), VaultError> {
        for index in self.list_indexes()? {
            let name = format!("{INDEXES}/{}", index.name);
            match self.load_object((Kind::Index, &name), "index") {
                Ok(bytes) if pack_index::decode(&bytes).is_some() => {}
                Ok(_) => report.note(name, "it is no index of packs"),
                // It was merged since it was listed.
                Err(VaultError::Missing { .. }) => {}
                Err(error) => report.note(name, error),
            }
        }
        Ok(())
    }

    /// Writes an index object that names packs, and remembers them: from now on they count.
    pub(crate) fn store_index(&self, packs: &[IndexedPack]) -> Result<(), VaultError> {
        let name = self.put_index(packs)?;
        let mut state = self.state();
        state.known_indexes.insert(name);
        for pack in packs {
            let number = state.numbers.get(&pack.id).copied();
            if let Some(pack) = number.and_then(|number| state.pack(number)) {
                pack.is_indexed = true;
                continue;
            }
            state.add_written(pack);
        }
        Ok(())
    }

    /// The same for packs that this process wrote: that they are there need not be asked.
    pub(crate) fn store_written(&self, packs: &[IndexedPack]) -> Result<(), VaultError> {
        self.store_index(packs)?;
        let mut list = lock(&self.pack_list);
        for pack in packs {
            if let Some(stamp) = pack.stamp {
                list.note(pack.id, stamp);
            }
        }
        Ok(())
    }

    /// Writes an index object; answers its name in the folder of them.
    fn put_index(&self, packs: &[IndexedPack]) -> Result<String, VaultError> {
        let id = PackId::random().to_string();
        let name = format!("{INDEXES}/{id}");
        let sealed = sealed::seal(&self.key, (Kind::Index, &name), &pack_index::encode(packs));
        self.put(&name, &sealed)?;
        Ok(id)
    }

    /// Names packs that no index object names, so that the next start need not read their tables, and
    /// merges small index objects. The new ones are written before those that they replace are removed.
    pub(crate) fn tidy_indexes(&self) -> Result<(), VaultError> {
        let mut small = self.list_indexes()?;
        small.retain(|index| index.stamp.size < SMALL_BYTES);
        let unindexed = self.unindexed();
        if small.len() <= MOST_SMALL && unindexed.is_empty() {
            return Ok(());
        }
        let (mut packs, mut merged) = (Vec::new(), Vec::new());
        for id in unindexed {
            let opened = PackReader::open(&self.key, self.store.as_ref(), id);
            // One that cannot be read is told elsewhere.
            let Ok(reader) = opened else { continue };
            let chunks = reader.names();
            packs.push(IndexedPack { id, stamp: None, chunks });
        }
        for index in small {
            let name = format!("{INDEXES}/{}", index.name);
            // One that is damaged is worth nothing: its packs were found by their tables.
            merged.push(name.clone());
            let Some(found) = self.load_index_object(&name)? else { continue };
            let kept = self.state();
            let is_kept = |id: &PackId| {
                let number = kept.numbers.get(id).map(|number| *number as usize);
                let pack = number.and_then(|number| kept.packs.get(number));
                pack.is_none_or(|pack| pack.state != PackState::Removed)
            };
            packs.extend(found.into_iter().filter(|pack| is_kept(&pack.id)));
        }
        // Listed after they were read: what is gone by now is not named again.
        let present = self.list_packs()?;
        packs.retain(|pack| pack.is_as(&present));
        // Of several that are true the first one that says what the pack is like.
        packs.sort_by_key(|pack| pack.stamp.is_none());
        let mut seen = HashSet::new();
        packs.retain(|pack| seen.insert(pack.id));
        for some in split(packs) {
            self.store_index(&some)?;
        }
        for name in merged {
            self.store.remove(&name).map_err(self.file_error(&name))?;
        }
        Ok(())
    }

    /// Whole packs that no index object names.
    fn unindexed(&self) -> Vec<PackId> {
        let state = self.state();
        let is_unindexed =
            |pack: &&Pack| !pack.is_indexed && matches!(pack.state, PackState::Whole { .. });
        state.packs.iter().filter(is_unindexed).map(|pack| pack.id).collect()
    }
}

/// Packs in groups, each for an index object that is not too large.
fn split(packs: Vec<IndexedPack>) -> Vec<Vec<IndexedPack>> {
    let mut groups: Vec<Vec<IndexedPack>> = Vec::new();
    let mut bytes = 0;
    for pack in packs {
        bytes += pack.encoded_bytes();
        if bytes > pack_index::FULL_BYTES || groups.is_empty() {
            bytes = pack.encoded_bytes();
            groups.push(Vec::new());
        }
        if let Some(group) = groups.last_mut() {
            group.push(pack);
        }
    }
    groups
}

/// Adds a pack that an index object names.
fn add_indexed(state: &mut State, pack: &IndexedPack, checks: &Checks) -> u32 {
    let found = checks.of(pack.id);
    let number = state.add_pack(Pack {
        id: pack.id,
        state: PackState::Whole { stamp: pack.stamp.or(found.stamp) },
        is_indexed: true,
        bad: found.bad.clone(),
        checked_at: found.checked_at,
    });
    state.index.append(number, &pack.chunks, |ordinal| !found.bad.contains(&ordinal));
    number
}

/// Adds a pack whose own table was read.
fn add_unindexed(
    state: &mut State,
    (id, opened): (PackId, Result<PackReader, PackError>),
    checks: &Checks,
) {
    match opened {
        Ok(reader) => {
            let chunks = reader.names();
            // It may be in an index object all the same; to name it once more does no harm.
            let number = add_indexed(state, &IndexedPack { id, stamp: None, chunks }, checks);
            if let Some(pack) = state.pack(number) {
                pack.is_indexed = false;
            }
        }
        // It was removed meanwhile.
        Err(PackError::File(error)) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            let found = checks.of(id);
            state.add_pack(Pack {
                id,
                state: PackState::Unreadable(error.to_string()),
                is_indexed: false,
                bad: found.bad,
                checked_at: found.checked_at,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::index::Name;
    use crate::tests::{is_restorable, key, snapshot};

    fn files(root: &Path, folder: &str) -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(root.join(folder)).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    fn open(root: &Path) -> Arc<Vault> {
        Vault::open(root, key()).unwrap()
    }

    #[test]
    fn a_start_reads_index_objects_and_no_table() {
        let folder = tempfile::tempdir().unwrap();
        let vault = open(folder.path());
        snapshot(&vault, "one", 0..3_000).unwrap();
        snapshot(&vault, "two", 2_000..5_000).unwrap();
        drop(vault);
        let vault = open(folder.path());
        assert!(vault.state().packs.iter().all(|pack| pack.is_indexed));
        assert!(vault.unindexed().is_empty());
        assert!(is_restorable(&vault, "one") && is_restorable(&vault, "two"));
        let count = vault.state().index.len();
        drop(vault);
        // Without them the tables say the same, and the next look after the vault writes them again.
        std::fs::remove_dir_all(folder.path().join("index")).unwrap();
        let vault = open(folder.path());
        assert_eq!(vault.state().index.len(), count);
        assert!(!vault.unindexed().is_empty());
        assert!(is_restorable(&vault, "one") && is_restorable(&vault, "two"));
        vault.prune(Duration::ZERO).unwrap();
        drop(vault);
        assert_eq!(files(folder.path(), "index").len(), 1);
        let vault = open(folder.path());
        assert!(vault.unindexed().is_empty() && vault.state().index.len() == count);
        assert_eq!(vault.verify().unwrap().damages, []);
    }

    #[test]
    fn a_damaged_index_object_is_told_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let vault = open(folder.path());
        snapshot(&vault, "one", 0..3_000).unwrap();
        drop(vault);
        let [path] = &files(folder.path(), "index")[..] else { panic!() };
        let mut bytes = std::fs::read(path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(path, bytes).unwrap();
        let vault = open(folder.path());
        assert!(is_restorable(&vault, "one"));
        let damages = vault.verify().unwrap().damages;
        assert!(damages.len() == 1 && damages[0].object.starts_with("index/"), "{damages:?}");
        vault.prune(Duration::ZERO).unwrap();
        assert_eq!(vault.verify().unwrap().damages, []);
        assert!(!path.exists());
    }

    #[test]
    fn many_small_index_objects_become_one_without_packs_that_are_gone() {
        let folder = tempfile::tempdir().unwrap();
        let vault = open(folder.path());
        for n in 0..20 {
            snapshot(&vault, &format!("s{n}"), n * 1_000..n * 1_000 + 300).unwrap();
        }
        assert!(files(folder.path(), "index").len() >= 20);
        for n in 5..20 {
            vault.remove_manifest(&format!("s{n}")).unwrap();
        }
        vault.prune(Duration::ZERO).unwrap();
        let count = vault.state().index.len();
        drop(vault);
        let [path] = &files(folder.path(), "index")[..] else { panic!() };
        let vault = open(folder.path());
        let name = format!("index/{}", path.file_name().unwrap().to_str().unwrap());
        let packs = vault.load_index_object(&name).unwrap().unwrap();
        assert_eq!(packs.len(), vault.state().packs.len());
        assert_eq!(vault.state().index.len(), count);
        (0..5).for_each(|n| assert!(is_restorable(&vault, &format!("s{n}"))));
    }

    #[test]
    fn merging_index_objects_brings_no_pack_back_that_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let vault = open(folder.path());
        snapshot(&vault, "gone", 0..300).unwrap();
        vault.remove_manifest("gone").unwrap();
        assert_eq!(vault.prune(Duration::ZERO).unwrap(), crate::PruneReport::Removed(1));
        assert_eq!(files(folder.path(), "index").len(), 1, "its index object still names it");
        drop(vault);
        // A later process has never known it.
        let vault = open(folder.path());
        for n in 1..=20 {
            snapshot(&vault, &format!("s{n}"), n * 1_000..n * 1_000 + 300).unwrap();
        }
        vault.prune(Duration::ZERO).unwrap();
        assert_eq!(files(folder.path(), "index").len(), 1);
        assert_eq!(vault.state().numbers.len(), vault.list_packs().unwrap().len());
        snapshot(&vault, "again", 0..300).unwrap();
        assert!(is_restorable(&vault, "again"));
        vault.check_some(2_000_000_000).unwrap();
        assert!(vault.health().is_well(), "{:?}", vault.health());
    }

    /// A vault of 1 TiB of documents: 11,184,811 chunks of 96 KiB in 32,768 packs, which are files
    /// without content. `cargo xtask bench opening` runs it in release and shows time and memory.
    #[test]
    #[ignore = "a measurement"]
    fn a_vault_of_a_tebibyte_opens() {
        const PACKS_OF_IT: u32 = 32_768;
        const CHUNKS_OF_A_PACK: u64 = 341;
        let folder = tempfile::tempdir().unwrap();
        let vault = open(folder.path());
        let mut group = Vec::new();
        for number in 0..PACKS_OF_IT {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&number.to_be_bytes());
            let id = PackId(id);
            let path = folder.path().join(id.object());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::File::create(path).unwrap().set_len(32 << 20).unwrap();
            let name = |chunk: u64| {
                let hash = blake3::hash(&(u64::from(number) << 32 | chunk).to_le_bytes());
                Name::try_from(&hash.as_bytes()[..16]).unwrap()
            };
            let chunks = (0..CHUNKS_OF_A_PACK).map(name).collect();
            let stamp = vault.store.stamp(&id.object()).unwrap();
            group.push(IndexedPack { id, stamp: Some(stamp), chunks });
            if group.len() == 2_700 || number + 1 == PACKS_OF_IT {
                vault.store_index(&group).unwrap();
                group.clear();
            }
        }
        vault.store_checks().unwrap();
        drop(vault);
        let peak = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap().to_owned();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1_024
        };
        // What making it took does not count.
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = peak();
        let begun = Instant::now();
        let vault = open(folder.path());
        let seconds = begun.elapsed().as_secs_f64();
        let chunks = vault.state().index.len();
        println!(
            "{chunks} chunks: opened in {seconds:.2} s, {} MiB at most (from {before})",
            peak()
        );
        assert_eq!(chunks as u64, u64::from(PACKS_OF_IT) * CHUNKS_OF_A_PACK);
        assert!(vault.unindexed().is_empty());
        assert!(peak() < 600, "{} MiB", peak());
    }
}
