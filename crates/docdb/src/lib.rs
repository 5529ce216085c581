//! The embedded document database behind the MongoDB wire protocol.
//!
//! One `Server` is one instance: a folder, a TCP port, and what clients of a one-member replica
//! set expect of it. Acknowledged writes are on disk together with their oplog entries. What is
//! not supported is refused by name.

mod aggregate;
mod auth;
mod budget;
mod collections;
mod commands;
mod context;
mod cursor;
mod depth;
mod engine;
mod error;
mod expression;
mod fields;
mod filter;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod identity;
mod index;
mod key;
mod matcher;
mod number;
mod operation;
mod operations;
mod path;
mod projection;
mod query;
mod reply;
mod request;
#[cfg(test)]
mod robustness;
mod server;
mod session;
mod sort;
mod sorter;
mod spool;
mod tls;
mod transaction;
mod update;
mod withheld;
mod withheld_names;

pub use auth::{Grant, User, UserDirectory};
pub use identity::REPLICA_SET;
pub use matcher::Matcher;
pub use server::{Server, ServerConfig, ServerError};
pub use tls::ServerTls;
pub use withheld::Withheld;
