//! How many requests may still be made, where several nodes count them.

use jiff::Timestamp;

use crate::catalog::Catalog;
use crate::database::OptionalExtension;
use crate::error::CatalogError;

/// A bucket of requests that fills itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateBucket<'a> {
    /// What it counts.
    pub name: &'a str,
    /// Who shares it.
    pub scope: &'a str,
    /// How many requests fill it.
    pub capacity: u64,
    /// How many come back in a minute.
    pub refill: u64,
}

/// What was taken out of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakenRequests {
    /// So many requests, and how many are left.
    Some {
        /// At least one.
        taken: u64,
        /// For others.
        left: u64,
    },
    /// Seconds until there is one.
    None {
        /// Rounded up.
        wait_seconds: u64,
    },
}

/// How many requests are taken at once: a fiftieth, so that whoever takes them for a while leaves
/// nobody else without, and each by itself where few are left.
const SHARE: u64 = 50;
const MOST: u64 = 20;
const THOUSANDTHS: u64 = 1_000;
const MINUTE_MILLISECONDS: u64 = 60_000;

impl Catalog {
    /// Takes some requests out of a bucket.
    pub fn take_requests(
        &self,
        bucket: &RateBucket<'_>,
        now: Timestamp,
    ) -> Result<TakenRequests, CatalogError> {
        let full = bucket.capacity * THOUSANDTHS;
        let now = now.as_millisecond();
        self.transact_quietly(|catalog| {
            let connection = catalog.lock();
            let found: Option<(i64, i64)> = connection
                .query_row(
                    "SELECT left_over, filled_at FROM rate_buckets WHERE name = ?1 AND scope = ?2",
                    (bucket.name, bucket.scope),
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
                .optional()?;
            // A node whose clock is behind must not have it filled twice.
            let filled_at = found.map_or(now, |(_, filled_at)| filled_at.max(now));
            let left = found.map_or(full, |(left, filled_at)| {
                let passed = u64::try_from(now.saturating_sub(filled_at)).unwrap_or(0);
                // A thousandth in a minute is one in a thousand minutes.
                let came = passed.saturating_mul(bucket.refill) * THOUSANDTHS / MINUTE_MILLISECONDS;
                left.unsigned_abs().saturating_add(came).min(full)
            });
            if left < THOUSANDTHS {
                let rate = bucket.refill.max(1) * THOUSANDTHS;
                return Ok(TakenRequests::None { wait_seconds: ((THOUSANDTHS - left) * 60).div_ceil(rate) });
            }
            let taken = (left / THOUSANDTHS / SHARE).clamp(1, MOST);
            let left = left - taken * THOUSANDTHS;
            connection.execute(
                "INSERT INTO rate_buckets (name, scope, left_over, filled_at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (name, scope) DO UPDATE SET left_over = excluded.left_over, filled_at = excluded.filled_at",
                (bucket.name, bucket.scope, left.cast_signed(), filled_at),
            )?;
            Ok(TakenRequests::Some { taken, left: left / THOUSANDTHS })
        })
    }

    /// Forgets buckets that are full again in any case.
    pub fn forget_buckets(&self, untouched_since: Timestamp) -> Result<usize, CatalogError> {
        let sql = "DELETE FROM rate_buckets WHERE filled_at < ?1";
        Ok(self.lock_quietly().execute(sql, [untouched_since.as_millisecond()])?)
    }
}
