//! Signing in with a name and a secret at once, as people do at the console.
//!
//! The same credentials as for the API, the same access lists, and the same turns for those who guess.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use tidemark_catalog::{CatalogError, ServiceAccount};
use tidemark_model::{Caller, OrgId, Principal, Roles, Secret, SecretId};

use crate::api::Api;
use crate::auth::AuthError;
use crate::credentials::{account_of, hash_secret};
use crate::digest_auth::ha1;
use crate::incoming::client_address;

/// Whose credentials they are, and of a service account which secret.
type Claimed = ((Principal, OrgId), Option<SecretId>);

/// How signing in ended.
#[derive(Debug)]
pub enum SignIn {
    /// They are known; of a service account with this secret.
    Known(Caller, Option<SecretId>),
    /// Name and secret do not belong together; the answer is to wait so long.
    Wrong(Duration),
    /// They are known, and not allowed from this address.
    NotFromHere,
    /// Too many wrong ones came before.
    TooMany,
}

impl Api {
    /// The address of who makes a request, whose connection comes from `peer`.
    pub fn address_of(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> IpAddr {
        client_address(&self.config, peer, headers)
    }

    /// Finds out whose credentials these are: of an API key, or of a service account.
    pub fn sign_in(
        &self,
        name: &str,
        secret: &Secret,
        address: IpAddr,
    ) -> Result<SignIn, CatalogError> {
        let Some(wait) = self.throttle.turn(address, name, Instant::now()) else {
            return Ok(SignIn::TooMany);
        };
        let Some((principal, secret)) = self.find_principal(name, secret)? else {
            self.throttle.note_failure(address, name, Instant::now());
            return Ok(SignIn::Wrong(wait));
        };
        self.throttle.note_success(address, name, Instant::now());
        Ok(match self.caller_of(principal, secret, address)? {
            Some(caller) => SignIn::Known(caller, secret),
            None => SignIn::NotFromHere,
        })
    }

    fn find_principal(&self, name: &str, secret: &Secret) -> Result<Option<Claimed>, CatalogError> {
        if let Some(account) = account_of(name) {
            let hash = hash_secret(secret.expose());
            let now = self.clock.now();
            let Some(secret) = self.catalog.use_account_secret(account, &hash, now)? else {
                return Ok(None);
            };
            let found = self.catalog.find_service_account(account)?;
            let known = |found: ServiceAccount| (Principal::ServiceAccount(found.id), found.org);
            return Ok(found.map(|found| (known(found), Some(secret))));
        }
        let found = self.catalog.find_api_key(name)?;
        let found = found.filter(|key| key.ha1 == ha1(name, secret.expose()));
        Ok(found.map(|key| ((Principal::ApiKey(key.id), key.org), None)))
    }

    /// Who a principal is now, if it still is, its secret too, and may come from an address.
    pub fn caller_of(
        &self,
        (principal, org): (Principal, OrgId),
        secret: Option<SecretId>,
        address: IpAddr,
    ) -> Result<Option<Caller>, CatalogError> {
        let roles: Option<Roles> = match principal {
            Principal::ApiKey(id) => self.catalog.find_org_api_key(org, id)?.map(|key| key.roles),
            Principal::ServiceAccount(id) => {
                // No token is revoked by this name: only account and secret are asked for.
                let asked = (id, secret.unwrap_or(SecretId::from_bytes([0; 12])));
                let found = self.catalog.find_token_account("", asked, self.clock.now())?;
                found.filter(|(found, _)| found.org == org).map(|(found, _)| found.roles)
            }
        };
        let Some(roles) = roles else { return Ok(None) };
        let identity = self.identity(principal, (org, roles), (String::new(), None))?;
        match self.check_address(&identity, address) {
            Ok(()) => Ok(Some(identity.caller)),
            Err(AuthError::Catalog(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }
}
