//! Sealing anew what an older key sealed.
//!
//! Every object is replaced by itself under the newest key, whole or not at all, and only if nobody changed
//! or removed it meanwhile. A pack keeps its name and its layout, so that whoever has read its table finds
//! each chunk where it was; a chunk that cannot be opened stays as it is. What lives for hours is left to
//! go: drafts, writers, files.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use tidemark_model::OplogSpan;

use crate::error::VaultError;
use crate::layout::{CHECKS, CONFIGURATION, DRAFTS, FILES, INDEXES, KEEPING, OPLOG, PACKS};
use crate::layout::{REMOVALS, SNAPSHOTS, WRITERS, segment_name};
use crate::locking::lock;
use crate::pack::{self, PackError, PackId, PackReader};
use crate::pack_index::{self, IndexedPack};
use crate::pack_list::Present;
use crate::pass::{Content, Folder, ResealReport, Resealing};
use crate::sealed::{self, Kind};
use crate::state::PackState;
use crate::store::Stamp;
use crate::vault::{LARGEST_OBJECT, Vault};

/// No pack is larger.
const LARGEST_PACK: u64 = 256 * 1024 * 1024;
/// What is known of packs is written down after so many.
const GROUP: usize = 64;
/// After a pass that left something the next one begins so much later,
const AFTER_A_PASS: Duration = Duration::from_hours(1);
/// and after another one so much: nodes that were not started again since still seal with the older key.
const AFTER_A_WHOLE_PASS: Duration = Duration::from_hours(24);

/// What was known of a pack before it was sealed anew.
#[derive(Default)]
struct Known {
    number: Option<u32>,
    stamp: Option<Stamp>,
    bad: BTreeSet<u32>,
}

/// What became of an object.
enum Outcome {
    /// It was sealed anew.
    Resealed(Stamp),
    /// The newest key seals it, it is gone or damaged.
    Nothing,
    Kept,
}

impl Vault {
    /// The keys with which it seals and opens; the vault itself says which of them is the newest.
    pub fn key(&self) -> &crate::VaultKey {
        &self.key
    }

    /// Seals anew what older keys sealed, for as long as `go_on` says; answers what the pass did once it is
    /// over, and nothing if there is no older key or a pass was over not long ago. Reads every object.
    pub fn reseal(
        &self,
        mut go_on: impl FnMut() -> bool,
    ) -> Result<Option<ResealReport>, VaultError> {
        let mut pass = lock(&self.resealing);
        let is_early = pass.next.is_some_and(|next| Instant::now() < next);
        if is_early || !self.key.has_old() {
            return Ok(None);
        }
        if pass.folders.is_empty() && pass.current.is_none() {
            *pass = Resealing { folders: self.folders_to_reseal()?, ..Resealing::default() };
        }
        while go_on() {
            let next = pass.current.as_mut().and_then(|(folder, names)| {
                names.pop_front().map(|name| (folder.content, format!("{}/{name}", folder.name)))
            });
            if let Some((content, object)) = next {
                let outcome = self.reseal_in(content, &object, &mut pass.packs);
                note(&mut pass.report, outcome)?;
                if pass.packs.len() < GROUP {
                    continue;
                }
            }
            self.write_down(&mut pass.packs)?;
            if pass.is_folder_over() && !self.enter_next(&mut pass)? {
                return self.end(&mut pass).map(Some);
            }
        }
        Ok(None)
    }

    /// Goes on to the next folder; answers whether there is one.
    fn enter_next(&self, pass: &mut Resealing) -> Result<bool, VaultError> {
        let Some(folder) = pass.folders.front().cloned() else { return Ok(false) };
        let names = self.store.list(&folder.name).map_err(self.file_error(&folder.name))?;
        pass.folders.pop_front();
        pass.current = Some((folder, names.into()));
        Ok(true)
    }

    fn end(&self, pass: &mut Resealing) -> Result<ResealReport, VaultError> {
        self.store_checks()?;
        let report = pass.report;
        let is_whole = report.kept == 0 && report.failed == 0;
        let pause = if is_whole { AFTER_A_WHOLE_PASS } else { AFTER_A_PASS };
        *pass = Resealing { next: Instant::now().checked_add(pause), ..Resealing::default() };
        Ok(report)
    }

