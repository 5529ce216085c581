//! Moments that stay readable by their time: what snapshot reads go back to.
//!
//! A moment can be read by one thread at a time, so each pin keeps a few of the same one and lends
//! them. A pin ends when nobody has used it for the window, or when the file has grown too much
//! since: a held moment costs disk, because pages that it shows are not used again. Whoever asks
//! after that is told that the snapshot is too old, as on every MongoDB server.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tidemark_model::OplogTime;
use tidemark_store::Moment;

use super::durability::lock;
use crate::collections::Catalog;
use crate::error::Result;
use crate::operation;

/// How long an unused pin stays, MongoDB's default history window.
const HISTORY_WINDOW: Duration = Duration::from_mins(5);
/// A reader that comes back within this time is at work.
const RESTING: Duration = Duration::from_secs(10);
/// How often who waits for a moment looks whether its time is over.
const POOL_PAUSE: Duration = Duration::from_millis(100);
/// More pins are not kept; the one that was not used for the longest time goes.
const MOST_PINS: usize = 64;

/// The pinned moments of an engine. Held for lookups; moments are opened and waited for without it.
#[derive(Default)]
pub(super) struct Pins(Mutex<BTreeMap<OplogTime, Pin>>);

struct Pin {
    pool: Arc<Pool>,
    catalog: Arc<Catalog>,
    last_used: Instant,
    /// What the file took of the disk when the pin was made.
    disk_bytes: u64,
}

/// Copies of one moment that nobody uses right now. Held for taking one and for putting it back.
struct Pool {
    idle: Mutex<Vec<Moment>>,
    returned: Condvar,
}

/// A moment that is lent; dropping it gives it back.
pub(super) struct Pooled {
    moment: Option<Moment>,
    pool: Arc<Pool>,
}

impl Pins {
    /// How many may read one moment at the same time; more wait for each other.
    pub(super) const READERS: usize = 6;

    /// Says that a pin is used; `false` if there is none.
    pub(super) fn renew(&self, at: OplogTime) -> bool {
        let mut pins = lock(&self.0);
        let found = pins.get_mut(&at);
        found.map(|pin| pin.last_used = Instant::now()).is_some()
    }

    /// Keeps a moment; without copies of it there is nothing to keep.
    pub(super) fn keep(
        &self,
        (at, disk_bytes): (OplogTime, u64),
        catalog: Arc<Catalog>,
        moments: Vec<Moment>,
    ) {
        if moments.is_empty() {
            return;
        }
        let pool = Arc::new(Pool { idle: Mutex::new(moments), returned: Condvar::new() });
        let pin = Pin { pool, catalog, last_used: Instant::now(), disk_bytes };
        let mut pins = lock(&self.0);
        while pins.len() >= MOST_PINS {
            let oldest = pins.iter().min_by_key(|(_, pin)| pin.last_used).map(|(at, _)| *at);
            let Some(oldest) = oldest else { break };
            pins.remove(&oldest);
        }
        pins.insert(at, pin);
    }

    /// Lends a pinned moment, when one is free.
    pub(super) fn borrow(&self, at: OplogTime) -> Result<Option<(Pooled, Arc<Catalog>)>> {
        let (pool, catalog) = {
            let mut pins = lock(&self.0);
            let Some(pin) = pins.get_mut(&at) else { return Ok(None) };
            pin.last_used = Instant::now();
            (Arc::clone(&pin.pool), Arc::clone(&pin.catalog))
        };
        let mut idle = lock(&pool.idle);
        let moment = loop {
            if let Some(moment) = idle.pop() {
                break moment;
            }
            operation::check_now()?;
            let waited = pool.returned.wait_timeout(idle, POOL_PAUSE);
            idle = waited.unwrap_or_else(PoisonError::into_inner).0;
        };
        drop(idle);
        Ok(Some((Pooled { moment: Some(moment), pool }, catalog)))
    }

    /// Ends pins that nobody uses, and those that cost more of the disk than `most`; a half of
    /// that ends one that was not used for a while.
    pub(super) fn end_old(&self, (disk_bytes, left_bytes): (u64, u64), most: u64) {
        lock(&self.0).retain(|_, pin| {
            let unused = pin.last_used.elapsed();
            let allowed = if unused < RESTING { most } else { most / 2 };
            let cost = disk_bytes.saturating_sub(pin.disk_bytes);
            // Never what the disk does not have.
            unused < HISTORY_WINDOW && cost <= allowed && left_bytes >= cost / 2
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        lock(&self.0).is_empty()
    }
}

impl Deref for Pooled {
    type Target = Moment;

    fn deref(&self) -> &Moment {
        #[expect(clippy::expect_used, reason = "it is taken out when this is dropped")]
        self.moment.as_ref().expect("a moment that is lent")
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        lock(&self.pool.idle).extend(self.moment.take());
        self.pool.returned.notify_one();
    }
}
