//! Attached deployments: how each is reached, and whether it answers.
//!
//! Each has a thread that looks at it, waits longer after each failure, and records what it finds.
//! One that does not answer holds up nobody else.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use tidemark_actions::deployments;
use tidemark_atlas_api::Attacher;
use tidemark_catalog::{Backing, Catalog, CatalogError, Deployment, Instance};
use tidemark_deployment::{
    Client, Connection, Endpoint, LinkError, OPLOG, Patience, claim, drop_database, give_claim_up,
    list_collections, list_databases, report,
};
use tidemark_model::{
    Clock, Condition, InstanceId, InstanceState, LinkSettings, ProbeReport, Secret, TlsSettings,
    random_bytes,
};
use tidemark_vault::VaultKey;
use tidemark_worker::Membership;

/// How often it is looked whether a deployment answers.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// How often it is probed anew.
const PROBE_INTERVAL: Duration = Duration::from_mins(5);
/// The wait after the first failure, doubled with each.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// How long a deployment may take to answer a look.
const PATIENCE: Patience =
    Patience { connecting: Duration::from_secs(10), answer: Duration::from_secs(30) };
/// How long what was looked up of all deployments is taken for true.
const CONDITIONS_LIFETIME: Duration = Duration::from_secs(1);
/// How long a passing state is shown at least, in seconds.
const VISIBLE_SECONDS: i64 = 2;

/// How a deployment is reached, as it is sealed.
#[derive(Serialize, Deserialize)]
struct Sealed {
    connection_string: String,
    ca_certificates: Option<String>,
    certificate_key: Option<String>,
    certificate_key_password: Option<String>,
}

/// Why a deployment cannot be spoken to.
#[derive(Debug, thiserror::Error)]
enum AttachedError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(
        "how it is reached was encrypted with another vault key; give its connection string again with `tidemark deployments update`"
    )]
    OtherKey,
    #[error("it is not attached any more")]
    Gone,
    #[error(
        "the databases {databases} are there already and begin as those of this instance would; rename them, or delete the instance and choose another name for it"
    )]
    InTheWay { databases: String },
    #[error(
        "the databases that begin with {prefix} are those of the instance {owner}, which this server does not know or still has; if that is gone, drop {prefix}tidemark.tidemark_stage_claim"
    )]
    Claimed { prefix: String, owner: String },
}

/// How deployments are, and whether they have an oplog.
type Conditions = HashMap<InstanceId, (Condition, bool)>;

/// The attached deployments.
pub(crate) struct Attached {
    catalog: Arc<Catalog>,
    clock: Clock,
    key: VaultKey,
    membership: Arc<Membership>,
    retention_after_delete: SignedDuration,
    /// Held for lookups.
    slots: Mutex<HashMap<InstanceId, Arc<Slot>>>,
    /// What was looked up of all, and when. Held for looking it up.
    conditions: Mutex<(Option<Instant>, Arc<Conditions>)>,
    is_stopping: AtomicBool,
}

/// What is known of one deployment while the server runs.
#[derive(Default)]
struct Slot {
    /// The client, and the version of the record that it was made from. Held for lookups.
    client: Mutex<Option<(i64, Client)>>,
    is_over: AtomicBool,
    /// Rung when the thread is to look at once, or to end.
    rung: Condvar,
    /// Whether it was rung. Held for looking and waiting.
    is_rung: Mutex<bool>,
}

impl Slot {
    fn ring(&self) {
        *lock(&self.is_rung) = true;
        self.rung.notify_all();
    }