    /// Packs first: index objects are sealed with what packs are like afterwards.
    fn folders_to_reseal(&self) -> Result<VecDeque<Folder>, VaultError> {
        let mut folders = VecDeque::from([
            Folder { name: PACKS.to_owned(), content: Content::Packs },
            Folder::sealed(INDEXES, Kind::Index),
            Folder::sealed(SNAPSHOTS, Kind::Manifest),
            Folder::sealed(KEEPING, Kind::Keeping),
            Folder::sealed(REMOVALS, Kind::Removal),
        ]);
        for instance in self.captured_instances()? {
            folders.push_back(Folder::sealed(&format!("{OPLOG}/{instance}"), Kind::Segment));
        }
        Ok(folders)
    }

    fn reseal_in(
        &self,
        content: Content,
        object: &str,
        packs: &mut Vec<IndexedPack>,
    ) -> Result<Outcome, VaultError> {
        match (content, pack_of(object)) {
            (Content::Packs, Some(id)) => self.reseal_pack(id, packs),
            (Content::Packs, None) => Ok(Outcome::Nothing),
            (Content::Sealed(Kind::Index), _) if self.is_shared() => {
                self.reseal_object((Kind::Index, object), |body| self.keep_valid(&body))
            }
            (Content::Sealed(kind), _) => self.reseal_object((kind, object), Ok),
        }
    }

    fn reseal_object(
        &self,
        place: (Kind, &str),
        change: impl Fn(Vec<u8>) -> std::io::Result<Vec<u8>>,
    ) -> Result<Outcome, VaultError> {
        let mut reseal = |bytes: &[u8]| match sealed::open_with_number(&self.key, place, bytes) {
            Ok((body, number)) if number != self.key.number() => {
                Ok(Some(sealed::seal(&self.key, place, &change(body)?)))
            }
            // What is damaged is told elsewhere.
            _ => Ok(None),
        };
        let written = self.store.rewrite(place.1, LARGEST_OBJECT, &mut reseal);
        self.outcome(place.1, written)
    }

    /// What is still true of packs in an index object of a bucket.
    fn keep_valid(&self, body: &[u8]) -> std::io::Result<Vec<u8>> {
        let present = self.list_packs().map_err(std::io::Error::other)?;
        let packs = pack_index::decode(body).unwrap_or_default();
        Ok(pack_index::encode(packs.iter().filter(|pack| pack.is_as(&present))))
    }

    fn reseal_pack(
        &self,
        id: PackId,
        written: &mut Vec<IndexedPack>,
    ) -> Result<Outcome, VaultError> {
        let before = match PackReader::open(&self.key, self.store.as_ref(), id) {
            Ok(reader) if reader.key_number() == self.key.number() => return Ok(Outcome::Nothing),
            Ok(reader) => reader.stamp(),
            Err(error) if error.is_damage() => return Ok(Outcome::Nothing),
            Err(error) => return Err(self.file_error(PACKS)(std::io::Error::other(error))),
        };
        let (name, known) = (id.object(), self.known_of(id));
        let (mut chunks, mut is_new_damage) = (Vec::new(), false);
        let mut change = |bytes: &[u8]| match pack::reseal(&self.key, id, bytes) {
            // It may have been read badly: what is there is not replaced by that.
            Ok(found) if !found.bad.is_subset(&known.bad) => {
                is_new_damage = true;
                Ok(None)
            }
            Ok(found) => {
                chunks = found.names;
                Ok(Some(found.bytes))
            }
            Err(PackError::File(error)) => Err(error),
            // It was changed since its table was read.
            Err(PackError::Format | PackError::Tampered) => Ok(None),
        };
        let outcome = self.store.rewrite(&name, LARGEST_PACK, &mut change);
        let outcome = self.outcome(&name, outcome)?;
        if is_new_damage {
            // Read as a whole it is known what is bad; the next pass goes on.
            if let Some(number) = known.number {
                self.check_pack(number, None)?;
            }
            return Ok(Outcome::Kept);
        }
        if let Outcome::Resealed(stamp) = outcome {
            // One that was not like it was known is read as a whole before anybody relies on it, as before.
            let stamp = known.stamp.filter(|known| known.agrees(&before)).map(|_| stamp);
            self.note_resealed(id, stamp);
            written.push(IndexedPack { id, stamp, chunks });
        }
        Ok(outcome)
    }

