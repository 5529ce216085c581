//! The vaults of a server: one for all, and those of projects that have their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::VaultError;
use crate::vault::Vault;

/// Open vaults, by name.
#[derive(Clone)]
pub struct Vaults {
    common: Arc<Vault>,
    named: Arc<BTreeMap<String, Arc<Vault>>>,
}

impl Vaults {
    /// The one that has no name, and the others.
    pub fn new(common: Arc<Vault>, named: BTreeMap<String, Arc<Vault>>) -> Self {
        Self { common, named: Arc::new(named) }
    }

    /// The one of all that have none of their own.
    pub fn common(&self) -> &Arc<Vault> {
        &self.common
    }

    /// The vault with a name, or the common one.
    pub fn find(&self, name: Option<&str>) -> Result<&Arc<Vault>, VaultError> {
        let Some(name) = name else { return Ok(&self.common) };
        self.named.get(name).ok_or_else(|| VaultError::Unconfigured { name: name.to_owned() })
    }

    /// All of them; the common one comes first and has no name.
    pub fn iter(&self) -> impl Iterator<Item = (Option<&str>, &Arc<Vault>)> {
        let named = self.named.iter().map(|(name, vault)| (Some(name.as_str()), vault));
        std::iter::once((None, &self.common)).chain(named)
    }
}

impl From<Arc<Vault>> for Vaults {
    fn from(common: Arc<Vault>) -> Self {
        Self::new(common, BTreeMap::new())
    }
}