    /// Waits until it is rung, at most so long.
    fn wait(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut rung = lock(&self.is_rung);
        while !*rung && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            rung = self.rung.wait_timeout(rung, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *rung = false;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Attached {
    pub(crate) fn new(
        (catalog, clock): (Arc<Catalog>, Clock),
        (key, membership): (VaultKey, Arc<Membership>),
        retention_after_delete: SignedDuration,
    ) -> Arc<Self> {
        Arc::new(Self {
            catalog,
            clock,
            key,
            membership,
            retention_after_delete,
            slots: Mutex::default(),
            conditions: Mutex::default(),
            is_stopping: AtomicBool::new(false),
        })
    }

    /// Seals with the vault's newest key what an older one sealed.
    pub(crate) fn reseal_secrets(&self) -> Result<(), CatalogError> {
        if !self.key.has_old() {
            return Ok(());
        }
        for (id, sealed) in self.catalog.list_sealed()? {
            let object = id.to_string();
            if self.key.is_text_old(&object, &sealed)
                && let Some(text) = self.key.open_text(&object, &sealed)
            {
                self.catalog.replace_sealed(id, &sealed, &self.key.seal_text(&object, &text))?;
            }
        }
        Ok(())
    }

    /// Ends all threads, without waiting for what they wait for.
    pub(crate) fn request_stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        for slot in lock(&self.slots).values() {
            slot.is_over.store(true, Ordering::SeqCst);
            slot.ring();
        }
    }

    /// Sees to it that each deployment has a thread, and brings the instances that stand for them one
    /// step closer to what they should be.
    pub(crate) fn run_round(self: &Arc<Self>, instances: &[Instance]) {
        let attached: Vec<&Instance> =
            instances.iter().filter(|instance| instance.backing == Backing::Attached).collect();
        lock(&self.slots).retain(|id, slot| {
            let stays = attached.iter().any(|instance| instance.id == *id);
            if !stays {
                slot.is_over.store(true, Ordering::SeqCst);
                slot.ring();
            }
            stays
        });
        for instance in attached {
            if self.is_stopping.load(Ordering::SeqCst) {
                return;
            }
            if self.membership.is_chosen_for(instance.id)
                && let Err(error) = self.reconcile(instance)
            {
                tracing::error!(%error, instance = %instance.id, "a deployment could not be brought to its state");
            }
            if !lock(&self.slots).contains_key(&instance.id) {
                self.start_thread(instance.id);
            }
        }
    }

    fn reconcile(&self, instance: &Instance) -> Result<(), CatalogError> {
        let now = self.clock.now();
        if now.as_second() - instance.changed_at.as_second() < VISIBLE_SECONDS {
            return Ok(());
        }
        if instance.state == InstanceState::Deleting {
            if self.has_data_to_drop(instance.id)? {
                // Its thread does that, and goes on trying.
                if now.as_second() - instance.changed_at.as_second() == VISIBLE_SECONDS
                    && let Some(slot) = lock(&self.slots).get(&instance.id)
                {
                    slot.ring();
                }
                return Ok(());
            }
            return self.catalog.retire_instance(instance.id, now, self.retention_after_delete);
        }
        let is_passing =
            matches!(instance.state, InstanceState::Creating | InstanceState::Updating);
        if is_passing { deployments::settle(&self.catalog, instance.id, now) } else { Ok(()) }
    }

    /// Whether an instance is a part of a deployment whose databases go with it.
    fn has_data_to_drop(&self, id: InstanceId) -> Result<bool, CatalogError> {
        let part = self.catalog.find_deployment(id)?.and_then(|found| found.placement);
        Ok(part.is_some_and(|part| part.is_claimed && !part.leaves_data))
    }

    fn start_thread(self: &Arc<Self>, id: InstanceId) {
        let slot = Arc::new(Slot::default());
        lock(&self.slots).insert(id, Arc::clone(&slot));
        let attached = Arc::clone(self);
        std::thread::spawn(move || attached.watch(id, &slot));
    }

    /// Looks at one deployment until it is over.
    fn watch(&self, id: InstanceId, slot: &Slot) {
        let mut failures = 0;
        let mut probed_at = None;
        while !slot.is_over.load(Ordering::SeqCst) {
            if !self.membership.is_chosen_for(id) {
                // Another node looks at it.
                (failures, probed_at) = (0, None);
                slot.wait(LOOK_INTERVAL);
                continue;
            }
            match self.look(id, &mut probed_at) {
                Ok(()) => failures = 0,
                Err(AttachedError::Gone) => return,
                Err(error) => {
                    probed_at = None;
                    failures += 1;
                    self.note_failure(id, &error);
                }
            }
            slot.wait(if failures == 0 { LOOK_INTERVAL } else { wait_after(failures) });
        }
    }

    /// Probes a deployment if that is due, or else sees whether it answers.
    fn look(&self, id: InstanceId, probed_at: &mut Option<Instant>) -> Result<(), AttachedError> {
        let found = self.find(id)?;
        let client = self.client(&found)?;
        let mut connection = Connection::open_patiently(&Endpoint::Attached(client), PATIENCE)?;
        if let Some(part) = &found.placement {
            if self.catalog.load_instance(id)?.state == InstanceState::Deleting {
                return self.remove_part(id, &mut connection);
            }
            if !part.is_claimed {
                self.claim((id, &part.prefix), &mut connection)?;
            }
        }
        if probed_at.is_some_and(|at| at.elapsed() < PROBE_INTERVAL) {
            return Ok(());
        }
        let report = report(&mut connection, || self.clock.now().as_millisecond())?;
        *probed_at = Some(Instant::now());
        if found.condition != Condition::of(&report) {
            tracing::info!(instance = %id, condition = Condition::of(&report).as_str(), "an attached deployment answers");
        }
        let now = self.clock.now();
        Ok(self.catalog.transact(|catalog| deployments::note_report(catalog, id, &report, now))?)
    }

    /// Takes the databases of a part of a deployment, if there are none: what was there before is nobody's
    /// to protect, to replace or to drop under this name.
    fn claim(
        &self,
        (id, prefix): (InstanceId, &str),
        connection: &mut Connection,
    ) -> Result<(), AttachedError> {
        check_free(connection, prefix)?;
        // Another server, or the same deployment attached once more, may be about to take them too.
        let is_gone = |other: &str| {
            let other = other.parse().ok().and_then(|id| self.catalog.load_instance(id).ok());
            other.is_some_and(|other| other.state == InstanceState::Deleted)
        };
        let owner = claim(connection, &id.to_string(), is_gone)?;
        if owner != id.to_string() {
            return Err(AttachedError::Claimed { prefix: prefix.to_owned(), owner });
        }
        // What came in between was there before.
        if let Err(error) = check_free(connection, prefix) {
            give_claim_up(connection, &id.to_string())?;
            return Err(error);
        }
        tracing::info!(instance = %id, "an instance is a part of a deployment");
        Ok(self.catalog.claim_placement(id)?)
    }

    /// Drops the databases of a part of a deployment that is being removed.
    fn remove_part(
        &self,
        id: InstanceId,
        connection: &mut Connection,
    ) -> Result<(), AttachedError> {
        if !self.has_data_to_drop(id)? {
            return Ok(());
        }
        for database in list_databases(connection)? {
            drop_database(connection, &database)?;
        }
        let now = self.clock.now();
        Ok(self.catalog.retire_instance(id, now, self.retention_after_delete)?)
    }

    fn note_failure(&self, id: InstanceId, error: &AttachedError) {
        let condition = Condition::Unreachable(error.to_string());
        let noted = self.find(id).map(|found| found.condition != condition);
        if matches!(noted, Ok(true)) {
            tracing::warn!(%error, instance = %id, "an attached deployment does not answer");
        }
        let now = self.clock.now();
        if let Err(error) = deployments::note_condition(&self.catalog, id, &condition, now) {
            tracing::error!(%error, instance = %id, "that a deployment does not answer was not recorded");
        }
    }

    fn find(&self, id: InstanceId) -> Result<Deployment, AttachedError> {
        self.catalog.find_deployment(id)?.ok_or(AttachedError::Gone)
    }

    /// The client of a deployment, or of a part of one.
    fn client(&self, found: &Deployment) -> Result<Client, AttachedError> {
        match &found.placement {
            Some(part) => Ok(self.whole(&self.find(part.host)?)?.within(&part.prefix)),
            None => self.whole(found),
        }
    }

    /// The client of a whole deployment; made anew when how it is reached has changed.
    fn whole(&self, found: &Deployment) -> Result<Client, AttachedError> {
        let slot = lock(&self.slots).get(&found.instance).cloned();
        if let Some(slot) = &slot
            && let Some((version, client)) = &*lock(&slot.client)
            && *version == found.version
        {
            return Ok(client.clone());
        }
        let settings = self.open(found).ok_or(AttachedError::OtherKey)?;
        let client = Client::new(&settings)?;
        if let Some(slot) = &slot {
            *lock(&slot.client) = Some((found.version, client.clone()));
        }
        Ok(client)
    }

    fn open(&self, found: &Deployment) -> Option<LinkSettings> {
        let text = self.key.open_text(&found.instance.to_string(), &found.reach.sealed)?;
        let sealed: Sealed = serde_json::from_str(text.expose()).ok()?;
        Some(LinkSettings {
            connection_string: Secret::new(sealed.connection_string),
            read_from: found.reach.read_from,
            read_rate_megabytes: found.reach.read_rate,
            tls: TlsSettings {
                ca_certificates: sealed.ca_certificates,
                certificate_key: sealed.certificate_key.map(Secret::new),
                certificate_key_password: sealed.certificate_key_password.map(Secret::new),
            },
        })
    }

    /// How to reach a deployment.
    pub(crate) fn endpoint(&self, instance: InstanceId) -> Option<Endpoint> {
        let client = self.find(instance).and_then(|found| self.client(&found));
        let client = client.inspect_err(|error| {
            tracing::warn!(%error, %instance, "there is no way to an attached deployment");
        });
        Some(Endpoint::Attached(client.ok()?))
    }

    /// Whether the last probe of a deployment found an oplog.
    pub(crate) fn has_oplog(&self, instance: InstanceId) -> bool {
        if let Some((_, has_oplog)) = self.conditions().get(&instance) {
            return *has_oplog;
        }
        // It may have been attached just now.
        let age = self.clock.now().duration_since(instance.made_at());
        if age > SignedDuration::from_mins(1) {
            return false;
        }
        let found = self.find(instance).ok().and_then(|found| found.report);
        found.is_some_and(|report| report.holds(OPLOG))
    }

    /// How all deployments are, as of a second ago at most.
    fn conditions(&self) -> Arc<Conditions> {
        let mut known = lock(&self.conditions);
        if known.0.is_none_or(|at| at.elapsed() >= CONDITIONS_LIFETIME) {
            match self.catalog.list_conditions() {
                Ok(found) => *known = (Some(Instant::now()), Arc::new(found)),
                Err(error) => {
                    tracing::warn!(%error, "how deployments are could not be looked up; what was known holds");
                }
            }
        }
        Arc::clone(&known.1)
    }

    /// What is wrong with deployments, as sentences.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let complaint = |(id, (condition, _)): (&InstanceId, &(Condition, bool))| match condition {
            Condition::Unreachable(reason) => {
                Some(format!("the deployment of instance {id} does not answer: {reason}"))
            }
            _ => None,
        };
        let mut complaints: Vec<_> = self.conditions().iter().filter_map(complaint).collect();
        complaints.sort_unstable();
        complaints
    }
}

