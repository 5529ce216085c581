//! `tidemark vault verify`: reads everything back and names what is damaged. `tidemark vault
//! rebuild`: makes the catalog's records of backups anew from the vault alone. `tidemark vault copy`:
//! copies it to a second place.

use std::process::ExitCode;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tidemark_catalog::{
    Backing, Catalog, FoundSnapshot, Instance, InstanceFamily, InstanceSettings, NewSnapshot, Page,
    Proof,
};
use tidemark_model::{
    ApiKeyId, Caller, Clock, InstanceId, InstanceState, OplogSpan, Principal, ProjectId, Role,
    Roles, SnapshotEvent, SnapshotKind, parse_instant,
};
use tidemark_vault::{CopyOptions, Location, Manifest, SnapshotOwner, Vault, VaultError};

use crate::config::Config;
use crate::seed::Seed;
use crate::{bootstrap, folder};

/// Verifies the vault, and unless one was chosen all others; the exit code tells whether all is well.
pub(crate) fn verify(config: &Config) -> crate::Outcome {
    let mut is_well = verify_one(config)?;
    for name in config.other_vaults() {
        println!("vault {name}:");
        is_well &= verify_one(&config.for_vault(name)?)?;
    }
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn verify_one(config: &Config) -> Result<bool, Failure> {
    let location = config.vault_location()?;
    if matches!(&location, Location::Folder(folder) if !folder.exists()) {
        return Err(format!("there is no vault in {location}; check --data-dir or --vault").into());
    }
    let vault = Vault::open_to_read(&location, config.present_vault_key()?)?;
    let report = vault.verify()?;
    println!(
        "read {} snapshots, {} chunks, {} oplog segments in {}",
        report.snapshots, report.chunks, report.segments, location
    );
    for damage in &report.damages {
        println!("damaged: {}: {}", damage.object, damage.reason);
    }
    if report.damages.is_empty() {
        println!("everything is whole");
        return Ok(true);
    }
    Ok(false)
}

/// Copies the vault to a second place; the exit code tells whether all of it is there.
pub(crate) fn copy(config: &Config, to: &str, options: CopyOptions) -> crate::Outcome {
    let (from, to) = (config.vault_location()?, Location::parse(to)?);
    if from.to_string() == to.to_string() {
        return Err(format!("{to} is where the vault is; name another place with --to").into());
    }
    let key = config.present_vault_key()?;
    let source = Vault::open_to_read(&from, key.clone())?;
    let target = Vault::open(&to, key)?;
    let report = source.copy_to(&target, options)?;
    println!(
        "copied {} snapshots, {} packs, {} oplog segments ({} bytes of packs) to {to}",
        report.snapshots, report.packs, report.segments, report.bytes
    );
    if options.remove_gone {
        println!("removed {} snapshots and oplog segments from {to}", report.removed);
    }
    for (what, reason) in &report.failures {
        println!("not copied: {what}: {reason}");
    }
    if report.failures.is_empty() {
        println!("everything is there");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}

type Failure = Box<dyn std::error::Error>;

/// How long oplogs without a snapshot, and instances without a catalog, are kept after a rebuild.
const KEPT: SignedDuration = SignedDuration::from_hours(35 * 24);

/// Makes the records of all snapshots and captured oplogs that the vault holds and the catalog does
/// not know. Instances that it does not know come back as deleted ones whose backups are kept, in
/// the first project. Records that are there stay as they are.
pub(crate) fn rebuild(config: &Config) -> crate::Outcome {
    let _lock = folder::lock(&config.data_dir)?;
    let mut vaults = vec![(config.vault_name(), open_to_rebuild(config)?)];
    for name in config.other_vaults() {
        vaults.push((Some(name), open_to_rebuild(&config.for_vault(name)?)?));
    }
    let clock = Clock::system();
    let catalog = config.open_catalog()?;
    let base_url = format!("http://{}", config.server.listen);
    bootstrap::run(&catalog, &clock, (&config.data_dir, &base_url), &Seed::default())?;
    let project = first_project(&catalog)?;
    let mut is_whole = true;
    for (name, vault) in &vaults {
        if let Some(name) = name {
            println!("vault {name}:");
        }
        let vault_name = name.map(str::to_owned);
        let now = clock.now();
        let rebuild = Rebuild { catalog: &catalog, vault, vault_name, now, project };
        is_whole &= rebuild.run()?;
    }
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn open_to_rebuild(config: &Config) -> Result<Arc<Vault>, Failure> {
    let (location, key) = (config.vault_location()?, config.present_vault_key()?);
    match Vault::open(&location, key.clone()) {
        Err(VaultError::NoConfiguration { .. }) => {
            Ok(Vault::open_without_configuration(&location, key)?)
        }
        outcome => Ok(outcome?),
    }
}

fn first_project(catalog: &Catalog) -> Result<ProjectId, Failure> {
    let org = catalog.find_first_org()?.ok_or("the catalog has no organization")?;
    let owner = Caller {
        principal: Principal::ApiKey(ApiKeyId::new(org.created_at)),
        org: org.id,
        roles: Roles { org: vec![Role::OrgOwner], projects: Vec::new() },
    };
    let projects = catalog.list_projects(&owner, "", Page::EVERYTHING)?;
    Ok(projects.items.first().ok_or("the catalog has no project")?.id)
}

struct Rebuild<'a> {
    catalog: &'a Catalog,
    vault: &'a Vault,
    /// As the configuration calls it, unless it is the common one.
    vault_name: Option<String>,
    now: Timestamp,
    project: ProjectId,
}

impl Rebuild<'_> {
    /// Makes the records of one vault; answers whether all of it could be read.
    fn run(&self) -> Result<bool, Failure> {
        let (mut snapshots, mut unreadable) = (0_usize, 0_usize);
        for id in self.vault.snapshots()? {
            match self.vault.load_manifest(&id) {
                Ok(manifest) => snapshots += usize::from(self.add_snapshot(&manifest)?),
                Err(error) => {
                    unreadable += 1;
                    println!("not taken over: snapshot {id}: {error}");
                }
            }
        }
        let mut spans = 0;
        for instance in self.vault.captured_instances()? {
            spans += self.add_spans(&instance)?;
        }
        println!(
            "the catalog has {snapshots} more snapshots, and {spans} spans of captured oplogs"
        );
        Ok(unreadable == 0)
    }

    fn add_snapshot(&self, manifest: &Manifest) -> Result<bool, Failure> {
        let owner = &manifest.owner;
        let instance: InstanceId = owner.instance.parse()?;
        if !self.add_instance(instance, &owner.instance_name)? {
            println!(
                "not taken over: snapshot {} of instance {instance}, whose backups are in another vault",
                manifest.snapshot
            );
            return Ok(false);
        }
        let instant =
            |text: &str| parse_instant(text).ok_or("a manifest holds an unusable instant");
        let created_at = instant(&owner.created_at)?;
        let is_imported = owner.kind == SnapshotOwner::IMPORTED;
        let kind = match SnapshotKind::parse(&owner.kind) {
            Some(kind) => kind,
            None if is_imported => SnapshotKind::OnDemand,
            None => return Err("a manifest holds an unusable kind".into()),
        };
        let wanted = NewSnapshot {
            id: manifest.snapshot.parse()?,
            instance,
            kind,
            created_at,
            expires_at: instant(&owner.expires_at)?,
            description: None,
            policy: None,
            is_imported,
        };
        let end = SnapshotEvent::Stored {
            at: instant(&manifest.taken_at)?,
            // The moment of an imported one is of another oplog.
            consistent_at: manifest.mode.consistent_at().filter(|_| !is_imported),
            size_bytes: manifest.size_bytes(),
        };
        let proof = Proof {
            server_version: manifest.server_version.clone(),
            mode: manifest.mode.as_str().to_owned(),
            mode_reason: manifest.mode_reason.clone(),
            comparison: None,
        };
        Ok(self.catalog.insert_found_snapshot(&FoundSnapshot { wanted, end, proof })?)
    }

    /// Records an instance, if it is not known; answers whether its backups are in this vault.
    fn add_instance(&self, id: InstanceId, name: &str) -> Result<bool, Failure> {
        let instance = Instance {
            id,
            project: self.project,
            name: name.parse()?,
            family: InstanceFamily::Serverless,
            state: InstanceState::Deleted,
            settings: InstanceSettings {
                backing_provider: "AWS".to_owned(),
                region: "US_EAST_1".to_owned(),
                termination_protection: false,
                continuous_backup: true,
                tags: Vec::new(),
                auto_indexing: true,
            },
            created_at: self.now,
            changed_at: self.now,
            backing: Backing::Embedded,
            port: None,
            trouble: None,
            node: None,
            vault: self.vault_name.clone(),
        };
        let until = self.now.saturating_add(KEPT).unwrap_or(self.now);
        if self.catalog.insert_found_instance(&instance, until)? {
            println!("instance {id}, {name}, comes back as a deleted one");
        }
        self.is_here(id)
    }

    /// Whether the backups of an instance are in this vault, as its record says.
    fn is_here(&self, id: InstanceId) -> Result<bool, Failure> {
        Ok(self.catalog.vault_of(id)? == self.vault_name)
    }

    /// Records the spans that an instance's segments make up; answers how many there are.
    fn add_spans(&self, instance: &str) -> Result<usize, Failure> {
        let mut spans: Vec<OplogSpan> = Vec::new();
        for segment in self.vault.segments(instance)? {
            match spans.last_mut() {
                // A segment of one position begins a span; so does one that nothing leads to.
                Some(last) if segment.first < segment.last && segment.first <= last.last => {
                    last.last = last.last.max(segment.last);
                }
                _ => spans.push(segment),
            }
        }
        let Ok(id) = instance.parse() else { return Ok(0) };
        if self.catalog.load_instance(id).is_err() {
            println!(
                "not taken over: the oplog of instance {instance}, of which there is no snapshot"
            );
            return Ok(0);
        }
        if !self.is_here(id)? {
            println!(
                "not taken over: the oplog of instance {instance}, whose backups are in another vault"
            );
            return Ok(0);
        }
        for span in &spans {
            self.catalog.insert_found_span(id, *span)?;
        }
        Ok(spans.len())
    }
}
