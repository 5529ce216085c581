//! Callers that were looked up.

use std::collections::HashMap;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;
use tidemark_model::Caller;

/// A caller, and what is asked of its address.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) caller: Caller,
    /// From where it may come; everywhere if there are none.
    pub(crate) blocks: Vec<IpNet>,
    /// Whether its organization wants an access list.
    pub(crate) needs_blocks: bool,
    /// Checks digest answers; API keys only.
    pub(crate) ha1: String,
    /// When a token ends; tokens only.
    pub(crate) expires_at: Option<Timestamp>,
}

/// Identities by token or public key, good for one generation of the catalog.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) generation: u64,
    pub(crate) identities: HashMap<String, Arc<Identity>>,
}
