//! Who may do what: users come from the host, roles are checked here.

use std::net::IpAddr;

use tidemark_model::Secret;
use tidemark_wire::{ScramCredential, ScramServer, user_of_first_message};

use crate::error::{Code, CommandError, Result};

/// Where the users of an instance are kept.
pub trait UserDirectory: Send + Sync {
    /// The user with this name, if it may log in to this instance.
    fn find_user(&self, name: &str) -> Option<User>;

    /// Whether connections from an address are taken; the machine itself is not asked about.
    fn admits(&self, address: IpAddr) -> bool;

    /// Changes whenever a user or the list of addresses may have changed.
    fn generation(&self) -> u64;
}

/// A user as the engine needs it.
#[derive(Debug, Clone)]
pub struct User {
    /// Checks its password.
    pub credential: ScramCredential,
    /// What it may do.
    pub grants: Vec<Grant>,
}

/// A role in a database, by the names of the `databaseUsers` API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The role, such as `readWrite`.
    pub role: String,
    /// The database it holds for; `admin` for roles on all databases.
    pub database: String,
    /// The collection that `read` and `readWrite` are limited to.
    pub collection: Option<String>,
}

/// What a command works on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resource<'a> {
    pub(crate) database: &'a str,
    /// `None` for the database as a whole.
    pub(crate) collection: Option<&'a str>,
}

impl<'a> Resource<'a> {
    /// A database as a whole.
    pub(crate) fn database(database: &'a str) -> Self {
        Self { database, collection: None }
    }
}

/// What a command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Privilege {
    /// Allowed before authentication.
    Anyone,
    /// Allowed to every user.
    Authenticated,
    Read,
    Write,
    /// Changes what exists in a database.
    Define,
    /// Changes options of collections and drops a database.
    Manage,
    /// Allowed to administrators only.
    Administer,
}

impl Privilege {
    /// Whether commands that need it change something.
    pub(crate) fn writes(self) -> bool {
        matches!(self, Self::Write | Self::Define | Self::Manage | Self::Administer)
    }
}

impl Grant {
    fn allows(&self, privilege: Privilege, resource: Resource<'_>) -> bool {
        let is_internal = matches!(resource.database, "admin" | "local" | "config");
        let here = self.database == resource.database;
        if let Some(collection) = &self.collection {
            let is_allowed = match self.role.as_str() {
                "readWrite" => matches!(privilege, Privilege::Read | Privilege::Write),
                "read" => privilege == Privilege::Read,
                _ => false,
            };
            return here && is_allowed && resource.collection == Some(collection);
        }
        let changes_data =
            matches!(privilege, Privilege::Read | Privilege::Write | Privilege::Define);
        let administers = matches!(privilege, Privilege::Define | Privilege::Manage);
        match self.role.as_str() {
            "atlasAdmin" | "root" | "__system" => true,
            "readWriteAnyDatabase" => !is_internal && changes_data,
            "readAnyDatabase" => !is_internal && privilege == Privilege::Read,
            "dbAdminAnyDatabase" => !is_internal && administers,
            "backup" => privilege == Privilege::Read,
            "readWrite" => here && changes_data,
            "read" => here && privilege == Privilege::Read,
            "dbAdmin" => here && administers,
            _ => false,
        }
    }

    /// Whether the role shows the names of all databases.
    fn lists_databases(&self) -> bool {
        const ROLES: &[&str] = &[
            "atlasAdmin",
            "root",
            "__system",
            "readWriteAnyDatabase",
            "readAnyDatabase",
            "dbAdminAnyDatabase",
            "backup",
            "clusterMonitor",
        ];
        self.collection.is_none() && ROLES.contains(&self.role.as_str())
    }
}

/// What one connection has proved.
#[derive(Debug, Default)]
pub(crate) struct Login {
    conversation: Option<(String, User, ScramServer)>,
    /// The proof was accepted, but the client wants one more empty exchange.
    awaits_empty_exchange: bool,
    user: Option<(String, User)>,
    /// The state of the directory when it was asked last.
    generation: u64,
}

/// The answer to one step of a conversation.
pub(crate) struct Step {
    pub(crate) payload: Vec<u8>,
    pub(crate) is_done: bool,
}

impl Login {
    pub(crate) fn user_name(&self) -> Option<&str> {
        self.user.as_ref().map(|(name, _)| name.as_str())
    }

    pub(crate) fn grants(&self) -> &[Grant] {
        self.user.as_ref().map_or(&[], |(_, user)| &user.grants)
    }

    pub(crate) fn log_out(&mut self) {
        *self = Self::default();
    }

    /// The name of whoever is proving who they are.
    pub(crate) fn candidate(&self) -> Option<&str> {
        self.conversation.as_ref().map(|(name, _, _)| name.as_str())
    }

    /// Looks again who the user is if anything changed since the last time, and says whether it
    /// did. Who was deleted, or has another password, is logged out.
    pub(crate) fn renew(&mut self, directory: &dyn UserDirectory) -> bool {
        let generation = directory.generation();
        if std::mem::replace(&mut self.generation, generation) == generation {
            return false;
        }
        if let Some((name, user)) = self.user.take() {
            let found = directory.find_user(&name);
            let same = found.filter(|found| found.credential == user.credential);
            self.user = same.map(|found| (name, found));
        }
        true
    }

