//! Answers to challenges of the API that were accepted, where several nodes accept them.

use jiff::Timestamp;

use crate::catalog::Catalog;
use crate::error::CatalogError;

impl Catalog {
    /// Remembers until `ends_at` that a nonce was used with a counter; answers whether it had not been before.
    pub fn use_nonce(
        &self,
        (nonce, count): (&str, u32),
        ends_at: Timestamp,
    ) -> Result<bool, CatalogError> {
        let changed = self.lock_quietly().execute(
            "INSERT INTO used_nonces (nonce, count, ends_at) VALUES (?1, ?2, ?3)
             ON CONFLICT (nonce, count) DO NOTHING",
            (nonce, count, ends_at.as_second()),
        )?;
        Ok(changed == 1)
    }

    /// Forgets what cannot be used again in any case.
    pub fn forget_nonces(&self, now: Timestamp) -> Result<usize, CatalogError> {
        let sql = "DELETE FROM used_nonces WHERE ends_at < ?1";
        Ok(self.lock_quietly().execute(sql, [now.as_second()])?)
    }
}
