//! What the connections of an instance share, and what a command needs to run.

use std::collections::HashMap;
use std::net::{IpAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bson::oid::ObjectId;
use tidemark_model::Throttle;

use crate::auth::{Login, UserDirectory};
use crate::budget::Budget;
use crate::cursor::Cursors;
use crate::engine::Engine;
use crate::operations::Operations;
use crate::tls::ServerTls;
use crate::withheld::Withheld;

/// More connections are closed at once.
pub(crate) const MOST_CONNECTIONS: usize = 4_000;

/// What all connections of an instance share.
pub(crate) struct Shared {
    pub(crate) engine: Arc<Engine>,
    pub(crate) cursors: Cursors,
    pub(crate) users: Arc<dyn UserDirectory>,
    pub(crate) withheld: Withheld,
    pub(crate) tls: Option<Arc<dyn ServerTls>>,
    pub(crate) advertised: String,
    pub(crate) process: ObjectId,
    pub(crate) stopping: AtomicBool,
    pub(crate) throttle: Throttle,
    pub(crate) messages: Budget,
    pub(crate) operations: Operations,
    pub(crate) started: Instant,
    /// Makes what unknown users are told; see `Login::start`.
    pub(crate) decoy_key: [u8; 32],
    /// Held for putting one in, for taking one out, and for closing all.
    pub(crate) connections: Mutex<HashMap<u64, TcpStream>>,
    pub(crate) next_connection: AtomicU64,
}

/// What a command needs to run.
pub(crate) struct Context<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) login: &'a mut Login,
    pub(crate) connection: u64,
    pub(crate) address: IpAddr,
}

impl Shared {
    /// As `serverStatus` shows them.
    pub(crate) fn connection_counts(&self) -> bson::Document {
        let current = self.lock_connections().len();
        let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        let created = self.next_connection.load(Ordering::Relaxed).saturating_sub(1);
        bson::doc! {
            "current": number(current),
            "available": number(MOST_CONNECTIONS.saturating_sub(current)),
            "totalCreated": i64::try_from(created).unwrap_or(i64::MAX),
        }
    }

    pub(crate) fn lock_connections(&self) -> std::sync::MutexGuard<'_, HashMap<u64, TcpStream>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a client may connect from where it is; the machine itself always may.
pub(crate) fn is_admitted(stream: &TcpStream, shared: &Shared) -> bool {
    let (Ok(peer), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else {
        return false;
    };
    let peer = peer.ip().to_canonical();
    peer.is_loopback() || peer == local.ip().to_canonical() || shared.users.admits(peer)
}