    /// What is known of a pack before it is sealed anew.
    fn known_of(&self, id: PackId) -> Known {
        let mut state = self.state();
        let number = state.numbers.get(&id).copied();
        let Some(pack) = number.and_then(|number| state.pack(number)) else {
            return Known::default();
        };
        let stamp = match &pack.state {
            PackState::Whole { stamp } => *stamp,
            PackState::Unreadable(_) | PackState::Removed => None,
        };
        Known { number, stamp, bad: pack.bad.clone() }
    }

    fn outcome(
        &self,
        name: &str,
        written: std::io::Result<Option<Stamp>>,
    ) -> Result<Outcome, VaultError> {
        match written.map_err(self.file_error(name)) {
            Ok(Some(stamp)) => Ok(Outcome::Resealed(stamp)),
            Ok(None) => Ok(Outcome::Nothing),
            Err(VaultError::Kept { .. }) => Ok(Outcome::Kept),
            Err(error) => Err(error),
        }
    }

    /// A pack has the same chunks as before in another file or object.
    /// Without a stamp whoever relies on it reads it first.
    pub(crate) fn note_resealed(&self, id: PackId, stamp: Option<Stamp>) {
        // What a bucket locked is another version of it.
        lock(&self.locks).remove(&id);
        let number = {
            let mut state = self.state();
            let Some(number) = state.numbers.get(&id).copied() else { return };
            if let Some(pack) = state.pack(number)
                && let PackState::Whole { stamp: known } = &mut pack.state
            {
                *known = stamp;
            }
            number
        };
        self.close_pack(number);
        if let Some(stamp) = stamp {
            lock(&self.pack_list).note(id, stamp);
        }
    }

    /// Writes down what packs are like now, for other processes and the next start.
    fn write_down(&self, packs: &mut Vec<IndexedPack>) -> Result<(), VaultError> {
        if packs.is_empty() {
            return Ok(());
        }
        if self.is_shared() {
            self.store_written(packs)?;
        }
        self.store_checks()?;
        packs.clear();
        Ok(())
    }

    /// How many objects only older keys open, by folder. Reads every object.
    pub fn count_old(&self) -> Result<Vec<(String, usize)>, VaultError> {
        let mut folders = self.folders_to_reseal()?;
        folders.push_back(Folder::sealed(DRAFTS, Kind::Draft));
        folders.push_back(Folder::sealed(WRITERS, Kind::Writer));
        for file in self.store.list(FILES).map_err(self.file_error(FILES))? {
            folders.push_back(Folder::sealed(&format!("{FILES}/{file}"), Kind::FilePart));
        }
        let mut counted = Vec::new();
        for object in [(Kind::Configuration, CONFIGURATION), (Kind::Checks, CHECKS)] {
            if self.is_object_old(object)? {
                counted.push((object.1.to_owned(), 1));
            }
        }
        for folder in folders {
            let names = self.store.list(&folder.name).map_err(self.file_error(&folder.name))?;
            let mut old = 0;
            for name in names {
                let object = format!("{}/{name}", folder.name);
                old += usize::from(match (folder.content, pack_of(&object)) {
                    (Content::Packs, Some(id)) => self.is_pack_old(id)?,
                    (Content::Packs, None) => false,
                    (Content::Sealed(Kind::FilePart), _) if name == "end" => {
                        self.is_object_old((Kind::FileEnd, &object))?
                    }
                    (Content::Sealed(kind), _) => self.is_object_old((kind, &object))?,
                });
            }
            if old > 0 {
                counted.push((folder.name, old));
            }
        }
        Ok(counted)
    }

    /// Whether the vault says that the newest of the keys seals.
    pub fn seals_with_newest(&self) -> Result<bool, VaultError> {
        Ok(!self.is_object_old((Kind::Configuration, CONFIGURATION))?)
    }

