//! What every instance says it is.

/// The name of the one-member replica set that every instance poses as.
pub const REPLICA_SET: &str = "rs0";
