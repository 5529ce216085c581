//! The oplog segments of instances.

use std::collections::BTreeSet;

use tidemark_model::{OplogSpan, OplogTime};

use crate::error::VaultError;
use crate::layout::{OPLOG, segment_name};
use crate::locking::lock;
use crate::sealed::{self, Kind};
use crate::segment::OplogSegment;
use crate::vault::Vault;

/// Segments are merged up to about this size.
const MERGED_BYTES: usize = 16 * 1024 * 1024;

impl Vault {
    /// Stores a segment of an instance's oplog. Storing the same one again is fine.
    pub fn put_segment(&self, instance: &str, segment: &OplogSegment) -> Result<(), VaultError> {
        let name = segment_name(instance, segment.name);
        match self.put(&name, &self.seal_segment(instance, segment)?) {
            Err(VaultError::Exists { .. }) => {
                let present = self.load_segment(instance, segment.name)?;
                if present.entries != segment.entries {
                    return Err(VaultError::Exists { name });
                }
                self.store.settle(&name).map_err(self.file_error(&name))?;
                self.lock_again(&name)?;
            }
            outcome => outcome?,
        }
        self.change_names(instance, |names| {
            names.insert(segment.name);
        });
        Ok(())
    }

    /// A segment as it is stored, for whoever keeps it elsewhere for a while.
    pub fn seal_segment(
        &self,
        instance: &str,
        segment: &OplogSegment,
    ) -> Result<Vec<u8>, VaultError> {
        let name = segment_name(instance, segment.name);
        let encoded = segment.encode().map_err(self.file_error(&name))?;
        Ok(sealed::seal(&self.key, (Kind::Segment, &name), &encoded))
    }

    /// The segment that was sealed, proved to be what its header says.
    pub fn open_segment(
        &self,
        instance: &str,
        name: OplogSpan,
        sealed: &[u8],
    ) -> Result<OplogSegment, VaultError> {
        let object = segment_name(instance, name);
        let bytes = sealed::open(&self.key, (Kind::Segment, &object), sealed)
            .map_err(|reason| self.damaged(&object, reason))?;
        self.decode_segment(&object, name, &bytes)
    }

    fn decode_segment(
        &self,
        object: &str,
        name: OplogSpan,
        bytes: &[u8],
    ) -> Result<OplogSegment, VaultError> {
        OplogSegment::decode(bytes)
            .filter(|segment| segment.name == name && segment.is_whole())
            .ok_or_else(|| self.damaged(object, "it is not a whole segment"))
    }

    /// Changes what is remembered of an instance's segments, if it is remembered.
    fn change_names(&self, instance: &str, change: impl FnOnce(&mut BTreeSet<OplogSpan>)) {
        let mut segments = lock(&self.segments);
        if let Some(names) = segments.get_mut(instance) {
            change(names);
        }
    }

    /// The segments of an instance's oplog, in order. The vault's writer lists them once.
    pub fn segments(&self, instance: &str) -> Result<Vec<OplogSpan>, VaultError> {
        let known = {
            let segments = lock(&self.segments);
            segments.get(instance).map(|names| names.iter().copied().collect())
        };
        if let Some(known) = known {
            return Ok(known);
        }
        let folder = format!("{OPLOG}/{instance}");
        let names = self.store.list(&folder).map_err(self.file_error(&folder))?;
        let found: BTreeSet<OplogSpan> =
            names.iter().filter_map(|name| OplogSpan::parse(name)).collect();
        let list = found.iter().copied().collect();
        if self.is_only_writer() {
            let mut segments = lock(&self.segments);
            // What was stored while the folder was listed is in it or comes again.
            segments.entry(instance.to_owned()).or_default().extend(found);
        }
        Ok(list)
    }

    /// Loads a segment, and proves that it is what its header says.
    pub fn load_segment(
        &self,
        instance: &str,
        name: OplogSpan,
    ) -> Result<OplogSegment, VaultError> {
        let object = segment_name(instance, name);
        let bytes = self.load_object((Kind::Segment, &object), "oplog segment")?;
        self.decode_segment(&object, name, &bytes)
    }

    /// Removes a segment. Removing it twice is fine.
    pub fn remove_segment(&self, instance: &str, name: OplogSpan) -> Result<(), VaultError> {
        let object = segment_name(instance, name);
        self.store.remove(&object).map_err(self.file_error(&object))?;
        self.change_names(instance, |names| {
            names.remove(&name);
        });
        Ok(())
    }

    /// The instances that have oplog segments.
    pub fn captured_instances(&self) -> Result<Vec<String>, VaultError> {
        self.store.list(OPLOG).map_err(self.file_error(OPLOG))
    }

