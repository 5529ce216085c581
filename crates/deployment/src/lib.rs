//! Links to MongoDB deployments: connect, probe what they can do, raw batches in and out.
//!
//! Every deployment is spoken to over the MongoDB wire protocol, the embedded ones included: over one
//! connection to one address. Attached ones are spoken to through the official driver, which knows
//! topologies, certificates and logins. Whoever moves data does not see the difference.

mod abilities;
mod client;
mod connection;
mod driver_link;
mod endpoint;
mod error;
mod listing;
mod memory_file;
mod wire_link;

pub use client::Client;
pub use connection::{Connection, Patience, Sent};
pub use endpoint::{Address, Endpoint};
pub use error::LinkError;
pub use abilities::{Abilities, Product, newest_entry, open_snapshot, probe};
pub use listing::{CollectionListing, STAGE_PREFIX, list_collections, list_indexes};
