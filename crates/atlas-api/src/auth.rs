//! Who makes a request, and whether from an address that it may come from.

use std::net::IpAddr;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use jiff::Timestamp;
use tidemark_catalog::{CatalogError, Page};
use tidemark_model::{Caller, OrgId, Principal, Roles};

use crate::api::Api;
use crate::digest_auth::{Credentials, challenge};
use crate::error::ApiError;
use crate::identity::{Identity, Known};
use crate::token::{Nonce, Signer};

/// Why a request is not authenticated.
#[derive(Debug)]
pub(crate) enum AuthError {
    /// No credentials, or wrong ones; the challenge to answer.
    Challenge(String),
    /// Good credentials, used from an address that they must not be used from.
    Refused(ApiError),
    /// The records could not be read.
    Catalog(CatalogError),
}

impl From<CatalogError> for AuthError {
    fn from(error: CatalogError) -> Self {
        Self::Catalog(error)
    }
}

/// How many identities are kept at most.
const MOST_KNOWN: usize = 1_000;
/// How many used nonces are remembered before old ones are looked for.
const NONCES_BEFORE_CLEANING: usize = 10_000;

impl Api {
    /// Finds out who makes a request.
    pub(crate) fn authenticate(
        &self,
        (method, target): (&str, &str),
        headers: &HeaderMap,
        address: IpAddr,
    ) -> Result<Arc<Identity>, AuthError> {
        let header =
            headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let identity = match header.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                self.by_token(token.trim())
            }
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("digest") => {
                let identity = self.by_digest(rest, method, target)?;
                if let Some(credentials) = Credentials::parse(rest) {
                    self.throttle.note_success(address, &credentials.username, Instant::now());
                }
                Ok(identity)
            }
            _ => Err(self.challenge(false)),
        }?;
        self.check_address(&identity, address)?;
        Ok(identity)
    }

    fn challenge(&self, stale: bool) -> AuthError {
        let nonce = self.signing.newest().issue_nonce(self.clock.now());
        AuthError::Challenge(challenge(&nonce, stale))
    }

    pub(crate) fn check_address(
        &self,
        identity: &Identity,
        address: IpAddr,
    ) -> Result<(), AuthError> {
        if identity.blocks.is_empty() {
            return if identity.needs_blocks {
                Err(AuthError::Refused(ApiError::org_requires_access_list()))
            } else {
                Ok(())
            };
        }
        let Some(block) = identity.blocks.iter().find(|block| block.contains(&address)) else {
            return Err(AuthError::Refused(ApiError::address_not_allowed(&address.to_string())));
        };
        let who = (identity.caller.principal, *block);
        self.usage.note(&self.catalog, who, (address, self.clock.now()))?;
        Ok(())
    }

    fn by_token(&self, text: &str) -> Result<Arc<Identity>, AuthError> {
        let now = self.clock.now();
        let identity = if let Some(identity) = self.find_known(text) {
            identity
        } else {
            let token = self.signing.check(|signer| signer.check_token(text, now));
            let token = token.ok_or_else(|| self.challenge(false))?;
            let generation = self.catalog.generation();
            let asked = (token.account, token.secret);
            let found = self.catalog.find_token_account(&token.id, asked, now)?;
            let (account, secret_ends_at) = found.ok_or_else(|| self.challenge(false))?;
            let identity = self.identity(
                Principal::ServiceAccount(account.id),
                (account.org, account.roles),
                (String::new(), Some(token.expires_at.min(secret_ends_at))),
            )?;
            self.remember(text, generation, identity)
        };
        match identity.expires_at {
            Some(end) if end > now => Ok(identity),
            _ => Err(self.challenge(false)),
        }
    }

    fn by_digest(
        &self,
        header: &str,
        method: &str,
        target: &str,
    ) -> Result<Arc<Identity>, AuthError> {
        let credentials = Credentials::parse(header).ok_or_else(|| self.challenge(false))?;
        let identity = if let Some(identity) = self.find_known(&credentials.username) {
            identity
        } else {
            let generation = self.catalog.generation();
            let key = self.catalog.find_api_key(&credentials.username)?;
            let key = key.ok_or_else(|| self.challenge(false))?;
            let identity =
                self.identity(Principal::ApiKey(key.id), (key.org, key.roles), (key.ha1, None))?;
            self.remember(&credentials.username, generation, identity)
        };
        let is_key = matches!(identity.caller.principal, Principal::ApiKey(_));
        if !is_key || credentials.uri != target || !credentials.proves(&identity.ha1, method) {
            return Err(self.challenge(false));
        }
        let times = (self.started_at, self.clock.now());
        let check = |signer: &Signer| match signer.check_nonce(&credentials.nonce, times) {
            Nonce::Foreign => None,
            known => Some(known),
        };
        match self.signing.check(check).unwrap_or(Nonce::Foreign) {
            Nonce::Foreign => Err(self.challenge(false)),
            Nonce::Stale => Err(self.challenge(true)),
            // A repeated request may be a replay: the client has to prove itself once more.
            Nonce::Fresh if !self.use_nonce(&credentials)? => Err(self.challenge(true)),
            Nonce::Fresh => Ok(identity),
        }
    }

    pub(crate) fn identity(
        &self,
        principal: Principal,
        (org, roles): (OrgId, Roles),
        (ha1, expires_at): (String, Option<Timestamp>),
    ) -> Result<Identity, CatalogError> {
        let entries = self.catalog.list_access_entries(principal, Page::EVERYTHING)?;
        let settings = self.catalog.find_org(org)?.map(|org| org.settings).unwrap_or_default();
        let needs_blocks =
            settings.get("apiAccessListRequired").and_then(serde_json::Value::as_bool);
        Ok(Identity {
            caller: Caller { principal, org, roles },
            blocks: entries.items.into_iter().map(|entry| entry.block).collect(),
            needs_blocks: needs_blocks.unwrap_or(false),
            ha1,
            expires_at,
        })
    }

    fn lock_known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find_known(&self, name: &str) -> Option<Arc<Identity>> {
        let generation = self.catalog.generation();
        let known = self.lock_known();
        let is_current = known.generation == generation;
        known.identities.get(name).filter(|_| is_current).map(Arc::clone)
    }

    /// Keeps an identity that was read at a generation or later.
    fn remember(&self, name: &str, generation: u64, identity: Identity) -> Arc<Identity> {
        let identity = Arc::new(identity);
        let mut known = self.lock_known();
        if known.generation != generation || known.identities.len() >= MOST_KNOWN {
            known.identities.clear();
            known.generation = generation;
        }
        known.identities.insert(name.to_owned(), Arc::clone(&identity));
        identity
    }

    /// Remembers that a nonce was used with this counter; `false` if it was before.
    fn use_nonce(&self, credentials: &Credentials) -> Result<bool, CatalogError> {
        let Some(count) = credentials.count() else {
            return Ok(false);
        };
        let now = self.clock.now();
        if self.catalog.is_shared() {
            return self.catalog.use_nonce((&credentials.nonce, count), Signer::nonce_end(now));
        }
        let mut used = self.used_nonces.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked through whenever it would have to grow, which is ever more seldom.
        if used.len() >= NONCES_BEFORE_CLEANING && used.len() == used.capacity() {
            used.retain(|_, end| *end > now);
        }
        Ok(used.insert((credentials.nonce.clone(), count), Signer::nonce_end(now)).is_none())
    }
}
