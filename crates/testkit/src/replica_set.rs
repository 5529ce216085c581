//! One database behind two proxies that play a replica set of two members.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bson::Document;
use bson::oid::ObjectId;
use tidemark_docdb::REPLICA_SET;
use tidemark_model::{LinkSettings, ReadFrom, Secret, TlsSettings};

use crate::proxy::{Proxy, Verdict};

/// Commands that only a primary does.
const WRITES: &[&str] = &[
    "applyOps",
    "collMod",
    "create",
    "createIndexes",
    "delete",
    "drop",
    "dropDatabase",
    "dropIndexes",
    "insert",
    "renameCollection",
    "update",
];

/// Two members; which of them is the primary changes when it is asked for.
pub struct ReplicaSet {
    members: [Proxy; 2],
    /// Held for a look, and for an election.
    state: Arc<Mutex<State>>,
}

struct State {
    primary: usize,
    term: u8,
    /// The commands that each member was sent, by name.
    seen: [Vec<String>; 2],
}

/// What a test does to a command, by the member and the command's name.
pub type Fault = Box<dyn FnMut(usize, &str) -> Verdict + Send>;

impl ReplicaSet {
    /// Both members lead to this server; the first is the primary. `fault` is asked for every command
    /// that a member would do.
    pub fn start(server: SocketAddr, fault: Fault) -> Self {
        let members = [Proxy::start(server), Proxy::start(server)];
        let state = State { primary: 0, term: 1, seen: [Vec::new(), Vec::new()] };
        let state = Arc::new(Mutex::new(state));
        let hosts: Vec<String> = members.iter().map(|m| m.address().to_string()).collect();
        let fault = Arc::new(Mutex::new(fault));
        for (number, member) in members.iter().enumerate() {
            let (for_rule, for_greeting) = (Arc::clone(&state), Arc::clone(&state));
            let (fault, hosts) = (Arc::clone(&fault), hosts.clone());
            member.set(move |_, command| {
                let name = command.keys().next().cloned().unwrap_or_default();
                let mut state = for_rule.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(seen) = state.seen.get_mut(number) {
                    seen.push(name.clone());
                }
                let is_primary = state.primary == number;
                drop(state);
                if !is_primary && WRITES.contains(&name.as_str()) {
                    return Verdict::Answer(bson::doc! {
                        "ok": 0.0, "code": 10_107, "codeName": "NotWritablePrimary",
                        "errmsg": "not primary",
                    });
                }
                (fault.lock().unwrap_or_else(PoisonError::into_inner))(number, &name)
            });
            member.greet(move |said| {
                let state = for_greeting.lock().unwrap_or_else(PoisonError::into_inner);
                introduce(said, (number, &hosts), (state.primary, state.term));
            });
        }
        Self { members, state }
    }

    /// Makes the other member the primary.
    pub fn elect(&self) {
        elect(&self.state);
    }

    /// Makes the other member the primary, from within a fault.
    pub fn elector(&self) -> impl Fn() + Send + 'static {
        let state = Arc::clone(&self.state);
        move || elect(&state)
    }

    /// How often a member was sent a command, since it was asked last.
    pub fn take_count(&self, member: usize, name: &str) -> usize {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = state.seen.get_mut(member).map(std::mem::take).unwrap_or_default();
        seen.iter().filter(|command| *command == name).count()
    }

    /// How to reach it as an attached deployment.
    pub fn link_settings(&self, read_from: ReadFrom) -> LinkSettings {
        let [one, other] = self.members.each_ref().map(Proxy::address);
        let text = format!(
            "mongodb://server:{}@{one},{other}/?replicaSet={REPLICA_SET}&heartbeatFrequencyMS=500",
            crate::PASSWORD
        );
        LinkSettings {
            connection_string: Secret::new(text),
            read_from,
            read_rate_megabytes: None,
            tls: TlsSettings::default(),
        }
    }
}

fn elect(state: &Mutex<State>) {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    state.primary = 1 - state.primary;
    state.term += 1;
}

/// What a member says of itself.
fn introduce(
    said: &mut Document,
    (number, hosts): (usize, &[String]),
    (primary, term): (usize, u8),
) {
    let is_primary = primary == number;
    said.insert("hosts", hosts.to_vec());
    said.insert("me", hosts.get(number).cloned().unwrap_or_default());
    said.insert("primary", hosts.get(primary).cloned().unwrap_or_default());
    said.insert("isWritablePrimary", is_primary);
    said.insert("ismaster", is_primary);
    said.insert("secondary", !is_primary);
    if is_primary {
        said.insert("electionId", ObjectId::from_bytes([0x7f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, term]));
    } else {
        said.remove("electionId");
    }
}
