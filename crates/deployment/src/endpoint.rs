//! Where a deployment is and who logs in.

use tidemark_model::Secret;

use crate::client::Client;

/// How to reach a deployment.
#[derive(Debug, Clone)]
pub enum Endpoint {
    /// An engine inside Tidemark, on one address.
    Embedded(Address),
    /// A deployment that somebody else runs.
    Attached(Client),
}

/// Where an embedded engine is and who logs in.
#[derive(Debug, Clone)]
pub struct Address {
    /// `host:port`.
    pub address: String,
    /// The user, authenticated against `admin`.
    pub user: String,
    /// The user's password.
    pub password: Secret,
}
