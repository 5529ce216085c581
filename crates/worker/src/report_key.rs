//! The key with which reports of drills are signed: Ed25519, one for all nodes, made at the first report.

use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use tidemark_catalog::{Catalog, CatalogError};
use tidemark_model::{Secret, from_hex, to_hex};

fn key(catalog: &Catalog) -> Result<Ed25519KeyPair, CatalogError> {
    let corrupt = |reason: &str| CatalogError::Corrupt {
        table: "settings",
        id: "report_key".to_owned(),
        reason: reason.to_owned(),
    };
    let fresh = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
        .map_err(|_| corrupt("no key can be made: the system gives no random bytes"))?;
    let stored = catalog.report_key(&Secret::new(to_hex(fresh.as_ref())))?;
    let bytes = from_hex(stored.expose()).ok_or_else(|| corrupt("it is not hexadecimal"))?;
    Ed25519KeyPair::from_pkcs8(&bytes).map_err(|_| corrupt("it is no Ed25519 key"))
}

/// Signs bytes; answers the signature in hexadecimal digits.
pub(crate) fn sign(catalog: &Catalog, bytes: &[u8]) -> Result<String, CatalogError> {
    Ok(to_hex(key(catalog)?.sign(bytes).as_ref()))
}

/// The public part, in hexadecimal digits: whoever has it can check every report.
pub fn public_key(catalog: &Catalog) -> Result<String, CatalogError> {
    Ok(to_hex(key(catalog)?.public_key().as_ref()))
}
