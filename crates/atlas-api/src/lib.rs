//! The HTTP contract of the Atlas Administration API v2.
//!
//! Versions, authentication, roles, bodies, errors and paging as the real service has them;
//! `docs/api.md` lists what is offered. Handlers record what is wanted and start nothing.

mod answer;
mod api;
mod auth;
mod body;
mod call;
mod digest_auth;
mod error;
mod links;
mod operation;
mod operations;
mod render;
mod request;
#[cfg(test)]
mod tests;
mod token;
mod token_endpoint;
mod version;

pub use api::{Api, ApiConfig, Sunset};
pub use digest_auth::{REALM, ha1};
pub use request::serve;
pub use token::{client_id_of, hash_secret};