    /// Merges the small segments of an instance that follow each other and end before `before`
    /// into larger ones, one of them at a call; answers whether there was anything to merge.
    ///
    /// The merged one is stored before those that it replaces are removed. A crash between leaves
    /// both, and the next call removes what is left.
    pub fn merge_segments(&self, instance: &str, before: OplogTime) -> Result<bool, VaultError> {
        // What may not be removed yet is not merged either.
        let hold = u32::try_from(self.kept_for().as_secs()).unwrap_or(u32::MAX);
        let before = OplogTime::new(before.seconds.saturating_sub(hold), before.increment);
        let names = self.segments(instance)?;
        let names: Vec<_> =
            names.into_iter().filter(|name| hold == 0 || name.last < before).collect();
        if let Some(covered) = names.iter().find(|name| is_covered(**name, &names)) {
            return self.remove_merged(instance, *covered);
        }
        let names: Vec<_> = names.into_iter().filter(|name| name.last < before).collect();
        for start in 0..names.len() {
            let run: Vec<OplogSpan> = run_from(names.get(start..).unwrap_or_default());
            if run.len() < 2 {
                continue;
            }
            let Some((merged, parts)) = self.merge(instance, &run)? else { continue };
            self.put_segment(instance, &merged)?;
            for part in parts {
                self.remove_merged(instance, part)?;
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Removes a segment that another one holds; answers whether it is gone, and not kept because that was
    /// promised.
    fn remove_merged(&self, instance: &str, name: OplogSpan) -> Result<bool, VaultError> {
        match self.remove_segment(instance, name) {
            Err(VaultError::Kept { .. }) => Ok(false),
            outcome => outcome.map(|()| true),
        }
    }

    /// What the first ones of a run are together; nothing if two are too large already.
    fn merge(
        &self,
        instance: &str,
        run: &[OplogSpan],
    ) -> Result<Option<(OplogSegment, Vec<OplogSpan>)>, VaultError> {
        let mut parts = Vec::new();
        let mut merged: Option<OplogSegment> = None;
        for name in run {
            let next = self.load_segment(instance, *name)?;
            let Some(before) = &mut merged else {
                merged = Some(next);
                parts.push(*name);
                continue;
            };
            if before.append(next, MERGED_BYTES).is_err() {
                break;
            }
            parts.push(*name);
        }
        Ok(merged.filter(|_| parts.len() > 1).map(|merged| (merged, parts)))
    }
}

/// Whether another segment has all of this one: it was merged, and its removal was interrupted.
fn is_covered(name: OplogSpan, names: &[OplogSpan]) -> bool {
    name.first < name.last
        && names
            .iter()
            .any(|other| *other != name && other.first <= name.first && name.last <= other.last)
}

/// The segments from the first one on that follow each other without a gap.
fn run_from(names: &[OplogSpan]) -> Vec<OplogSpan> {
    let mut run: Vec<OplogSpan> = Vec::new();
    for name in names {
        // One position alone is where a range begins; it stays as it is.
        if name.first == name.last || run.last().is_some_and(|last| last.last != name.first) {
            break;
        }
        run.push(*name);
    }
    run
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::VaultKey;

    fn entry(second: u32) -> Vec<u8> {
        let ts = bson::Timestamp { time: second, increment: 1 };
        bson::doc! { "ts": ts, "op": "n", "ns": "", "text": "x".repeat(second as usize) }
            .to_vec()
            .unwrap()
    }

    fn segment(first: u32, last: u32) -> OplogSegment {
        OplogSegment {
            name: OplogSpan { first: OplogTime::new(first, 1), last: OplogTime::new(last, 1) },
            count: u64::from(last - first + 1),
            namespaces: vec![format!("d.c{first}")],
            entries: (first..=last).flat_map(entry).collect(),
        }
    }

    #[test]
    fn segments_are_merged_but_never_over_a_gap() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(folder.path(), VaultKey::from_bytes([1; 32])).unwrap();
        for (first, last) in
            [(1, 1), (1, 3), (3, 4), (4, 9), (20, 20), (20, 22), (22, 25), (25, 30)]
        {
            vault.put_segment("i", &segment(first, last)).unwrap();
        }
        let end = OplogTime::new(30, 1);
        while vault.merge_segments("i", end).unwrap() {}
        let names = |vault: &Vault| -> Vec<(u32, u32)> {
            let names = vault.segments("i").unwrap().into_iter();
            names.map(|name| (name.first.seconds, name.last.seconds)).collect()
        };
        assert_eq!(names(&vault), [(1, 1), (1, 9), (20, 20), (20, 25), (25, 30)]);
        let merged = vault.load_segment("i", segment(1, 9).name).unwrap();
        assert_eq!((merged.count, &merged.entries), (9, &segment(1, 9).entries));
        assert_eq!(merged.namespaces, ["d.c1", "d.c3", "d.c4"]);
        // A crash left parts behind that were merged.
        vault.put_segment("i", &segment(3, 4)).unwrap();
        while vault.merge_segments("i", end).unwrap() {}
        assert_eq!(names(&vault).len(), 5);
        drop(vault);
        let vault = Vault::open(folder.path(), VaultKey::from_bytes([1; 32])).unwrap();
        assert_eq!(names(&vault), [(1, 1), (1, 9), (20, 20), (20, 25), (25, 30)]);
    }

    #[test]
    fn a_segment_of_another_instance_does_not_load() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(folder.path(), VaultKey::from_bytes([1; 32])).unwrap();
        vault.put_segment("one", &segment(1, 3)).unwrap();
        vault.put_segment("two", &segment(1, 3)).unwrap();
        let path = |instance: &str| folder.path().join(segment_name(instance, segment(1, 3).name));
        std::fs::copy(path("one"), path("two")).unwrap();
        assert!(vault.load_segment("two", segment(1, 3).name).is_err());
        let damages = vault.verify().unwrap().damages;
        assert_eq!(damages.len(), 1, "{damages:?}");
        assert!(vault.load_segment("one", segment(1, 3).name).is_ok());
    }

    #[test]
    fn a_segment_that_is_not_what_its_header_says_does_not_load() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(folder.path(), VaultKey::from_bytes([1; 32])).unwrap();
        let broken = |change: fn(&mut OplogSegment)| {
            let mut segment = segment(1, 3);
            change(&mut segment);
            vault.put_segment("i", &segment).unwrap();
            let loaded = vault.load_segment("i", segment.name);
            vault.remove_segment("i", segment.name).unwrap();
            loaded.is_err()
        };
        assert!(broken(|segment| segment.count = 2));
        assert!(broken(|segment| segment.name.last = OplogTime::new(4, 1)));
        assert!(broken(|segment| segment.entries.extend([9, 0, 0, 0, 0])));
        assert!(broken(|segment| segment.entries.truncate(segment.entries.len() - 1)));
        assert!(!broken(|_| ()));
    }
}
