//! Links to MongoDB deployments: connect, probe what they can do, raw batches in and out.
//!
//! Every deployment is spoken to over the MongoDB wire protocol, the embedded ones included: over one
//! connection to one address. Attached ones are spoken to through the official driver, which knows
//! topologies, certificates and logins. Whoever moves data does not see the difference.

mod abilities;
mod batch;
mod claim;
mod client;
mod connection;
mod driver_link;
mod endpoint;
mod error;
mod listing;
mod memory_file;
mod privileges;
mod report;
mod scope;
mod tls;
mod wire_link;

pub use abilities::{
    Abilities, Product, has_buckets_apart, newest_entry, open_snapshot, probe, unless_refused,
};
pub use claim::{claim, give_claim_up};
pub use client::Client;
pub use connection::{Connection, Sent};
pub use endpoint::{Address, Endpoint, Patience};
pub use error::LinkError;
pub use listing::{
    ATTACHED_STAGE_PREFIX, CollectionListing, STAGE_PREFIX, STORED_FUNCTIONS, TIME_SERIES,
    buckets_of, drop_database, is_of_server, is_stage, lasting, list_collections, list_databases,
    list_indexes, time_series_of,
};
pub use report::{OPLOG, report};
pub use scope::{ELSEWHERE, INTERNAL_DATABASES};
pub use tls::{Pins, fingerprint};
