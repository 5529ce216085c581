//! The keys with which tokens, nonces and links are signed: the newest one, and the one before it, so that
//! what was signed with that one works until its time is over.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidemark_catalog::{Catalog, CatalogError};

use crate::token::Signer;

/// The records are asked no more often whether there is another key,
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// and at least so often by who uses one: what is signed with a key that was replaced twice is worth nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Signs, and checks what was signed here or on another node.
pub(crate) struct Signing {
    catalog: Arc<Catalog>,
    /// Held for a look.
    known: Mutex<Known>,
    /// Held while the records are asked; who wants to ask meanwhile waits for the answer.
    looking: Mutex<()>,
}

struct Known {
    signers: Signers,
    looked_at: Instant,
}

#[derive(Clone)]
struct Signers {
    newest: Arc<Signer>,
    before: Option<Arc<Signer>>,
}

impl Signers {
    fn load(catalog: &Catalog) -> Result<Self, CatalogError> {
        let keys = catalog.signing_keys()?;
        let signer = |key| Arc::new(Signer::new(key));
        Ok(Self { newest: signer(&keys.newest), before: keys.before.as_ref().map(signer) })
    }

    fn check<T>(&self, check: impl Fn(&Signer) -> Option<T>) -> Option<T> {
        check(&self.newest).or_else(|| self.before.as_deref().and_then(check))
    }
}

impl Signing {
    pub(crate) fn new(catalog: &Arc<Catalog>) -> Result<Self, CatalogError> {
        let known = Known { signers: Signers::load(catalog)?, looked_at: Instant::now() };
        Ok(Self {
            catalog: Arc::clone(catalog),
            known: Mutex::new(known),
            looking: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest key that is known here.
    pub(crate) fn newest(&self) -> Arc<Signer> {
        Arc::clone(&self.lock().signers.newest)
    }

    /// What one of the keys makes of something that was signed. Where none knows it the records are asked
    /// for newer keys first, once a second: whoever calls may wait.
    pub(crate) fn check<T>(&self, check: impl Fn(&Signer) -> Option<T>) -> Option<T> {
        let (signers, age) = {
            let known = self.lock();
            (known.signers.clone(), known.looked_at.elapsed())
        };
        let signers = if age < LOOK_AGAIN { signers } else { self.look_again() };
        signers.check(&check).or_else(|| self.look_again().check(&check))
    }

    /// The keys as the records have them, of at most `LOOK_INTERVAL` ago.
    fn look_again(&self) -> Signers {
        let _turn = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.lock();
        if known.looked_at.elapsed() < LOOK_INTERVAL {
            return known.signers.clone();
        }
        drop(known);
        let loaded = Signers::load(&self.catalog);
        let mut known = self.lock();
        known.looked_at = Instant::now();
        match loaded {
            Ok(signers) => known.signers = signers,
            Err(error) => {
                tracing::warn!(%error, "whether there are newer signing keys could not be looked up");
            }
        }
        known.signers.clone()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn a_node_that_goes_on_learns_of_a_newer_key_and_keeps_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Arc::new(Catalog::open(&folder.path().join("catalog.sqlite")).unwrap());
        let running = Signing::new(&catalog).unwrap();
        let old = running.newest().ticket("job");
        catalog.rotate_signing_key().unwrap();
        let started = Signing::new(&catalog).unwrap();
        let new = started.newest().ticket("job");
        let knows = |signing: &Signing, ticket: &str| {
            signing.check(|signer| (signer.ticket("job") == ticket).then_some(())).is_some()
        };
        assert!(old != new && knows(&started, &old) && knows(&started, &new));
        let deadline = Instant::now() + Duration::from_secs(20);
        while !knows(&running, &new) {
            assert!(Instant::now() < deadline, "it never looks again");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(knows(&running, &old));
        assert_eq!(running.newest().ticket("job"), new);
        assert!(!knows(&running, "forged"));
        let nonce = started.newest().issue_nonce(Timestamp::UNIX_EPOCH);
        assert!(
            running.newest().check_nonce(&nonce, (Timestamp::MIN, Timestamp::UNIX_EPOCH))
                == crate::token::Nonce::Fresh
        );
    }
}