    /// Whether only an older key opens a segment that was sealed to be kept elsewhere.
    pub fn is_segment_old(&self, instance: &str, name: OplogSpan, sealed: &[u8]) -> bool {
        let object = segment_name(instance, name);
        self.is_old((Kind::Segment, &object), sealed)
    }

    fn is_old(&self, place: (Kind, &str), sealed: &[u8]) -> bool {
        let opened = sealed::open_with_number(&self.key, place, sealed);
        opened.is_ok_and(|(_, number)| number != self.key.number())
    }

    fn is_object_old(&self, place: (Kind, &str)) -> Result<bool, VaultError> {
        match self.store.read(place.1, LARGEST_OBJECT) {
            Ok(bytes) => Ok(self.is_old(place, &bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.file_error(place.1)(error)),
        }
    }

    fn is_pack_old(&self, id: PackId) -> Result<bool, VaultError> {
        match PackReader::open(&self.key, self.store.as_ref(), id) {
            Ok(reader) => Ok(reader.key_number() != self.key.number()),
            Err(error) if error.is_damage() => Ok(false),
            Err(error) => Err(self.file_error(PACKS)(std::io::Error::other(error))),
        }
    }

    /// Fails where the vault seals with a key that this process was never given: then nothing that does not
    /// open is known to be damaged. In a folder nobody else can have rotated keys.
    pub(crate) fn check_its_key(&self) -> Result<(), VaultError> {
        if self.is_only_writer() {
            return Ok(());
        }
        let place = (Kind::Configuration, CONFIGURATION);
        let sealed = self.store.read(CONFIGURATION, LARGEST_OBJECT);
        let sealed = sealed.map_err(self.file_error(CONFIGURATION))?;
        match sealed::open(&self.key, place, &sealed) {
            Ok(_) => Ok(()),
            Err(_) => Err(VaultError::WrongKey { path: self.root().to_owned() }),
        }
    }
}

/// Counts what became of an object.
fn note(report: &mut ResealReport, outcome: Result<Outcome, VaultError>) -> Result<(), VaultError> {
    match outcome {
        Ok(Outcome::Resealed(_)) => report.resealed += 1,
        Ok(Outcome::Kept) => report.kept += 1,
        Ok(Outcome::Nothing) => {}
        Err(error) => {
            report.failed += 1;
            return Err(error);
        }
    }
    Ok(())
}

fn pack_of(object: &str) -> Option<PackId> {
    PackId::parse(object.strip_prefix(PACKS)?.strip_prefix('/')?)
}

impl IndexedPack {
    /// Whether a pack is as it was when this was written.
    pub(crate) fn is_as(&self, present: &Present) -> bool {
        let stamp = present.get(&self.id);
        stamp.is_some_and(|stamp| self.stamp.is_none_or(|known| known.agrees(stamp)))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::VaultKey;
    use crate::tests::{is_restorable, key, segment, snapshot};

    fn open(root: &Path, key: &VaultKey) -> Arc<Vault> {
        Vault::open(root, key.clone()).unwrap()
    }

    fn filled(root: &Path) {
        let vault = open(root, &key());
        snapshot(&vault, "one", 0..3_000).unwrap();
        snapshot(&vault, "two", 2_000..5_000).unwrap();
        for (first, last) in [(1, 1), (1, 3), (3, 5)] {
            vault.put_segment("i", &segment(first, last)).unwrap();
        }
        vault.store_checks().unwrap();
    }

    fn is_refused(opened: &Result<Arc<Vault>, VaultError>) -> bool {
        matches!(opened, Err(VaultError::WrongKey { .. }))
    }

    #[test]
    fn everything_is_sealed_anew_and_the_old_key_is_not_needed_any_more() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path());
        let rotated = key().rotated();
        assert!(is_refused(&Vault::open(folder.path(), rotated.without_old())));
        let vault = open(folder.path(), &rotated);
        assert!(is_restorable(&vault, "one") && is_restorable(&vault, "two"));
        // What is stored already is found under its name, and not stored again.
        let before = vault.list_packs().unwrap();
        snapshot(&vault, "three", 0..3_000).unwrap();
        assert_eq!(vault.list_packs().unwrap(), before);
        assert!(vault.count_old().unwrap().iter().any(|(folder, _)| folder == "packs"));
        let report = vault.reseal(|| true).unwrap().unwrap();
        assert_eq!((report.kept, report.failed), (0, 0));
        assert!(report.resealed >= before.len() + 2 + 3, "{report:?}");
        assert_eq!(vault.count_old().unwrap(), []);
        assert_eq!(vault.reseal(|| true).unwrap(), None);
        // Readers that were open go on, and so do writers.
        assert!(["one", "two", "three"].iter().all(|id| is_restorable(&vault, id)));
        snapshot(&vault, "four", 2_000..5_000).unwrap();
        assert_eq!(vault.list_packs().unwrap().len(), before.len());
        drop(vault);
        assert!(is_refused(&Vault::open(folder.path(), key())), "the old key opens nothing");
        let vault = open(folder.path(), &rotated.without_old());
        assert_eq!(vault.verify().unwrap().damages, []);
        assert!(["one", "two", "three", "four"].iter().all(|id| is_restorable(&vault, id)));
        // Nothing was forgotten of what is known of packs.
        let known = |pack: &crate::state::Pack| matches!(pack.state, PackState::Whole { stamp: Some(stamp) } if vault.store.stamp(&pack.id.object()).unwrap() == stamp);
        assert!(vault.state().packs.iter().all(known));
    }

