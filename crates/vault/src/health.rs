//! Reading packs as a whole, and what that says of the vault's health.

use std::collections::BTreeSet;

use crate::checks::{self, Checks, VaultHealth};
use crate::error::VaultError;
use crate::index::{Name, Place, name_of};
use crate::layout::{CHECKS, PACKS};
use crate::pack::{PackError, PackId, PackReader};
use crate::sealed::{self, Kind};
use crate::state::{Pack, PackState};
use crate::store::{Put, Stamp};
use crate::vault::Vault;

const SECONDS_OF_A_DAY: i64 = 86_400;
/// Every pack is read as a whole once in so many days.
const DAYS: i64 = 28;

/// What reading a pack as a whole found.
struct Found {
    stamp: Stamp,
    chunks: Vec<Name>,
    bad: BTreeSet<u32>,
}

impl Vault {
    /// Loads what was found before; nothing if there is nothing or it cannot be read.
    pub(crate) fn load_checks(&self) -> Result<Checks, VaultError> {
        match self.load_object((Kind::Checks, CHECKS), "checks") {
            Ok(bytes) => Ok(checks::decode(&bytes).unwrap_or_default()),
            // They only save work.
            Err(VaultError::Missing { .. } | VaultError::Damaged { .. }) => Ok(Checks::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes down what is known of the packs. Only the vault's writer does.
    pub(crate) fn store_checks(&self) -> Result<(), VaultError> {
        if !self.is_writer() {
            return Ok(());
        }
        if self.is_shared() {
            // Others note what they found in the same object.
            self.merge_checks(&self.load_checks()?);
        }
        let raw = checks::encode(&self.state().packs)?;
        let sealed = sealed::seal(&self.key, (Kind::Checks, CHECKS), &raw);
        let written = self.store.put(CHECKS, &sealed, Put::Replace);
        written.map(drop).map_err(self.file_error(CHECKS))
    }

    /// Takes over what others found of packs that are as they were then.
    fn merge_checks(&self, found: &Checks) {
        let mut state = self.state();
        let mut bad_places = Vec::new();
        for (number, pack) in (0_u32..).zip(&mut state.packs) {
            let PackState::Whole { stamp: Some(stamp) } = &pack.state else { continue };
            let check = found.of(pack.id);
            if check.stamp.is_none_or(|other| !other.agrees(stamp)) {
                continue;
            }
            pack.checked_at = pack.checked_at.max(check.checked_at);
            let new = check.bad.difference(&pack.bad).copied();
            bad_places.extend(new.map(|ordinal| Place { pack: number, ordinal }));
            pack.bad.extend(check.bad);
        }
        if !bad_places.is_empty() {
            state.index.remove(|place| bad_places.contains(&place));
        }
    }

    /// Reads a pack as a whole and notes what it found, at `at` seconds since the epoch if that is
    /// known; answers how many chunks it holds, or `None` if it cannot be read.
    pub(crate) fn check_pack(
        &self,
        number: u32,
        at: Option<i64>,
    ) -> Result<Option<usize>, VaultError> {
        let Some(id) = self.state().pack(number).map(|pack| pack.id) else { return Ok(None) };
        self.close_pack(number);
        let found = match self.read_pack(id) {
            Ok(found) => found,
            Err(error) if error.is_damage() => {
                self.check_its_key()?;
                let mut state = self.state();
                // It was removed while it was read.
                if state.pack(number).is_none_or(|pack| pack.state == PackState::Removed) {
                    return Ok(None);
                }
                state.index.remove(|place| place.pack == number);
                if let Some(pack) = state.pack(number) {
                    pack.state = PackState::Unreadable(error.to_string());
                    pack.checked_at = at.unwrap_or(pack.checked_at);
                }
                return Ok(None);
            }
            Err(error) => {
                let failed = self.file_error(PACKS);
                return Err(failed(std::io::Error::other(error)));
            }
        };
        let mut state = self.state();
        // One that was removed while it was read stays so.
        let pack = state.pack(number).filter(|pack| pack.state != PackState::Removed);
        let Some(pack) = pack else { return Ok(None) };
        pack.checked_at = at.unwrap_or(pack.checked_at);
        let before = std::mem::replace(&mut pack.bad, found.bad.clone());
        let was_whole = matches!(pack.state, PackState::Whole { .. });
        pack.state = PackState::Whole { stamp: Some(found.stamp) };
        if !was_whole {
            // It comes back with all that is whole.
            state.index.insert(number, found.chunks.iter().copied());
            state.forget_bad(number, &found.chunks, &found.bad);
            return Ok(Some(found.chunks.len()));
        }
        let newly_bad = found.bad.difference(&before).copied().collect();
        state.forget_bad(number, &found.chunks, &newly_bad);
        for ordinal in before.difference(&found.bad) {
            if let Some(chunk) = found.chunks.get(*ordinal as usize) {
                state.index.insert_place(*chunk, Place { pack: number, ordinal: *ordinal });
            }
        }
        Ok(Some(found.chunks.len()))
    }

    fn read_pack(&self, id: PackId) -> Result<Found, PackError> {
        let reader = PackReader::open(&self.key, self.store.as_ref(), id)?;
        reader.check_begin()?;
        let mut found = Found { stamp: reader.stamp(), chunks: Vec::new(), bad: BTreeSet::new() };
        for entry in reader.entries() {
            found.chunks.push(name_of(entry.id));
            match reader.chunk(entry) {
                Ok(raw) if self.name_chunk(&raw) == entry.id => {}
                Err(error) if !error.is_damage() => return Err(error),
                _ => drop(found.bad.insert(entry.ordinal)),
            }
        }
        Ok(found)
    }

    /// Reads some packs as a whole: those that cannot be read or have bad chunks, and then the ones
    /// that were read longest ago; a day's share a day, so that all are read within a month. Answers how many were read.
    pub fn check_some(&self, at: i64) -> Result<usize, VaultError> {
        if self.is_shared() {
            self.refresh()?;
        }
        let due = {
            let state = self.state();
            let kept = || {
                let packs = (0_u32..).zip(&state.packs);
                packs.filter(|(_, pack)| pack.state != PackState::Removed)
            };
            let share = i64::try_from(kept().count()).unwrap_or(i64::MAX) / DAYS + 1;
            let today = kept().filter(|(_, pack)| pack.checked_at > at - SECONDS_OF_A_DAY).count();
            let left = share - i64::try_from(today).unwrap_or(i64::MAX);
            // What could not be read may be readable again; what was found bad is looked at whole.
            let is_urgent = |pack: &Pack| match &pack.state {
                PackState::Unreadable(_) => true,
                _ => pack.checked_at == 0 && !pack.bad.is_empty(),
            };
            let mut due: Vec<_> = kept()
                .filter(|(_, pack)| is_urgent(pack) || pack.checked_at <= at - SECONDS_OF_A_DAY)
                .map(|(number, pack)| (!is_urgent(pack), pack.checked_at, number))
                .collect();
            due.sort_unstable();
            let urgent = due.iter().take_while(|(is_later, ..)| !is_later).count();
            due.truncate(urgent.max(usize::try_from(left).unwrap_or(0)));
            due
        };
        for (_, _, number) in &due {
            self.check_pack(*number, Some(at))?;
        }
        if !due.is_empty() {
            self.store_checks()?;
        }
        Ok(due.len())
    }

    /// What is known of the vault's health now: also what other processes wrote and found, and which
    /// snapshots could not be restored. Reads manifests and the lists in them, and no documents.
    pub fn survey(&self) -> Result<VaultHealth, VaultError> {
        if self.is_shared() {
            self.refresh()?;
            self.merge_checks(&self.load_checks()?);
        }
        let mut lost = self.find_lost()?;
        if !lost.is_empty() {
            // Retention and pruning go on meanwhile: what went with its manifest was not lost.
            if self.is_shared() {
                self.refresh()?;
            }
            let again = self.find_lost()?;
            lost.retain(|(snapshot, _)| again.iter().any(|(other, _)| other == snapshot));
        }
        Ok(VaultHealth { lost, ..self.health() })
    }

    /// What the vault knows of its own health, without reading anything.
    pub fn health(&self) -> VaultHealth {
        let state = self.state();
        let mut health = VaultHealth { lost: state.lost.clone(), ..VaultHealth::default() };
        for pack in state.packs.iter().filter(|pack| pack.state != PackState::Removed) {
            health.packs += 1;
            if pack.checked_at == 0 {
                health.packs_unread += 1;
            } else {
                let oldest = health.read_since.unwrap_or(i64::MAX).min(pack.checked_at);
                health.read_since = Some(oldest);
            }
            match &pack.state {
                PackState::Unreadable(reason) => {
                    health.unreadable_packs.push((pack.id.object(), reason.clone()));
                }
                PackState::Whole { stamp } => {
                    health.bad_chunks += pack.bad.len();
                    health.stored_bytes += stamp.as_ref().map_or(0, |stamp| stamp.size);
                }
                PackState::Removed => {}
            }
        }
        health
    }
}
