//! An engine with the users that it is started with.

use tidemark_docdb::{Grant, User, UserDirectory};
use tidemark_model::{Secret, random_bytes};
use tidemark_wire::{SCRAM_ITERATIONS, ScramCredential};

/// A user of an engine that stands on its own.
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

/// The users of an engine that stands on its own.
pub(crate) struct FewUsers(pub(crate) Vec<OneUser>);

impl UserDirectory for FewUsers {
    fn find_user(&self, name: &str) -> Option<User> {
        let user = self.0.iter().find(|user| user.name == name)?;
        let role = Grant { role: user.role.into(), database: "admin".into(), collection: None };
        Some(User { credential: user.credential.clone(), grants: vec![role] })
    }

    fn admits(&self, _: std::net::IpAddr) -> bool {
        true
    }

    fn generation(&self) -> u64 {
        0
    }
}
