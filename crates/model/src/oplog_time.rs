//! A position in an oplog.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A BSON timestamp: a second since the epoch, and the entry's number within it.
///
/// Unique and ordered within one replica set.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct OplogTime {
    /// Seconds since the Unix epoch.
    pub seconds: u32,
    /// The entry's number within that second, from 1.
    pub increment: u32,
}

impl OplogTime {
    /// The position with these parts.
    pub const fn new(seconds: u32, increment: u32) -> Self {
        Self { seconds, increment }
    }

    /// The last position that a second can hold.
    pub const fn end_of_second(seconds: u32) -> Self {
        Self { seconds, increment: u32::MAX }
    }

    /// Both parts in one number that keeps the order.
    pub fn to_u64(self) -> u64 {
        u64::from(self.seconds) << 32 | u64::from(self.increment)
    }

    /// The inverse of [`Self::to_u64`].
    #[expect(clippy::cast_possible_truncation, reason = "the two halves are taken apart")]
    pub fn from_u64(value: u64) -> Self {
        Self { seconds: (value >> 32) as u32, increment: value as u32 }
    }
}

impl fmt::Display for OplogTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seconds, self.increment)
    }
}
