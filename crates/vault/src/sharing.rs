//! Several processes that write to one vault, without a lock.
//!
//! A writer of a snapshot shows that it is there (`writers/`) for as long as it writes: packs that were
//! written since it began are not removed. Older ones that it relies on may be: who removes packs first
//! says which (`removals/`), then looks whether a manifest came that needs them, and removes them only
//! then. A writer first stores its manifest, then looks whether packs were named since it began. One of
//! the two sees the other, because a bucket answers every list with all that was written before it.
//! Tests: `two_writers_and_a_remover_lose_nothing`.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use crate::error::VaultError;
use crate::layout::{INDEXES, REMOVALS, WRITERS};
use crate::locking::lock;
use crate::pack::{PackError, PackId, PackReader};
use crate::pack_index::{self, IndexedPack};
use crate::pack_list::PackList;
use crate::sealed::{self, Kind};
use crate::state::PackState;
use crate::store::{Put, Stamp};
use crate::vault::Vault;

/// A writer shows itself again after so long,
const BEAT: Duration = Duration::from_hours(1);
/// and is taken for dead when it has not for so long.
const SILENCE: Duration = Duration::from_hours(6);
/// Index objects are listed again so often where one was merged between a list and reading it.
const LISTS: usize = 5;
/// What was removed is named for so long, so that every process that knew of it hears it.
const REMOVALS_KEPT: Duration = Duration::from_hours(7 * 24);

/// Shows that somebody writes a snapshot; nothing where nobody else can.
pub(crate) struct Presence {
    name: Option<String>,
    /// What its object holds.
    sealed: Vec<u8>,
    shown: Mutex<Instant>,
}

impl Vault {
    /// Whether others may write meanwhile.
    pub(crate) fn is_shared(&self) -> bool {
        !self.is_only_writer()
    }

    /// Shows that this process begins to write a snapshot, and learns what others wrote.
    pub(crate) fn appear(&self) -> Result<Presence, VaultError> {
        let shown = Mutex::new(Instant::now());
        if !self.is_shared() {
            return Ok(Presence { name: None, sealed: Vec::new(), shown });
        }
        let name = format!("{WRITERS}/{}", PackId::random());
        let since = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        let began = bson::doc! { "at": since.cast_signed() }.to_vec();
        let began = began.map_err(|_| VaultError::Unwritable(name.clone()))?;
        let sealed = sealed::seal(&self.key, (Kind::Writer, &name), &began);
        self.put(&name, &sealed)?;
        let presence = Presence { name: Some(name), sealed, shown };
        self.refresh()?;
        Ok(presence)
    }

    /// Shows that it still writes, if that is due.
    pub(crate) fn stay(&self, presence: &Presence) -> Result<(), VaultError> {
        let Some(name) = &presence.name else { return Ok(()) };
        if lock(&presence.shown).elapsed() < BEAT {
            return Ok(());
        }
        // Its store says when it was written last; its content when it began. Somebody may have taken it
        // for dead meanwhile.
        let written = self.store.put(name, &presence.sealed, Put::Replace);
        written.map_err(self.file_error(name))?;
        *lock(&presence.shown) = Instant::now();
        Ok(())
    }

    /// Ends what `appear` began.
    pub(crate) fn leave(&self, presence: &Presence) {
        if let Some(name) = &presence.name {
            // One that stays is taken for dead after a while.
            let _ = self.store.remove(name);
        }
    }

    /// Since when somebody has been writing who may still be; writers that are dead are forgotten.
    ///
    /// By `clocks` the clocks of processes and of the store may differ.
    pub(crate) fn oldest_writer(&self, clocks: Duration) -> Result<Option<SystemTime>, VaultError> {
        let mut oldest: Option<SystemTime> = None;
        for writer in self.store.list_objects(WRITERS).map_err(self.file_error(WRITERS))? {
            let name = format!("{WRITERS}/{}", writer.name);
            if writer.written.elapsed().is_ok_and(|silence| silence > SILENCE) {
                self.store.remove(&name).map_err(self.file_error(&name))?;
                continue;
            }
            let began = match self.load_object((Kind::Writer, &name), "writer") {
                Ok(bytes) => began(&bytes),
                Err(VaultError::Missing { .. }) => continue,
                Err(error) => return Err(error),
            };
            // One that does not say since when has been there for ever.
            let began = began.unwrap_or(SystemTime::UNIX_EPOCH);
            oldest = Some(oldest.map_or(began, |oldest| oldest.min(began)));
        }
        Ok(oldest.map(|began| began.checked_sub(clocks).unwrap_or(SystemTime::UNIX_EPOCH)))
    }