/// Refuses databases that are there already in a part of a deployment.
fn check_free(connection: &mut Connection, prefix: &str) -> Result<(), AttachedError> {
    let mut present: BTreeSet<String> = connection.unreachable_databases()?.into_iter().collect();
    let collections = list_collections(connection)?;
    present.extend(collections.iter().map(|found| format!("{prefix}{}", found.database)));
    if present.is_empty() {
        return Ok(());
    }
    let databases = present.into_iter().collect::<Vec<_>>().join(", ");
    Err(AttachedError::InTheWay { databases })
}

/// The wait after so many failures in a row, with a part that differs each time: deployments that
/// fail together are not asked together.
fn wait_after(failures: u32) -> Duration {
    let wait = LONGEST_WAIT.min(FIRST_WAIT * (1 << failures.saturating_sub(1).min(6)));
    let [random] = random_bytes::<1>();
    wait / 2 + wait * u32::from(random) / 510
}

impl std::fmt::Debug for Attached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Attached")
    }
}

impl Attacher for Attached {
    fn probe(&self, settings: &LinkSettings) -> Result<ProbeReport, String> {
        let look = || -> Result<ProbeReport, LinkError> {
            let endpoint = Endpoint::Attached(Client::new(settings)?);
            let mut connection = Connection::open_patiently(&endpoint, PATIENCE)?;
            report(&mut connection, || self.clock.now().as_millisecond())
        };
        look().map_err(|error| error.to_string())
    }

