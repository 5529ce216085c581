//! A store that removes nothing of a backup before its time, whoever asks.

use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::contract::{Listed, NewObject, Object, Put, Rewriter, Stamp, Store};
use super::requests::RequestKind;

/// By so much the clocks of this process and of the store may differ.
const CLOCKS: Duration = Duration::from_hours(1);

/// For how many seconds objects are kept after they were written; it only grows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hold(Arc<AtomicU64>);

impl Hold {
    pub(crate) fn get(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed))
    }

    pub(crate) fn raise(&self, least: Duration) {
        self.0.fetch_max(least.as_secs(), Ordering::Relaxed);
    }
}

/// Why an object is not removed.
#[derive(Debug, thiserror::Error)]
#[error("it is kept for another {} hours", .left.as_secs().div_ceil(3_600))]
pub(crate) struct Kept {
    pub(crate) left: Duration,
}

/// A store in front of another one.
pub(crate) struct KeepingStore {
    inner: Arc<dyn Store>,
    hold: Hold,
    /// The folders whose objects are kept.
    folders: &'static [&'static str],
}

impl KeepingStore {
    pub(crate) fn new(inner: Box<dyn Store>, hold: Hold, folders: &'static [&'static str]) -> Self {
        Self { inner: inner.into(), hold, folders }
    }

    /// For how long an object is kept; nothing if that is not at all.
    fn hold_of(&self, name: &str) -> Option<Duration> {
        let is_of =
            |folder: &&str| name.strip_prefix(*folder).is_some_and(|rest| rest.starts_with('/'));
        let hold = self.hold.get();
        (!hold.is_zero() && self.folders.iter().any(is_of)).then_some(hold)
    }

    /// Refuses to touch an object before its time.
    fn check(&self, name: &str) -> Result<()> {
        let Some(hold) = self.hold_of(name) else { return Ok(()) };
        let written = match self.inner.written(name) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            outcome => outcome?,
        };
        // A clock that went back says that it is younger than nothing.
        let age = written.elapsed().unwrap_or(Duration::ZERO);
        match hold.checked_sub(age) {
            Some(left) if !left.is_zero() => {
                Err(Error::new(ErrorKind::PermissionDenied, Kept { left }))
            }
            _ => Ok(()),
        }
    }
}

/// The instant in a while, by the clock of stores: a clock that tests advance is nothing to them.
pub(crate) fn from_now(duration: Duration) -> Option<SystemTime> {
    let since = SystemTime::UNIX_EPOCH.elapsed().ok()?;
    SystemTime::UNIX_EPOCH.checked_add(since.checked_add(duration)?)
}

/// Lets the store itself keep an object that was just written, if it can.
fn lock(store: &dyn Store, name: &str, hold: Option<Duration>) -> Result<()> {
    let until = hold.and_then(|hold| from_now(hold + CLOCKS));
    until.map_or(Ok(()), |until| store.retain(name, until).map(drop))
}

/// A kept object in the making.
struct KeptNewObject {
    object: Box<dyn NewObject>,
    store: Arc<dyn Store>,
    name: String,
    hold: Option<Duration>,
}

impl NewObject for KeptNewObject {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.object.write(bytes)
    }

    fn finish(self: Box<Self>) -> Result<Stamp> {
        let Self { object, store, name, hold } = *self;
        let stamp = object.finish()?;
        lock(store.as_ref(), &name, hold)?;
        Ok(stamp)
    }
}

impl Store for KeepingStore {
    fn list(&self, folder: &str) -> Result<Vec<String>> {
        self.inner.list(folder)
    }

    fn list_objects(&self, folder: &str) -> Result<Vec<Listed>> {
        self.inner.list_objects(folder)
    }

    fn open_end(&self, name: &str, bytes: u64) -> Result<(Box<dyn Object>, Vec<u8>)> {
        self.inner.open_end(name, bytes)
    }

    fn open_known(&self, name: &str, stamp: Stamp) -> Result<Box<dyn Object>> {
        self.inner.open_known(name, stamp)
    }

    fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        self.inner.read(name, limit)
    }

    fn put(&self, name: &str, bytes: &[u8], put: Put) -> Result<Stamp> {
        if put == Put::Replace {
            self.check(name)?;
        }
        let stamp = self.inner.put(name, bytes, put)?;
        lock(self.inner.as_ref(), name, self.hold_of(name))?;
        Ok(stamp)
    }

    fn rewrite(&self, name: &str, limit: u64, change: Rewriter<'_>) -> Result<Option<Stamp>> {
        // What stays as it is may be looked at before its time.
        let mut guarded = |bytes: &[u8]| match change(bytes)? {
            None => Ok(None),
            changed => self.check(name).map(|()| changed),
        };
        let stamp = self.inner.rewrite(name, limit, &mut guarded)?;
        if stamp.is_some() {
            lock(self.inner.as_ref(), name, self.hold_of(name))?;
        }
        Ok(stamp)
    }

    fn create(&self, name: &str) -> Result<Box<dyn NewObject>> {
        let object = self.inner.create(name)?;
        let (store, name) = (Arc::clone(&self.inner), name.to_owned());
        let hold = self.hold_of(&name);
        Ok(Box::new(KeptNewObject { object, store, name, hold }))
    }

    fn retain(&self, name: &str, until: SystemTime) -> Result<bool> {
        self.inner.retain(name, until)
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.check(name)?;
        self.inner.remove(name)
    }

    fn remove_unfinished(&self, folder: &str) -> Result<()> {
        self.inner.remove_unfinished(folder)
    }

    fn stamp(&self, name: &str) -> Result<Stamp> {
        self.inner.stamp(name)
    }

    fn written(&self, name: &str) -> Result<SystemTime> {
        self.inner.written(name)
    }

    fn settle(&self, name: &str) -> Result<()> {
        self.inner.settle(name)
    }

    fn requests(&self) -> Vec<(RequestKind, u64)> {
        self.inner.requests()
    }
}
