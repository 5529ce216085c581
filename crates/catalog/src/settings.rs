//! Values that the server makes once and keeps.

use crate::database::OptionalExtension;
use tidemark_model::Secret;

use crate::catalog::Catalog;
use crate::error::CatalogError;

/// The key under which tokens, nonces and download links are signed, and the one before it.
const SIGNING_KEY: &str = "signing_key";
const SIGNING_KEY_BEFORE: &str = "signing_key_before";

/// The key under which reports of drills are signed.
const REPORT_KEY: &str = "report_key";

/// Where the look for what people are to be told has been.
const ALERT_CURSOR: &str = "alert_cursor";

/// The keys under which tokens, nonces and links are signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKeys {
    /// The one that signs.
    pub newest: Secret,
    /// The one before it: what was signed with it still holds.
    pub before: Option<Secret>,
}

impl Catalog {
    /// The keys under which tokens, nonces and links are signed; the first one is made at random.
    pub fn signing_keys(&self) -> Result<SigningKeys, CatalogError> {
        let connection = self.lock();
        let fresh = Secret::random::<32>();
        connection.execute(
            "INSERT INTO settings (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING",
            (SIGNING_KEY, fresh.expose()),
        )?;
        let stored = |name: &str| -> Result<Option<String>, CatalogError> {
            let question = "SELECT value FROM settings WHERE name = ?1";
            Ok(connection.query_row(question, [name], |row| row.get(0)).optional()?)
        };
        Ok(SigningKeys {
            newest: stored(SIGNING_KEY)?.map_or(fresh, Secret::new),
            before: stored(SIGNING_KEY_BEFORE)?.map(Secret::new),
        })
    }

    /// The key with which reports of drills are signed, as PKCS#8 in hexadecimal digits: the one that is there,
    /// or from now on the one that is offered.
    pub fn report_key(&self, offered: &Secret) -> Result<Secret, CatalogError> {
        let connection = self.lock();
        connection.execute(
            "INSERT INTO settings (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING",
            (REPORT_KEY, offered.expose()),
        )?;
        let question = "SELECT value FROM settings WHERE name = ?1";
        let stored: String = connection.query_row(question, [REPORT_KEY], |row| row.get(0))?;
        Ok(Secret::new(stored))
    }

    /// Through which record of the audit people were told what went wrong.
    pub fn find_alert_cursor(&self) -> Result<Option<i64>, CatalogError> {
        let connection = self.read()?;
        let question = "SELECT value FROM settings WHERE name = ?1";
        let stored: Option<String> =
            connection.query_row(question, [ALERT_CURSOR], |row| row.get(0)).optional()?;
        Ok(stored.and_then(|text| text.parse().ok()))
    }

    /// Notes through which record people were told.
    pub fn set_alert_cursor(&self, number: i64) -> Result<(), CatalogError> {
        self.lock().execute(
            "INSERT INTO settings (name, value) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (ALERT_CURSOR, number.to_string()),
        )?;
        Ok(())
    }

    /// Makes a new signing key; what was signed with the one before it still holds.
    pub fn rotate_signing_key(&self) -> Result<(), CatalogError> {
        let fresh = Secret::random::<32>();
        self.transact(|catalog| {
            let before = catalog.signing_keys()?.newest;
            let connection = catalog.lock();
            for (name, key) in [(SIGNING_KEY, &fresh), (SIGNING_KEY_BEFORE, &before)] {
                connection.execute(
                    "INSERT INTO settings (name, value) VALUES (?1, ?2)
                     ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    (name, key.expose()),
                )?;
            }
            Ok(())
        })
    }
}
