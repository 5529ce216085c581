//! The schema of what each command prints with `--json`.

use schemars::{Schema, schema_for};

use crate::answers;

/// A command, and the schema of what it prints.
pub type CommandSchema = (&'static str, fn() -> Schema);

/// All commands that print data of the server.
pub const SCHEMAS: &[CommandSchema] = &[
    ("profiles list", || schema_for!(answers::KnownServers)),
    ("projects list", || schema_for!(answers::Projects)),
    ("projects create", || schema_for!(answers::Project)),
    ("projects delete", || schema_for!(answers::Removed)),
    ("instances list", || schema_for!(answers::Instances)),
    ("instances show", || schema_for!(answers::Instance)),
    ("instances create", || schema_for!(answers::Instance)),
    ("instances delete", || schema_for!(answers::Removed)),
    ("instances rehost", || schema_for!(answers::Rehosted)),
    ("deployments list", || schema_for!(answers::Deployments)),
    ("deployments show", || schema_for!(answers::Deployment)),
    ("deployments attach", || schema_for!(answers::Deployment)),
    ("deployments probe", || schema_for!(answers::Deployment)),
    ("deployments update", || schema_for!(answers::Deployment)),
    ("deployments detach", || schema_for!(answers::Deployment)),
    ("snapshots list", || schema_for!(answers::Snapshots)),
    ("snapshots show", || schema_for!(answers::Snapshot)),
    ("snapshots create", || schema_for!(answers::Snapshot)),
    ("snapshots keep", || schema_for!(answers::Snapshot)),
    ("snapshots delete", || schema_for!(answers::Removed)),
    ("snapshots export", || schema_for!(answers::Exported)),
    ("snapshots download", || schema_for!(answers::Exported)),
    ("snapshots import", || schema_for!(answers::Snapshot)),
    ("snapshots find", || schema_for!(answers::Found)),
    ("snapshots cat", || schema_for!(answers::Found)),
    ("snapshots diff", || schema_for!(answers::Differences)),
    ("snapshots open", || schema_for!(answers::Opened)),
    ("restores plan", || schema_for!(answers::Plan)),
    ("restores create", || schema_for!(answers::RestoreJob)),
    ("restores list", || schema_for!(answers::RestoreJobs)),
    ("restores show", || schema_for!(answers::RestoreJob)),
    ("restores watch", || schema_for!(answers::RestoreJob)),
    ("restores cancel", || schema_for!(answers::RestoreJob)),
    ("alerts list", || schema_for!(answers::AlertChannels)),
    ("alerts test", || schema_for!(answers::SentAlert)),
    ("vault show", || schema_for!(answers::Vaults)),
    ("schedule show", || schema_for!(answers::Schedule)),
    ("schedule set", || schema_for!(answers::Schedule)),
    ("schedule reset", || schema_for!(answers::Schedule)),
    ("drill", || schema_for!(answers::Drill)),
    ("drill list", || schema_for!(answers::Drills)),
    ("drill show", || schema_for!(answers::Drill)),
    ("drill report", || schema_for!(answers::SignedReport)),
    ("drill verify", || schema_for!(answers::VerifiedReport)),
    ("users list", || schema_for!(answers::Users)),
    ("users create", || schema_for!(answers::User)),
    ("users delete", || schema_for!(answers::Removed)),
    ("accounts list", || schema_for!(answers::ServiceAccounts)),
    ("accounts add", || schema_for!(answers::ServiceAccount)),
    ("accounts delete", || schema_for!(answers::Removed)),
    ("keys list", || schema_for!(answers::ApiKeys)),
    ("keys add", || schema_for!(answers::ApiKey)),
    ("keys delete", || schema_for!(answers::Removed)),
];

/// The schema of a command, as `restores list`.
pub fn schema_of(command: &str) -> Option<Schema> {
    SCHEMAS.iter().find(|(name, _)| *name == command).map(|(_, schema)| schema())
}