    /// Learns what other processes wrote and removed since.
    pub(crate) fn refresh(&self) -> Result<(), VaultError> {
        self.learn_removals()?;
        for _ in 0..LISTS {
            let listed = self.store.list_objects(INDEXES).map_err(self.file_error(INDEXES))?;
            let unknown = listed
                .into_iter()
                .filter(|index| !self.state().known_indexes.contains(&index.name))
                .collect::<Vec<_>>();
            let mut was_merged = false;
            for index in unknown {
                was_merged |= !self.learn_index(&index.name)?;
            }
            if !was_merged {
                break;
            }
        }
        Ok(())
    }

    /// Learns what an index object says; answers whether it was still there. Of one that is damaged the
    /// packs' own tables say the same.
    fn learn_index(&self, index: &str) -> Result<bool, VaultError> {
        let name = format!("{INDEXES}/{index}");
        let packs = match self.load_object((Kind::Index, &name), "index") {
            Ok(bytes) => pack_index::decode(&bytes),
            Err(VaultError::Missing { .. }) => return Ok(false),
            Err(VaultError::Damaged { .. }) => None,
            Err(error) => return Err(error),
        };
        let packs = match packs {
            Some(packs) => packs,
            None => self.read_unknown_tables()?,
        };
        let mut resealed = Vec::new();
        {
            let mut state = self.state();
            state.known_indexes.insert(index.to_owned());
            for pack in &packs {
                match (state.numbers.contains_key(&pack.id), pack.stamp) {
                    (false, _) => state.add_written(pack),
                    (true, Some(stamp)) => resealed.push((pack.id, stamp)),
                    (true, None) => {}
                }
            }
        }
        // Who rotates keys says what packs are like afterwards.
        for (id, stamp) in resealed {
            self.note_resealed(id, Some(stamp));
        }
        Ok(true)
    }

    /// The packs that are there and not known, as their own tables say it.
    fn read_unknown_tables(&self) -> Result<Vec<IndexedPack>, VaultError> {
        let mut found = Vec::new();
        for id in self.list_packs()?.into_keys() {
            if self.state().numbers.contains_key(&id) {
                continue;
            }
            match PackReader::open(&self.key, self.store.as_ref(), id) {
                Ok(reader) => {
                    let chunks = reader.names();
                    found.push(IndexedPack { id, stamp: None, chunks });
                }
                // What is damaged is told by whoever opens the vault.
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(self.damaged(&id.object(), error)),
            }
        }
        Ok(found)
    }

    /// Learns which packs are to be removed, and which are not any more.
    pub(crate) fn learn_removals(&self) -> Result<(), VaultError> {
        // What is known before the list: one that is announced meanwhile may not be in it.
        let known: HashSet<String> = self.state().removals.keys().cloned().collect();
        let listed = self.store.list(REMOVALS).map_err(self.file_error(REMOVALS))?;
        let listed: HashSet<String> = listed.into_iter().collect();
        for id in listed.difference(&known) {
            if let Some(packs) = self.load_removal(id)? {
                self.state().condemn(id, packs);
            }
        }
        known.difference(&listed).try_for_each(|id| self.pardon(id))
    }

