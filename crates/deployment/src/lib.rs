//! Links to MongoDB deployments: connect, probe what they can do, raw batches in and out.
//!
//! Every deployment is spoken to over the MongoDB wire protocol, the embedded ones included. What
//! is here is the link to one server at one address; links to replica sets and through other
//! drivers belong beside it.

mod connection;
mod error;
mod listing;

pub use connection::{Connection, Endpoint, Patience, Sent};
pub use error::LinkError;
pub use listing::{
    Abilities, CollectionListing, STAGE_PREFIX, list_collections, list_indexes, newest_entry,
    open_snapshot, probe,
};
