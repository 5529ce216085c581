//! Ids of the domain: ObjectIds written as 24 lower-case hex digits, one type each.
//!
//! The first four bytes are the creation second, as drivers and Atlas expect, so
//! that ids of one kind sort by age.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};

use crate::secret::random_bytes;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an id: 24 lower-case hex digits are expected")]
pub struct IdError {
    /// The text as given.
    pub text: String,
}

/// Makes the bytes of a new ObjectId: seconds, five random bytes of this process, a counter.
///
/// Ids of one process sort in the order in which they were made.
pub fn new_object_id(created_at: jiff::Timestamp) -> [u8; 12] {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    static PROCESS: LazyLock<[u8; 5]> = LazyLock::new(random_bytes);
    let seconds = u32::try_from(created_at.as_second()).unwrap_or(0);
    let mut bytes = [0; 12];
    let (time, rest) = bytes.split_at_mut(4);
    time.copy_from_slice(&seconds.to_be_bytes());
    let (random, counter) = rest.split_at_mut(5);
    random.copy_from_slice(&*PROCESS);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    counter.copy_from_slice(count.get(1..).unwrap_or(&[0; 3]));
    bytes
}

fn parse_hex(text: &str) -> Result<[u8; 12], IdError> {
    let invalid = || IdError { text: text.chars().take(64).collect() };
    if text.len() != 24 {
        return Err(invalid());
    }
    let mut bytes = [0; 12];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = pair.iter().try_fold(0u8, |value, digit| {
            let digit = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return Err(invalid()),
            };
            Ok(value << 4 | digit)
        })?;
    }
    Ok(bytes)
}

macro_rules! object_id {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; 12]);

        impl $name {
            /// A new id whose first bytes say `created_at`.
            pub fn new(created_at: jiff::Timestamp) -> Self {
                Self(new_object_id(created_at))
            }

            /// When it was made, in whole seconds.
            pub fn made_at(self) -> jiff::Timestamp {
                let [a, b, c, d, ..] = self.0;
                let seconds = i64::from(u32::from_be_bytes([a, b, c, d]));
                jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX)
            }

            /// The id with these bytes.
            pub const fn from_bytes(bytes: [u8; 12]) -> Self {
                Self(bytes)
            }

            /// The twelve bytes.
            pub const fn bytes(self) -> [u8; 12] {
                self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_hex(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    )*};
}

object_id! {
    /// An organization.
    OrgId
    /// A project, which Atlas calls group.
    ProjectId
    /// An instance: a serverless instance, a flex cluster or a cluster.
    InstanceId
    /// A process that serves the records, over all its starts.
    NodeId
    /// One start of a node.
    NodeRun
    /// A snapshot.
    SnapshotId
    /// A restore job.
    RestoreJobId
    /// A restore drill.
    DrillId
    /// Something that happened.
    EventId
    /// A programmatic API key (its id, not its public part).
    ApiKeyId
    /// A service account; its client id is `mdb_sa_id_` and these digits.
    ServiceAccountId
    /// One secret of a service account.
    SecretId
    /// A database user.
    DatabaseUserId
    /// The policy of a backup schedule.
    PolicyId
    /// One line of a policy.
    PolicyItemId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text() {
        let id = SnapshotId::new(jiff::Timestamp::from_second(1_700_000_000).unwrap());
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(id.to_string().starts_with("6553f100"));
    }

    #[test]
    fn ids_of_one_second_sort_in_the_order_in_which_they_were_made() {
        let now = jiff::Timestamp::from_second(1_700_000_000).unwrap();
        let ids: Vec<_> = (0..50).map(|_| RestoreJobId::new(now)).collect();
        assert!(ids.is_sorted());
    }

    #[test]
    fn what_is_not_24_lower_case_hex_digits_is_refused() {
        for text in
            ["", "6553F1000000000000000000", "6553f10000000000000000", "6553f100000000000000000g"]
        {
            assert!(text.parse::<ProjectId>().is_err(), "{text}");
        }
    }
}