    /// Whether the user may do something.
    pub(crate) fn may(&self, privilege: Privilege, resource: Resource<'_>) -> bool {
        self.grants().iter().any(|grant| grant.allows(privilege, resource))
    }

    /// Whether it is the server itself.
    pub(crate) fn is_server(&self) -> bool {
        self.grants().iter().any(|grant| grant.role == "__system")
    }

    /// Whether the user may see the names of all databases.
    pub(crate) fn lists_databases(&self) -> bool {
        self.grants().iter().any(Grant::lists_databases)
    }

    /// Whether the user may do anything at all in a database.
    pub(crate) fn has_grant_in(&self, database: &str) -> bool {
        let named = self.grants().iter().any(|grant| {
            grant.database == database
                && matches!(grant.role.as_str(), "read" | "readWrite" | "dbAdmin")
        });
        let privileges = [Privilege::Read, Privilege::Write, Privilege::Define];
        named || privileges.iter().any(|p| self.may(*p, Resource::database(database)))
    }

    /// Takes the client's first message.
    ///
    /// `decoy_key` is secret and stays the same, and so does what an unknown name is told.
    pub(crate) fn start(
        &mut self,
        (directory, decoy_key): (&dyn UserDirectory, &[u8; 32]),
        payload: &[u8],
    ) -> Result<Step> {
        let name = user_of_first_message(payload).map_err(|_| failed())?;
        // An unknown name goes through the same conversation, so that names cannot be probed.
        let user = directory.find_user(&name).unwrap_or_else(|| User {
            credential: ScramCredential {
                salt: decoy_salt(decoy_key, &name),
                iterations: tidemark_wire::SCRAM_ITERATIONS,
                stored_key: tidemark_model::random_bytes(),
                server_key: tidemark_model::random_bytes(),
            },
            grants: Vec::new(),
        });
        let nonce = Secret::random::<18>();
        let (server, reply) = ScramServer::start(payload, user.credential.clone(), nonce.expose())
            .map_err(|_| failed())?;
        self.conversation = Some((name, user, server));
        Ok(Step { payload: reply, is_done: false })
    }

    /// Takes the client's proof, or its last empty message.
    pub(crate) fn continue_with(&mut self, payload: &[u8], skips_empty: bool) -> Result<Step> {
        if payload.is_empty() && std::mem::take(&mut self.awaits_empty_exchange) {
            return Ok(Step { payload: Vec::new(), is_done: true });
        }
        let (name, user, server) = self.conversation.take().ok_or_else(failed)?;
        let reply = server.finish(payload).map_err(|_| failed())?;
        self.user = Some((name, user));
        self.awaits_empty_exchange = !skips_empty;
        Ok(Step { payload: reply, is_done: skips_empty })
    }

    /// Refuses what the user may not do.
    pub(crate) fn check(
        &self,
        command: &str,
        privilege: Privilege,
        resource: Resource<'_>,
    ) -> Result<()> {
        if privilege == Privilege::Anyone {
            return Ok(());
        }
        if self.user.is_none() {
            let text = format!("Command {command} requires authentication");
            return Err(CommandError::new(Code::Unauthorized, text));
        }
        let allowed = privilege == Privilege::Authenticated || self.may(privilege, resource);
        if allowed {
            return Ok(());
        }
        let text = format!("not authorized on {} to execute command {command}", resource.database);
        Err(CommandError::new(Code::Unauthorized, text))
    }
}

fn failed() -> CommandError {
    CommandError::new(Code::AuthenticationFailed, "Authentication failed.")
}

/// The same salt for the same unknown name, as a real user would have; nobody can compute it.
fn decoy_salt(key: &[u8; 32], name: &str) -> Vec<u8> {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key);
    ring::hmac::sign(&key, name.as_bytes()).as_ref().iter().take(28).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_reach_as_far_as_their_names_say() {
        let grant = |role: &str, database: &str| Grant {
            role: role.into(),
            database: database.into(),
            collection: None,
        };
        let on = Resource::database;
        assert!(grant("readWrite", "shop").allows(Privilege::Write, on("shop")));
        assert!(!grant("readWrite", "shop").allows(Privilege::Read, on("other")));
        assert!(!grant("read", "shop").allows(Privilege::Write, on("shop")));
        assert!(grant("readWriteAnyDatabase", "admin").allows(Privilege::Define, on("shop")));
        assert!(!grant("readWriteAnyDatabase", "admin").allows(Privilege::Read, on("local")));
        assert!(!grant("readWrite", "shop").allows(Privilege::Manage, on("shop")));
        assert!(grant("dbAdmin", "shop").allows(Privilege::Manage, on("shop")));
        assert!(grant("atlasAdmin", "admin").allows(Privilege::Administer, on("local")));
        assert!(!grant("clusterMonitor", "admin").allows(Privilege::Read, on("shop")));
    }

    #[test]
    fn a_role_on_a_collection_ends_there() {
        let grant = Grant {
            role: "readWrite".into(),
            database: "shop".into(),
            collection: Some("items".into()),
        };
        let on = |collection| Resource { database: "shop", collection };
        assert!(grant.allows(Privilege::Write, on(Some("items"))));
        assert!(!grant.allows(Privilege::Read, on(Some("orders"))));
        assert!(!grant.allows(Privilege::Read, on(None)));
        assert!(!grant.allows(Privilege::Define, on(Some("items"))));
    }
}