    #[test]
    fn a_vault_without_its_configuration_is_opened_with_what_the_key_file_holds() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path());
        let rotated = key().rotated();
        open(folder.path(), &rotated).reseal(|| true).unwrap();
        std::fs::remove_file(folder.path().join(CONFIGURATION)).unwrap();
        let last = VaultKey::parse(rotated.without_old().to_text().expose()).unwrap();
        let vault = Vault::open_without_configuration(folder.path(), last.clone()).unwrap();
        assert!(is_restorable(&vault, "one"));
        drop(vault);
        assert!(is_restorable(&open(folder.path(), &last), "two"));
        // A key file without the names of chunks would find every chunk damaged.
        let text = last.to_text();
        let (line, _) = text.expose().split_once('\n').unwrap();
        let other = format!("{line}\ntidemark-vault-names-1 {}", "0".repeat(64));
        let opened = Vault::open(folder.path(), VaultKey::parse(&other).unwrap());
        assert!(matches!(opened, Err(VaultError::OtherNames { .. })));
    }

    #[test]
    fn a_pass_that_is_ended_anywhere_is_taken_up_again() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path());
        let rotated = key().rotated();
        // Each process goes a step further than the one before it, which ended without a word.
        for steps in 0.. {
            let vault = open(folder.path(), &rotated);
            let mut left = steps;
            let go_on = || {
                left -= 1;
                left >= 0
            };
            let report = vault.reseal(go_on).unwrap();
            assert_eq!(vault.verify().unwrap().damages, []);
            if report.is_some() {
                assert!(steps > 10, "it had {steps} steps only");
                return assert_eq!(vault.count_old().unwrap(), []);
            }
        }
    }

    #[test]
    fn what_is_damaged_stays_so_and_keeps_no_old_key() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path());
        crate::tests::overwrite(folder.path(), |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        });
        let damages = |key: &VaultKey| {
            let report = open(folder.path(), key).verify().unwrap();
            report.damages.into_iter().map(|damage| damage.object).collect::<BTreeSet<_>>()
        };
        let before = damages(&key());
        assert!(!before.is_empty());
        let rotated = key().rotated();
        // It is read as a whole first, and sealed anew by the next pass.
        for _ in 0..2 {
            open(folder.path(), &rotated).reseal(|| true).unwrap().unwrap();
        }
        assert_eq!(open(folder.path(), &rotated).count_old().unwrap(), []);
        assert_eq!(damages(&rotated.without_old()), before);
    }

    /// A pack that was changed since it was known is not trusted because it was sealed anew.
    #[test]
    fn what_is_changed_before_it_is_sealed_anew_is_stored_again_by_the_next_snapshot() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path());
        let rotated = key().rotated();
        let vault = open(folder.path(), &rotated);
        crate::tests::overwrite(folder.path(), |bytes| bytes[40] ^= 1);
        let first = vault.reseal(|| true).unwrap().unwrap();
        assert!(first.kept > 0, "it is read as a whole before it is replaced: {first:?}");
        snapshot(&vault, "again", 0..3_000).unwrap();
        assert!(is_restorable(&vault, "again"));
        drop(vault);
        let vault = open(folder.path(), &rotated);
        assert_eq!(vault.reseal(|| true).unwrap().unwrap().kept, 0);
        drop(vault);
        assert!(is_restorable(&open(folder.path(), &rotated.without_old()), "again"));
    }

    #[test]
    fn what_was_promised_to_be_kept_as_it_is_waits() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path());
        open(folder.path(), &key()).keep_for(24).unwrap();
        let vault = open(folder.path(), &key().rotated());
        let report = vault.reseal(|| true).unwrap().unwrap();
        assert!(report.kept > 5 && report.resealed > 0, "{report:?}");
        assert!(vault.count_old().unwrap().iter().any(|(folder, _)| folder == SNAPSHOTS));
        assert_eq!(vault.reseal(|| true).unwrap(), None, "it waits before it looks again");
    }

    #[test]
    fn a_copy_of_before_is_sealed_anew_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        filled(&one);
        let options = crate::CopyOptions { verify: true, remove_gone: true };
        let copy =
            |key: &VaultKey| open(&one, key).copy_to(&open(&two, key), options).unwrap().failures;
        assert_eq!(copy(&key()), []);
        let rotated = key().rotated();
        open(&one, &rotated).reseal(|| true).unwrap();
        assert_eq!(copy(&rotated), []);
        assert_eq!(open(&two, &rotated.without_old()).verify().unwrap().damages, []);
    }

    /// Several processes in one vault: one rotates, others read, write and remove meanwhile, with the key
    /// that was prepared.
    #[test]
    fn others_go_on_while_packs_are_sealed_anew() {
        use crate::sharing::tests::share;
        for seed in 0..6 {
            let folder = tempfile::tempdir().unwrap();
            filled(folder.path());
            let prepared = key().prepared();
            let other = share(folder.path(), (seed, prepared.clone()));
            assert_eq!(other.key().number(), 1);
            let is_over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let vault = share(folder.path(), (100 + seed, prepared.rotated()));
                    vault.reseal(|| true).unwrap().unwrap();
                    is_over.store(true, Ordering::SeqCst);
                });
                let mut number = 0;
                while !is_over.load(Ordering::SeqCst) || number == 0 {
                    number += 1;
                    assert!(is_restorable(&other, "one") && is_restorable(&other, "two"));
                    let id = format!("n{number}");
                    snapshot(&other, &id, number * 100..number * 100 + 2_000).unwrap();
                    assert!(is_restorable(&other, &id));
                    other.remove_manifest(&id).unwrap();
                    other.check_some(2_000_000_000 + i64::from(number)).unwrap();
                    other.prune(Duration::ZERO).unwrap();
                }
            });
            assert!(other.health().is_well(), "{:?}", other.health());
            drop(other);
            // It wrote with the old key until it was started again; then it seals with the new one, too.
            let again = share(folder.path(), (seed, prepared.clone()));
            assert_eq!(again.key().number(), 2);
            again.reseal(|| true).unwrap().unwrap();
            assert_eq!(again.verify().unwrap().damages, []);
            assert_eq!(again.count_old().unwrap(), []);
        }
    }

    #[test]
    fn a_process_without_the_new_key_takes_nothing_for_damaged() {
        use crate::sharing::tests::share;
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path());
        let other = share(folder.path(), (1, key()));
        share(folder.path(), (2, key().rotated())).reseal(|| true).unwrap().unwrap();
        let manifest = other.load_manifest("one");
        assert!(manifest.is_err());
        let number_of_packs = other.list_packs().unwrap().len();
        for number in 0..u32::try_from(number_of_packs).unwrap() {
            let checked = other.check_pack(number, Some(5));
            assert!(matches!(checked, Err(VaultError::WrongKey { .. })), "{checked:?}");
        }
        assert!(other.health().is_well());
    }
}