    /// The packs that a removal names; nothing if it was taken back meanwhile.
    fn load_removal(&self, id: &str) -> Result<Option<Vec<PackId>>, VaultError> {
        let name = format!("{REMOVALS}/{id}");
        match self.load_object((Kind::Removal, &name), "removal") {
            Ok(bytes) => Ok(Some(bytes.as_chunks::<16>().0.iter().copied().map(PackId).collect())),
            Err(VaultError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A removal was taken back, or is over: packs of it that are still there count again.
    fn pardon(&self, id: &str) -> Result<(), VaultError> {
        let packs = self.state().removals.remove(id).unwrap_or_default();
        for pack in packs {
            let number = {
                let state = self.state();
                let is_condemned = state.is_condemned(pack);
                state.numbers.get(&pack).copied().filter(|_| !is_condemned)
            };
            let Some(number) = number else { continue };
            let reader = match PackReader::open(&self.key, self.store.as_ref(), pack) {
                Err(PackError::File(error)) if error.kind() == ErrorKind::NotFound => {
                    continue;
                }
                opened => opened.map_err(|error| self.damaged(&pack.object(), error))?,
            };
            let names = reader.names();
            let mut state = self.state();
            // It may have been announced once more while it was opened.
            if state.is_condemned(pack) {
                continue;
            }
            if let Some(pack) = state.pack(number).filter(|p| p.state == PackState::Removed) {
                // Whoever relies on it reads it first.
                pack.state = PackState::Whole { stamp: None };
                let bad = pack.bad.clone();
                state.index.insert(number, names.iter().copied());
                state.forget_bad(number, &names, &bad);
            }
        }
        Ok(())
    }

    /// Says which packs are about to be removed.
    pub(crate) fn announce_removal(&self, packs: &[PackId]) -> Result<String, VaultError> {
        let id = PackId::random().to_string();
        let name = format!("{REMOVALS}/{id}");
        let bytes: Vec<u8> = packs.iter().flat_map(|pack| pack.0).collect();
        // From here on, also if nobody knows whether it was written: then a later list tells.
        self.state().condemn(&id, packs.to_vec());
        let sealed = sealed::seal(&self.key, (Kind::Removal, &name), &bytes);
        if let Err(error) = self.put(&name, &sealed) {
            let _ = self.withdraw_removal(&id);
            return Err(error);
        }
        Ok(id)
    }

    /// Takes back that packs are about to be removed.
    pub(crate) fn withdraw_removal(&self, id: &str) -> Result<(), VaultError> {
        let name = format!("{REMOVALS}/{id}");
        self.store.remove(&name).map_err(self.file_error(&name))?;
        self.pardon(id)
    }

    /// Finishes removals that somebody announced and did not end, and forgets those that all have heard.
    pub(crate) fn finish_removals(&self) -> Result<(), VaultError> {
        let removals = self.store.list_objects(REMOVALS).map_err(self.file_error(REMOVALS))?;
        let present = self.list_packs()?;
        for removal in removals {
            let age = removal.written.elapsed().unwrap_or_default();
            let Some(packs) = self.load_removal(&removal.name)? else { continue };
            let (left, gone): (Vec<_>, Vec<_>) =
                packs.into_iter().partition(|pack| present.contains_key(pack));
            if left.is_empty() && age > REMOVALS_KEPT {
                let name = format!("{REMOVALS}/{}", removal.name);
                self.store.remove(&name).map_err(self.file_error(&name))?;
            } else if !left.is_empty() && age > SILENCE {
                // Whoever announced it did not end it: what is left is looked at anew.
                if !gone.is_empty() {
                    self.announce_removal(&gone)?;
                }
                self.withdraw_removal(&removal.name)?;
            }
        }
        Ok(())
    }

    /// What a pack's object is like at present, or was within the last hour.
    pub(crate) fn present_stamp(&self, id: PackId) -> Option<Stamp> {
        if self.is_only_writer() {
            return self.store.stamp(&id.object()).ok();
        }
        if lock(&self.pack_list).is_old()
            && let Ok(present) = self.list_packs()
        {
            *lock(&self.pack_list) = PackList::new(present);
        }
        let listed = {
            let list = lock(&self.pack_list);
            // An old list is not believed.
            list.find(id).filter(|stamp| stamp.changed != 0 && !list.is_old())
        };
        if listed.is_some() {
            return listed;
        }
        // A younger pack, or a list without tags.
        let stamp = self.store.stamp(&id.object()).ok()?;
        lock(&self.pack_list).note(id, stamp);
        Some(stamp)
    }
}

/// When a writer began, as its object says.
fn began(bytes: &[u8]) -> Option<SystemTime> {
    let began = bson::Document::from_reader(bytes).ok()?.get_i64("at").ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(began).ok()?))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Result;
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use super::*;
    use crate::store::{FolderStore, Listed, NewObject, Object, Rewriter, Store};
    use crate::tests::{is_restorable, key, snapshot};
    use crate::vault::Access;
    use crate::{PruneReport, VaultKey};

    /// A folder that several vaults share, in which every call takes a random while before and after
    /// it is done.
    struct Unsteady {
        folder: FolderStore,
        seed: AtomicU64,
    }

    impl Unsteady {
        fn pause(&self) {
            let seed = self.seed.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
            let mixed = (seed ^ (seed >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 40;
            std::thread::sleep(Duration::from_micros(mixed % 1_500));
        }

        fn slowly<T>(&self, call: impl FnOnce() -> Result<T>) -> Result<T> {
            self.pause();
            let outcome = call();
            self.pause();
            outcome
        }
    }

    impl Store for Unsteady {
        fn list(&self, folder: &str) -> Result<Vec<String>> {
            self.slowly(|| self.folder.list(folder))
        }
        fn list_objects(&self, folder: &str) -> Result<Vec<Listed>> {
            self.slowly(|| self.folder.list_objects(folder))
        }
        fn open_end(&self, name: &str, bytes: u64) -> Result<(Box<dyn Object>, Vec<u8>)> {
            self.slowly(|| self.folder.open_end(name, bytes))
        }
        fn open_known(&self, name: &str, stamp: Stamp) -> Result<Box<dyn Object>> {
            self.folder.open_known(name, stamp)
        }
        fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
            self.slowly(|| self.folder.read(name, limit))
        }
        fn put(&self, name: &str, bytes: &[u8], put: Put) -> Result<Stamp> {
            self.slowly(|| self.folder.put(name, bytes, put))
        }
        fn rewrite(&self, name: &str, limit: u64, change: Rewriter<'_>) -> Result<Option<Stamp>> {
            self.slowly(|| self.folder.rewrite(name, limit, change))
        }
        fn create(&self, name: &str) -> Result<Box<dyn NewObject>> {
            self.folder.create(name)
        }
        fn remove(&self, name: &str) -> Result<()> {
            self.slowly(|| self.folder.remove(name))
        }
        fn remove_unfinished(&self, _folder: &str) -> Result<()> {
            Ok(())
        }
        fn stamp(&self, name: &str) -> Result<Stamp> {
            self.folder.stamp(name)
        }
        fn written(&self, name: &str) -> Result<std::time::SystemTime> {
            self.folder.written(name)
        }
        fn settle(&self, _name: &str) -> Result<()> {
            Ok(())
        }
    }

    /// One of several processes that write to the vault in a folder.
    pub(crate) fn share(root: &Path, (seed, key): (u64, VaultKey)) -> Arc<Vault> {
        let folder = FolderStore::new(root);
        let store = Box::new(Unsteady { folder, seed: AtomicU64::new(seed << 20) });
        Vault::open_as_writer((root.to_owned(), Access::Writer), key, store).unwrap()
    }

    #[test]
    fn one_process_restores_what_another_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (share(folder.path(), (1, key())), share(folder.path(), (2, key())));
        snapshot(&one, "a", 0..2_000).unwrap();
        assert!(is_restorable(&two, "a"));
        snapshot(&two, "b", 0..2_000).unwrap();
        assert_eq!(one.list_packs().unwrap().len(), 1, "it is stored once");
        assert_eq!(std::fs::read_dir(folder.path().join(WRITERS)).unwrap().count(), 0);
        assert_eq!(one.verify().unwrap().damages, []);
    }

    #[test]
    fn packs_of_who_writes_are_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (share(folder.path(), (1, key())), share(folder.path(), (2, key())));
        let writer = one.writer().unwrap();
        let bytes = vec![7; 100_000];
        let chunk = crate::RawChunk { bytes, documents: 1 };
        let id = writer.put_chunk(&chunk).unwrap();
        writer.flush().unwrap();
        two.refresh().unwrap();
        assert_eq!(two.prune(Duration::ZERO).unwrap(), PruneReport::Removed(0));
        assert!(one.read_chunk(id).is_ok());
        drop(writer);
        // Clocks may differ by an hour; then nobody needs it.
        assert_eq!(
            two.prune_with(Duration::ZERO, Duration::ZERO).unwrap(),
            PruneReport::Removed(1)
        );
        one.refresh().unwrap();
        assert!(one.read_chunk(id).is_err());
    }

