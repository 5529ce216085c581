//! Where a deployment is and who logs in.

use std::time::Duration;

use tidemark_model::Secret;

use crate::client::Client;
use crate::error::LinkError;
use crate::tls::Pins;

/// How to reach a deployment.
#[derive(Debug, Clone)]
pub enum Endpoint {
    /// An engine inside Tidemark, on one address.
    Embedded(Address),
    /// A deployment that somebody else runs.
    Attached(Client),
}

impl Endpoint {
    /// The same, for reading data: from the member that its settings ask for, and only from that.
    pub fn reading(&self) -> Result<Self, LinkError> {
        Ok(match self {
            Self::Embedded(_) => self.clone(),
            Self::Attached(client) => Self::Attached(client.reading()?),
        })
    }
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
    /// Which certificates it may show; without them the link has no TLS.
    pub pins: Option<Pins>,
}

/// How long a deployment may take before a connection to it is given up.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// To be reached, and for each answer until somebody is logged in.
    pub connecting: Duration,
    /// For each answer after that.
    pub answer: Duration,
}

impl Default for Patience {
    /// Building an index takes its time.
    fn default() -> Self {
        Self { connecting: Duration::from_secs(10), answer: Duration::from_hours(1) }
    }
}
