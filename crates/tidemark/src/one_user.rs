//! An engine with one user, who may do everything.

use tidemark_docdb::{Grant, User, UserDirectory};
use tidemark_model::{Secret, random_bytes};
use tidemark_wire::{SCRAM_ITERATIONS, ScramCredential};

/// The one user of an engine that stands on its own.
pub(crate) struct OneUser {
    name: String,
    credential: ScramCredential,
    role: &'static str,
}

impl OneUser {
    pub(crate) fn new(name: String, password: &Secret, role: &'static str) -> Self {
        let salt = random_bytes::<28>().to_vec();
        let credential = ScramCredential::derive(password.expose(), salt, SCRAM_ITERATIONS);
        Self { name, credential, role }
    }
}

impl UserDirectory for OneUser {
    fn find_user(&self, name: &str) -> Option<User> {
        let role = Grant { role: self.role.into(), database: "admin".into(), collection: None };
        (name == self.name)
            .then(|| User { credential: self.credential.clone(), grants: vec![role] })
    }

    fn admits(&self, _: std::net::IpAddr) -> bool {
        true
    }

    fn generation(&self) -> u64 {
        0
    }
}