    #[test]
    fn a_removal_that_nobody_ended_is_looked_at_anew_and_one_that_failed_is_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (share(folder.path(), (1, key())), share(folder.path(), (2, key())));
        snapshot(&one, "kept", 0..2_000).unwrap();
        let packs: Vec<PackId> = one.list_packs().unwrap().into_keys().collect();
        // Whoever announced it ended at once: everybody takes them for removed.
        one.announce_removal(&packs).unwrap();
        two.refresh().unwrap();
        assert!(!is_restorable(&two, "kept"));
        let [removal] = &std::fs::read_dir(folder.path().join(REMOVALS))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect::<Vec<_>>()[..]
        else {
            panic!()
        };
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_hours(1);
        let file = std::fs::File::options().write(true).open(removal).unwrap();
        file.set_times(std::fs::FileTimes::new().set_modified(long_ago)).unwrap();
        assert_eq!(two.prune(Duration::ZERO).unwrap(), PruneReport::Removed(0));
        assert!(is_restorable(&two, "kept"));
        one.refresh().unwrap();
        assert!(is_restorable(&one, "kept"));
        assert_eq!(std::fs::read_dir(folder.path().join(REMOVALS)).unwrap().count(), 0);
        // What others rely on after that is relied on rightly.
        snapshot(&one, "more", 0..2_000).unwrap();
        assert_eq!(two.verify().unwrap().damages, []);
    }

    #[test]
    fn a_pack_that_is_removed_while_it_is_read_stays_removed() {
        let folder = tempfile::tempdir().unwrap();
        let one = share(folder.path(), (1, key()));
        snapshot(&one, "a", 0..500).unwrap();
        let packs: Vec<PackId> = one.list_packs().unwrap().into_keys().collect();
        one.announce_removal(&packs).unwrap();
        for number in 0..u32::try_from(packs.len()).unwrap() {
            assert_eq!(one.check_pack(number, Some(1)).unwrap(), None);
        }
        assert_eq!(one.state().index.len(), 0);
        assert!(one.health().is_well());
    }

    #[test]
    fn two_writers_and_a_remover_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        drop(share(folder.path(), (99, key())));
        let (taken, overtaken, removed) =
            (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let write = |who: u64| {
            let vault = share(folder.path(), (who, key()));
            for round in 0..100 {
                // The same content comes and goes, so that there is always something to rely on that
                // is about to be removed.
                let id = format!("{who:x}{round:04x}");
                let begin = u32::try_from(round % 4).unwrap() * 500;
                match snapshot(&vault, &id, begin..begin + 400) {
                    Ok(_) => {
                        taken.fetch_add(1, Ordering::SeqCst);
                        assert!(is_restorable(&vault, &id), "{id}");
                        vault.remove_manifest(&id).unwrap();
                    }
                    Err(VaultError::Overtaken) => {
                        overtaken.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(error) => panic!("{id}: {error}"),
                }
            }
        };
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let remover = scope.spawn(|| {
                let vault = share(folder.path(), (50, key()));
                while !is_over.load(Ordering::SeqCst) {
                    // Who writes is not waited for, so that only the second look protects it.
                    match vault.prune_unprotected().unwrap() {
                        PruneReport::Removed(packs) => {
                            removed.fetch_add(packs, Ordering::SeqCst);
                        }
                        PruneReport::Busy => {}
                        PruneReport::Stopped(count) => panic!("{count} snapshots lack chunks"),
                    }
                }
            });
            let writers: Vec<_> = (1..=2).map(|who| scope.spawn(move || write(who))).collect();
            for writer in writers {
                writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            }
            is_over.store(true, Ordering::SeqCst);
            remover.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
        let counts = (taken.into_inner(), overtaken.into_inner(), removed.into_inner());
        println!("taken, overtaken, packs removed: {counts:?}");
        assert!(counts.0 > 10 && counts.2 > 10, "{counts:?}");
        let vault = share(folder.path(), (7, key()));
        assert_eq!(vault.verify().unwrap().damages, []);
    }
}
