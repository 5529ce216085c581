//! The HTTP contract of the Atlas Administration API v2.
//!
//! Versions, authentication, roles, bodies, errors and paging as the real service has them;
//! `docs/api.md` lists what is offered. Handlers record what is wanted and start nothing.

mod acting;
mod answer;
mod api;
mod asked;
mod auth;
mod body;
mod call;
mod counts;
mod credentials;
mod dev;
mod digest_auth;
mod error;
mod guessing;
mod identity;
mod incoming;
mod links;
mod metrics;
mod openapi;
mod operation;
mod operations;
mod own;
mod private;
mod rate_limit;
mod render;
mod request;
mod response;
mod routing;
mod sign_in;
mod signing;
mod start;
mod strict_json;
#[cfg(test)]
mod tests;
mod ticket;
mod token;
mod token_endpoint;
mod usage;
mod version;

pub use acting::{Act, Refusal};
pub use api::{
    Api, ApiConfig, Attacher, Comparison, DevMode, Hosts, InspectError, Inspector, IsGone, OneHost,
    Opening, ReportKey, ResetError, Say, Search, Sunset,
};
pub use asked::OperationId;
pub use credentials::{
    KeyPair, account_of, client_id_of, hash_secret, mask_private_key, new_account_secret,
    secret_record,
};
pub use digest_auth::{REALM, answer_challenge, ha1};
pub use incoming::Ends;
pub use own::describe_position;
pub use rate_limit::RateLimits;
pub use request::serve;
pub use sign_in::SignIn;
pub use ticket::ImportTicket;
