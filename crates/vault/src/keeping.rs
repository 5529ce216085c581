//! How long what is written is kept, whoever wants it removed.
//!
//! `keeping/<hours>` is a sealed object for each such promise; the longest one counts. It is
//! in the vault itself, so that another configuration or another program of ours cannot break it.

use std::time::Duration;

use crate::error::VaultError;
use crate::layout::{CONFIGURATION, KEEPING};
use crate::locking::lock;
use crate::pack::PackId;
use crate::sealed::{self, Kind};
use crate::state::PackState;
use crate::store::from_now;
use crate::vault::Vault;

/// Snapshots are looked at so often to see which packs they need.
const LOOK_INTERVAL: Duration = Duration::from_hours(24);
/// For so long the first object is locked, to see whether that is possible.
const TRIAL: Duration = Duration::from_hours(1);

fn object_of(hours: u32) -> String {
    format!("{KEEPING}/{hours}")
}

impl Vault {
    /// For how long what is written is kept at least.
    pub fn kept_for(&self) -> Duration {
        self.hold.get()
    }

    /// Promises to keep packs, manifests and captured entries for so many hours after they were written. The
    /// promise is never taken back: a shorter one changes nothing.
    pub fn keep_for(&self, hours: u32) -> Result<(), VaultError> {
        let wanted = Duration::from_hours(u64::from(hours));
        if wanted.max(self.hold.get()).is_zero() {
            return Ok(());
        }
        // Where the store is to keep objects itself, whoever made a mistake is told at once.
        if let Some(trial) = from_now(TRIAL) {
            self.store.retain(CONFIGURATION, trial).map_err(self.file_error(CONFIGURATION))?;
        }
        if wanted < self.hold.get() {
            return Ok(());
        }
        let name = object_of(hours);
        let sealed = sealed::seal(&self.key, (Kind::Keeping, &name), hours.to_string().as_bytes());
        // The promise itself is kept as well.
        self.hold.raise(wanted);
        match self.put(&name, &sealed) {
            Err(VaultError::Exists { .. }) => self.lock_again(&name),
            outcome => outcome,
        }
    }

    /// Lets a store that can do that keep all packs: one may be older than a snapshot that was taken today and
    /// needs it. Called every day, so that each is kept as long as was promised whenever it is needed; one that
    /// was looked at need not be again until the promise and a day are all that is left. What snapshots say
    /// does not count, and one that cannot be kept holds up no other: somebody may have damaged them so that
    /// the locks of the rest run out.
    pub(crate) fn extend_locks(&self) -> Result<(), VaultError> {
        let least = self.kept_for().saturating_add(LOOK_INTERVAL);
        let (Some(until), Some(least)) = (from_now(least.saturating_mul(2)), from_now(least))
        else {
            return Ok(());
        };
        if self.kept_for().is_zero() {
            return Ok(());
        }
        let packs: Vec<PackId> = {
            let state = self.state();
            let kept = state.packs.iter().filter(|pack| pack.state != PackState::Removed);
            kept.map(|pack| pack.id).collect()
        };
        let mut first_failure = Ok(());
        for id in packs {
            if lock(&self.locks).get(&id).is_some_and(|until| *until >= least) {
                continue;
            }
            let name = id.object();
            match self.store.retain(&name, until).map_err(self.file_error(&name)) {
                Ok(true) => drop(lock(&self.locks).insert(id, until)),
                Ok(false) => break,
                Err(error) => first_failure = first_failure.and(Err(error)),
            }
        }
        first_failure
    }

    /// Lets the store keep an object that somebody wrote who may have ended before that.
    pub(crate) fn lock_again(&self, name: &str) -> Result<(), VaultError> {
        let hold = self.kept_for();
        if !hold.is_zero()
            && let Some(until) = from_now(hold.saturating_add(TRIAL))
        {
            self.store.retain(name, until).map_err(self.file_error(name))?;
        }
        Ok(())
    }

    /// Learns what was promised, by whoever it was.
    pub fn load_promises(&self) -> Result<(), VaultError> {
        for name in self.store.list(KEEPING).map_err(self.file_error(KEEPING))? {
            let Ok(hours) = name.parse::<u32>() else { continue };
            let object = object_of(hours);
            let said = self.load_object((Kind::Keeping, &object), "promise")?;
            if said == hours.to_string().as_bytes() {
                self.hold.raise(Duration::from_hours(u64::from(hours)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tidemark_model::{OplogSpan, OplogTime};

    use super::*;
    use crate::store::Put;
    use crate::{CopyOptions, OplogSegment, VaultKey};

    fn key() -> VaultKey {
        VaultKey::from_bytes([1; 32])
    }

    fn segment() -> OplogSegment {
        let ts = bson::Timestamp { time: 1, increment: 1 };
        let entries = bson::doc! { "ts": ts, "op": "n", "ns": "" }.to_vec().unwrap();
        let at = OplogTime::new(1, 1);
        OplogSegment {
            name: OplogSpan { first: at, last: at },
            count: 1,
            namespaces: vec![],
            entries,
        }
    }

    #[test]
    fn what_is_promised_to_be_kept_is_removed_by_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("vault");
        let vault = Vault::open(&root, key()).unwrap();
        vault.put_segment("i", &segment()).unwrap();
        vault.store.put("snapshots/one", b"x", Put::New).unwrap();
        vault.store.put("packs/two", b"x", Put::New).unwrap();
        vault.keep_for(48).unwrap();
        vault.keep_for(1).unwrap();
        drop(vault);
        // Whoever opens it next is bound, whatever its configuration says.
        let vault = Vault::open(&root, key()).unwrap();
        assert_eq!(vault.kept_for(), Duration::from_hours(48));
        let is_kept = |outcome: Result<(), VaultError>| {
            matches!(outcome, Err(VaultError::Kept { hours_left: 48, .. }))
        };
        assert!(is_kept(vault.remove_segment("i", segment().name)));
        assert!(is_kept(vault.remove_manifest("one")));
        let replaced = vault.store.put("snapshots/one", b"y", Put::Replace);
        assert!(replaced.is_err());
        assert!(vault.store.remove("packs/two").is_err());
        assert!(vault.store.remove("keeping/48").is_err());
        // Two days later they may go.
        for name in ["snapshots/one".to_owned(), format!("oplog/i/{}", segment().name)] {
            let file = std::fs::File::options().append(true).open(root.join(name)).unwrap();
            let written = file.metadata().unwrap().modified().unwrap();
            file.set_modified(written - Duration::from_hours(49)).unwrap();
        }
        vault.remove_segment("i", segment().name).unwrap();
        vault.remove_manifest("one").unwrap();
        // What is not a part of a backup is not kept.
        vault.store.put("checks", b"x", Put::Replace).unwrap();
        vault.store.remove("checks").unwrap();
    }

    #[test]
    fn a_copy_keeps_what_it_promised_to_keep() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        let vault = Vault::open(&one, key()).unwrap();
        vault.put_segment("i", &segment()).unwrap();
        let options = CopyOptions { verify: false, remove_gone: true };
        let copy = Vault::open(&two, key()).unwrap();
        vault.copy_to(&copy, options).unwrap();
        copy.keep_for(24).unwrap();
        vault.remove_segment("i", segment().name).unwrap();
        let report = vault.copy_to(&copy, options).unwrap();
        assert_eq!((report.removed, copy.segments("i").unwrap().len()), (0, 1));
    }
}
