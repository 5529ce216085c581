//! Values that the server makes once and keeps.

use crate::database::OptionalExtension;
use tidemark_model::Secret;

use crate::catalog::Catalog;
use crate::error::CatalogError;

/// A value that is made once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// The key under which tokens, nonces and download links are signed.
    SigningKey,
}

impl Setting {
    fn name(self) -> &'static str {
        match self {
            Self::SigningKey => "signing_key",
        }
    }
}

impl Catalog {
    /// The value of a setting, made at random the first time.
    pub fn setting_or_random(&self, setting: Setting) -> Result<Secret, CatalogError> {
        let connection = self.lock();
        let fresh = Secret::random::<32>();
        connection.execute(
            "INSERT INTO settings (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING",
            (setting.name(), fresh.expose()),
        )?;
        let stored: Option<String> = connection
            .query_row("SELECT value FROM settings WHERE name = ?1", [setting.name()], |row| {
                row.get(0)
            })
            .optional()?;
        Ok(stored.map_or(fresh, Secret::new))
    }
}