    fn probe_part(&self, found: &Deployment) -> Result<ProbeReport, String> {
        let look = || -> Result<ProbeReport, AttachedError> {
            let endpoint = Endpoint::Attached(self.client(found)?);
            let mut connection = Connection::open_patiently(&endpoint, PATIENCE)?;
            Ok(report(&mut connection, || self.clock.now().as_millisecond())?)
        };
        look().map_err(|error| error.to_string())
    }

    fn seal(&self, id: InstanceId, settings: &LinkSettings) -> String {
        let text = |secret: &Option<Secret>| secret.as_ref().map(|s| s.expose().to_owned());
        let sealed = Sealed {
            connection_string: settings.connection_string.expose().to_owned(),
            ca_certificates: settings.tls.ca_certificates.clone(),
            certificate_key: text(&settings.tls.certificate_key),
            certificate_key_password: text(&settings.tls.certificate_key_password),
        };
        let json = serde_json::to_string(&sealed).unwrap_or_default();
        self.key.seal_text(&id.to_string(), &Secret::new(json))
    }

    fn settings(&self, found: &Deployment) -> Option<LinkSettings> {
        self.open(found)
    }

    fn look_again(&self, id: InstanceId) {
        if let Some(slot) = lock(&self.slots).get(&id) {
            slot.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_minute_and_differ() {
        for failures in 1..40 {
            let longest = LONGEST_WAIT.min(FIRST_WAIT * (1 << (failures - 1).min(6)));
            for _ in 0..20 {
                let wait = wait_after(failures);
                assert!(wait >= longest / 2 && wait <= longest, "{failures}: {wait:?}");
            }
        }
        let waits: std::collections::HashSet<_> = (0..20).map(|_| wait_after(10)).collect();
        assert!(waits.len() > 1);
    }
}
