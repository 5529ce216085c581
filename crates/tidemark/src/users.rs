//! The users of an instance: database users of its project, and the server itself.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidemark_catalog::{Catalog, CatalogError, Instance, PasswordRecord};
use tidemark_docdb::{Grant, User, UserDirectory};
use tidemark_model::{Clock, Secret, from_hex, random_bytes, to_hex};
use tidemark_vault::VaultKey;
use tidemark_wire::{SCRAM_ITERATIONS, ScramCredential};
use tidemark_worker::Membership;

/// The database in which users of the API authenticate.
const DATABASE: &str = "admin";
/// What the servers' own users are called; that of a later key has its number, too.
const INTERNAL_NAME: &str = "__tidemark";

/// The user as whom servers log in to their own instances: the same for all that have the vault's keys.
/// Each key has one, so that nodes trust each other while they are given another key.
pub(crate) struct InternalUser {
    /// The one of the key that seals.
    pub(crate) name: String,
    pub(crate) password: Secret,
    /// Those of all keys.
    credentials: HashMap<String, ScramCredential>,
}

impl InternalUser {
    pub(crate) fn new(key: &VaultKey) -> Self {
        let name_of = |number: u32| match number {
            1 => INTERNAL_NAME.to_owned(),
            number => format!("{INTERNAL_NAME}_{number}"),
        };
        let secrets = key.secrets_for("user of instances");
        let credentials = secrets.iter().map(|(number, password)| {
            let salt = random_bytes::<28>().to_vec();
            (name_of(*number), ScramCredential::derive(password.expose(), salt, 4_096))
        });
        let credentials = credentials.collect();
        let mine = secrets.into_iter().find(|(number, _)| *number == key.number());
        let password = mine.map_or_else(Secret::random::<32>, |(_, password)| password);
        Self { name: name_of(key.number()), password, credentials }
    }
}

/// The users of one instance.
pub(crate) struct InstanceUsers {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) internal: Arc<InternalUser>,
    pub(crate) instance: Instance,
    pub(crate) clock: Clock,
    pub(crate) known: Known,
    pub(crate) membership: Arc<Membership>,
}

/// What the records said last, and at which generation of them: while they cannot be reached it is true
/// still.
#[derive(Default)]
pub(crate) struct Known {
    /// Held for a look.
    users: Mutex<HashMap<String, (u64, User)>>,
    /// Held for a look.
    admitted: Mutex<HashMap<IpAddr, (u64, bool)>>,
}

/// After so long without a word from the records they seem to be away.
const AWAY_AFTER: Duration = Duration::from_secs(3);
/// How many addresses are remembered before those that were refused are forgotten.
const MOST_ADDRESSES: usize = 10_000;

impl InstanceUsers {
    /// Whether what was known at a generation of the records need not be asked again: of records in a file
    /// it is asked each time, because users end with time; of those that several nodes share the generation
    /// is another one every second. While they seem to be away nobody waits for them.
    fn holds(&self, at: u64) -> bool {
        self.membership.is_shared()
            && (at == self.catalog.generation() || self.membership.unheard_for() > AWAY_AFTER)
    }

    fn look_up(&self, name: &str) -> Result<Option<User>, CatalogError> {
        let now = self.clock.now();
        let found =
            self.catalog.find_database_user(self.instance.project, (DATABASE, name), now)?;
        let Some(user) = found else { return Ok(None) };
        let is_elsewhere = !user.scopes.is_empty()
            && !user.scopes.iter().any(|scope| scope == self.instance.name.as_str());
        if is_elsewhere {
            return Ok(None);
        }
        let grants = user.roles.into_iter().map(|role| Grant {
            role: role.role,
            database: role.database,
            collection: role.collection,
        });
        let credential = credential_of(&user.password);
        Ok(credential.map(|credential| User { credential, grants: grants.collect() }))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl UserDirectory for InstanceUsers {
    fn find_user(&self, name: &str) -> Option<User> {
        if let Some(credential) = self.internal.credentials.get(name) {
            let role = Grant {
                role: "__system".to_owned(),
                database: DATABASE.to_owned(),
                collection: None,
            };
            return Some(User { credential: credential.clone(), grants: vec![role] });
        }
        let generation = self.catalog.generation();
        let known = lock(&self.known.users).get(name).cloned();
        if let Some((_, user)) = known.as_ref().filter(|(at, _)| self.holds(*at)) {
            return Some(user.clone());
        }
        match self.look_up(name) {
            Ok(Some(user)) => {
                lock(&self.known.users).insert(name.to_owned(), (generation, user.clone()));
                Some(user)
            }
            Ok(None) => {
                lock(&self.known.users).remove(name);
                None
            }
            Err(error) => {
                tracing::error!(%error, "a database user could not be looked up; what was known holds");
                known.map(|(_, user)| user)
            }
        }
    }

    fn admits(&self, address: IpAddr) -> bool {
        // Other nodes read and write it, whoever else may.
        if self.membership.is_of_worker(address) {
            return true;
        }
        let generation = self.catalog.generation();
        let known = lock(&self.known.admitted).get(&address).copied();
        if let Some((_, is_admitted)) = known.filter(|(at, _)| self.holds(*at)) {
            return is_admitted;
        }
        match self.catalog.admits(self.instance.project, address, self.clock.now()) {
            Ok(is_admitted) => {
                let mut admitted = lock(&self.known.admitted);
                if admitted.len() >= MOST_ADDRESSES {
                    admitted.retain(|_, (_, is_admitted)| *is_admitted);
                }
                admitted.insert(address, (generation, is_admitted));
                is_admitted
            }
            Err(error) => {
                tracing::error!(%error, "an access list could not be read; what was known holds");
                known.is_some_and(|(_, is_admitted)| is_admitted)
            }
        }
    }

    fn generation(&self) -> u64 {
        self.catalog.generation()
    }
}

/// What is kept of a password.
pub(crate) fn hash_password(password: &str) -> PasswordRecord {
    let credential =
        ScramCredential::derive(password, random_bytes::<28>().to_vec(), SCRAM_ITERATIONS);
    PasswordRecord {
        salt: to_hex(&credential.salt),
        iterations: credential.iterations,
        stored_key: to_hex(&credential.stored_key),
        server_key: to_hex(&credential.server_key),
    }
}

fn credential_of(record: &PasswordRecord) -> Option<ScramCredential> {
    Some(ScramCredential {
        salt: from_hex(&record.salt)?,
        iterations: record.iterations,
        stored_key: from_hex(&record.stored_key)?.try_into().ok()?,
        server_key: from_hex(&record.server_key)?.try_into().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_record_is_read_back() {
        let record = hash_password("secret");
        let credential = credential_of(&record).unwrap();
        assert_eq!(
            credential,
            ScramCredential::derive("secret", credential.salt.clone(), SCRAM_ITERATIONS)
        );
    }
}
