//! What commands print with `--json`, and what the server answers: the same types.
//!
//! Fields are only ever added. What the server does not say is not there.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A type that goes over the wire and to the standard output.
macro_rules! answers {
    ($($(#[$about:meta])* $name:ident { $($(#[$field_about:meta])* $field:ident: $kind:ty,)* })*) => {$(
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase")]
        pub(crate) struct $name {
            $(
                $(#[$field_about])*
                pub(crate) $field: $kind,
            )*
        }
    )*};
}

answers! {
    /// A place in an oplog.
    Position {
        /// Its second, in RFC 3339.
        date: String,
        /// The second, since 1970.
        oplog_ts: u32,
        /// The entry within that second.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        oplog_inc: Option<u32>,
    }

    /// Moments without a gap.
    Span {
        /// The first moment that can be restored.
        from: Position,
        /// The last one.
        through: Position,
    }

    /// An organization's project.
    Project {
        /// Its id.
        id: String,
        /// Its name.
        name: String,
        /// Its organization.
        org_id: String,
        /// When it was made.
        created: String,
        /// How many instances it has.
        cluster_count: u64,
    }

    /// A list of projects.
    Projects {
        /// The projects.
        results: Vec<Project>,
    }

    /// An instance: a database inside Tidemark, or a deployment that somebody else runs.
    Instance {
        /// Its id.
        id: String,
        /// Its name.
        name: String,
        /// Where it stands: `CREATING`, `IDLE`, `UPDATING`, `REPAIRING` or `DELETING`.
        state: String,
        /// Why it is not served, if it is not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// Through which of Atlas's APIs it is shown: `serverless`, `flex` or `cluster`.
        view: String,
        /// Where its data is: `embedded`, `attached` or `placed`.
        backing: String,
        /// Its vault, if it is not the common one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vault: Option<String>,
        /// How clients reach it, if Tidemark runs it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        connection_string: Option<String>,
        /// Its newest complete snapshot.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        newest_snapshot: Option<Snapshot>,
        /// What can be restored, the oldest span first.
        restorable: Vec<Span>,
        /// The newest entry of its oplog that was captured, where that is done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_captured: Option<Position>,
        /// Bytes of documents in its newest snapshot.
        size_bytes: u64,
        /// The newest drill that brought everything back, if there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_proven_restore: Option<ProvenRestore>,
    }

    /// A drill that brought everything back.
    ProvenRestore {
        /// The drill.
        drill_id: String,
        /// When it was over.
        proven_at: String,
        /// The snapshot.
        snapshot_id: String,
        /// Documents that were brought back and compared.
        documents: u64,
    }

    /// A list of instances.
    Instances {
        /// The instances, by name.
        results: Vec<Instance>,
    }

    /// A snapshot.
    Snapshot {
        /// Its id.
        id: String,
        /// When it was asked for.
        created_at: String,
        /// Until when it is kept.
        expires_at: String,
        /// `onDemand` or `scheduled`.
        kind: String,
        /// `queued`, `inProgress`, `completed` or `failed`.
        state: String,
        /// The moment that it shows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shows: Option<Position>,
        /// Bytes of its documents.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size_bytes: Option<u64>,
        /// What who asked for it wrote.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        description: Option<String>,
        /// The kind of the reason, one word.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<String>,
        /// Why it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// How it was made consistent: `snapshot`, `synthetic`, `fuzzyWithOplog` or `asIs`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode: Option<String>,
        /// Whether it shows one moment.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        is_point_in_time: Option<bool>,
        /// Why it was not made consistent in a stronger way.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode_reason: Option<String>,
        /// How it compares with what would have been made of the one before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        comparison: Option<Comparison>,
        /// When it was over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        finished_at: Option<String>,
        /// How far it is; with `show`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        progress: Option<Progress>,
    }

    /// A comparison of two snapshots that should be equal.
    Comparison {
        /// The other snapshot.
        snapshot_id: String,
        /// What is different, one sentence each.
        differences: Vec<String>,
    }

    /// A list of snapshots.
    Snapshots {
        /// The newest ones first.
        results: Vec<Snapshot>,
        /// How many there are.
        total_count: u64,
    }

    /// How far something is.
    Progress {
        /// Of what.
        id: String,
        /// Where it stands.
        state: String,
        /// The step that it is at.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<String>,
        /// Which namespace is worked on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
        /// Documents so far.
        documents_done: u64,
        /// Bytes so far.
        bytes_done: u64,
        /// Bytes altogether, once that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes_total: Option<u64>,
        /// Bytes in a second.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes_per_second: Option<u64>,
        /// Seconds that are left at this rate.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        estimated_seconds_left: Option<u64>,
    }

    /// A restore job.
    RestoreJob {
        /// Its id.
        id: String,
        /// `automated`, `pointInTime` or `download`.
        delivery_type: String,
        /// `queued`, `running`, `completed`, `failed` or `cancelled`.
        state: String,
        /// The step that it is at.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<String>,
        /// The kind of the reason, one word.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<String>,
        /// Why it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// What readers of the target may see meanwhile.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        notice: Option<String>,
        /// When it was asked for.
        created_at: String,
        /// When it was over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        finished_at: Option<String>,
        /// The snapshot from which it begins.
        snapshot_id: String,
        /// The instance that is written to.
        target_cluster_name: String,
        /// The project of that.
        target_group_id: String,
        /// Documents so far.
        documents_done: u64,
        /// Bytes so far.
        bytes_done: u64,
        /// What is restored, if that is not everything.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        namespaces: Option<Vec<Rule>>,
        /// Which documents are restored, if not whole collections.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        documents: Option<Documents>,
        /// Whether documents are replaced where they are.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replace_in_place: Option<bool>,
        /// What the file of a download is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        format: Option<String>,
        /// Until when the link of a download works.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<String>,
        /// The link of a download.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        download_url: Option<String>,
        /// How far it is; with `show` and `watch`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        progress: Option<Progress>,
    }

    /// A list of restore jobs.
    RestoreJobs {
        /// The newest ones first.
        results: Vec<RestoreJob>,
        /// How many there are.
        total_count: u64,
    }

    /// A namespace that is restored, and its name there.
    Rule {
        /// Its name in the snapshot.
        from: String,
        /// Its name in the target.
        to: String,
    }

    /// Documents of one collection that are written into a collection as it is.
    Documents {
        /// The collection of the backup.
        namespace: String,
        /// The collection of the target.
        to: String,
        /// A filter in Extended JSON.
        filter: serde_json::Value,
        /// What happens where the target has others: `insert` (nothing is written), `replace` or `skip`.
        on_conflict: String,
    }

    /// What a target has of the documents that would be written.
    DocumentsThere {
        /// Those that are there and are different.
        different: u64,
        /// Those that are there as they would be written.
        equal: u64,
    }

    /// A way on which people are told what goes wrong.
    AlertChannel {
        /// Its name in the configuration.
        name: String,
        /// `slack`, `discord`, `telegram`, `teams`, `json` or `mail`.
        kind: String,
        /// What is not as bad is not told: `warning` or `critical`.
        least: String,
        /// Whether it is told what is about any project.
        is_for_all_projects: bool,
    }

    /// All of them.
    AlertChannels {
        /// The channels.
        results: Vec<AlertChannel>,
        /// How many there are.
        total_count: u64,
    }

    /// A message that was sent.
    SentAlert {
        /// The channel.
        name: String,
        /// Always true.
        sent: bool,
    }

    /// Where backups are.
    Vault {
        /// Its name; the common one has none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Whether backups of the project's new instances go there.
        is_for_new: bool,
        /// Instances of the project whose backups go there, and deleted ones whose backups are kept.
        instances: u64,
        /// `WHOLE`, `DAMAGED` where something is missing that a snapshot needs, or `UNKNOWN`.
        state: String,
        /// Why it cannot be looked at.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// Bytes of its packs, of all projects that share it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stored_bytes: Option<u64>,
        /// Its packs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        packs: Option<u64>,
        /// How many of them were not read back yet since they were written.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        packs_unread: Option<u64>,
        /// Since when all others were read back at least once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        read_since: Option<String>,
        /// Packs that cannot be read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unreadable_packs: Option<u64>,
        /// Chunks that could not be read where they are stored; other packs may have them too.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bad_chunks: Option<u64>,
        /// Snapshots of the project that cannot be restored.
        #[serde(default)]
        damaged_snapshots: Vec<DamagedSnapshot>,
        /// How many snapshots of other projects cannot be.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        damaged_elsewhere: Option<u64>,
    }

    /// A snapshot that cannot be restored.
    DamagedSnapshot {
        /// Its id.
        id: String,
        /// How many of its chunks the vault lacks.
        missing_chunks: u64,
    }

    /// All vaults of a project.
    Vaults {
        /// The vaults.
        results: Vec<Vault>,
        /// How many there are.
        total_count: u64,
    }

    /// When snapshots are taken and drills done by themselves.
    Schedule {
        /// Whether the instance has one of its own.
        is_own: bool,
        /// When snapshots are taken: `frequency` and `interval`, or `cron`; and `keep`, how long they are kept.
        snapshots: Vec<serde_json::Value>,
        /// When drills are done: `frequency` and `interval`, or `cron`; `point` and `checks`.
        drills: Vec<serde_json::Value>,
        /// The zone in which the times are.
        time_zone: String,
        /// The time of the day from which they count.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        time: Option<String>,
        /// Every moment of so many days can be restored.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restore_window_days: Option<u32>,
        /// When the next snapshot is due.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next_snapshot: Option<String>,
        /// When the next drill is due.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next_drill: Option<String>,
        /// What holds where an instance has none of its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        policy: Option<CommonPolicy>,
    }

    /// What the server's configuration says of all instances without a schedule of their own.
    CommonPolicy {
        /// Seconds between two snapshots.
        snapshot_interval: i64,
        /// Seconds that a snapshot is kept.
        snapshot_retention: i64,
        /// Seconds back that every moment can be restored.
        restore_window: i64,
    }

    /// A backup that is served as a database that can only be read.
    Opened {
        /// How it is reached.
        connection_string: String,
        /// When it closes by itself.
        closes_at: String,
        /// The last entry that it shows, if that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shows: Option<Position>,
        /// What it does not have of the backup.
        left_out: Vec<LeftOut>,
    }

    /// Something of a backup that the embedded engine does not have.
    LeftOut {
        /// The collection.
        namespace: String,
        /// What it is: the collection, a view, an index, an option.
        kind: String,
        /// Why not.
        reason: String,
    }

    /// What a restore would do.
    Plan {
        /// The snapshot from which it begins.
        snapshot_id: String,
        /// What is written.
        namespaces: Vec<PlannedNamespace>,
        /// What the target has of single documents, if those are restored.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        documents_there: Option<DocumentsThere>,
        /// Collections of the target that go.
        dropped: Vec<String>,
        /// Collections of the target that stay.
        kept: Vec<String>,
        /// Why it would fail.
        obstacles: Vec<String>,
        /// Documents altogether.
        documents: u64,
        /// Bytes altogether.
        bytes: u64,
        /// Oplog entries that are replayed.
        entries: u64,
        /// How long it takes, about.
        estimated_seconds: u64,
        /// Whether everything takes its place in one commit.
        is_atomic: bool,
        /// What is done, in order.
        steps: Vec<PlannedStep>,
    }

    /// A collection that a restore writes.
    PlannedNamespace {
        /// Its name in the snapshot.
        from: String,
        /// Its name in the target.
        to: String,
        /// `collection`, `view` or `timeseries`; `documents` where those are written into it.
        kind: String,
        /// Whether the target has one of that name, which goes.
        replaces: bool,
        /// Its documents.
        documents: u64,
        /// Their bytes.
        bytes: u64,
    }

    /// A step of a restore.
    PlannedStep {
        /// Its name.
        step: String,
        /// What it does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        what: Option<String>,
        /// Documents of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        documents: Option<u64>,
        /// Bytes of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes: Option<u64>,
        /// Entries of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        entries: Option<u64>,
    }

    /// A file that was written.
    Exported {
        /// Its name; `-` for the standard output.
        file: String,
        /// Its bytes.
        bytes: u64,
        /// The restore job that made it.
        restore_job_id: String,
    }

    /// An instance that begins anew.
    Rehosted {
        /// The job that brings its data back; nothing if it has no backups.
        restore_job_id: Option<String>,
        /// After which moment everything is lost.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lost_after: Option<Position>,
    }

    /// A deployment that somebody else runs.
    Deployment {
        /// Its id.
        id: String,
        /// Its name.
        name: String,
        /// `unknown`, `reachable`, `limited` or `unreachable`.
        state: String,
        /// Since when.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        state_since: Option<String>,
        /// Through which of Atlas's APIs it is shown.
        view: String,
        /// Where it is, without its secrets.
        address: String,
        /// From which members data is read.
        read_from: String,
        /// Megabytes that are read in a second at most.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        read_rate_megabytes: Option<u32>,
        /// The deployment of which it is a part.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        placed_on: Option<String>,
        /// What the names of its databases begin with there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        database_prefix: Option<String>,
        /// What is not as it should be, one sentence each.
        reasons: Vec<String>,
        /// When it was looked at.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        probed_at: Option<String>,
        /// What was found then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        report: Option<Report>,
    }

    /// A list of deployments.
    Deployments {
        /// The deployments.
        results: Vec<Deployment>,
    }

    /// What a look at a deployment found.
    Report {
        /// What kind of server it is.
        product: String,
        /// The version that it says it has.
        version: String,
        /// How its servers belong together.
        topology: String,
        /// The name of the replica set.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        set_name: Option<String>,
        /// Its members.
        #[serde(default)]
        hosts: Vec<String>,
        /// What it can do.
        findings: Vec<Finding>,
        /// Collections of kinds that are not kept like others.
        #[serde(default)]
        special: Vec<SpecialCollections>,
        /// What cannot be protected, and why.
        #[serde(default)]
        unprotected: Vec<String>,
        /// What the user may not do and should.
        #[serde(default)]
        missing_privileges: Vec<String>,
        /// The command that makes a role that may.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        create_role: Option<String>,
        /// How far its clock is ahead.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        clock_ahead_milliseconds: Option<i64>,
        /// How far back its oplog reaches.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        oplog_window_seconds: Option<i64>,
        /// The sizes of its databases.
        databases: Vec<DatabaseSize>,
    }

    /// Something that a deployment can do, or not.
    Finding {
        /// What it is about.
        name: String,
        /// Whether it can.
        holds: bool,
        /// Whether something is missing to its protection when it cannot.
        #[serde(default)]
        is_needed: bool,
        /// What follows from that.
        consequence: String,
    }

    /// Collections of a kind that is not kept like others.
    SpecialCollections {
        /// The kind.
        kind: String,
        /// How many there are.
        count: u64,
        /// The first of them.
        #[serde(default)]
        namespaces: Vec<String>,
        /// What follows for their protection.
        consequence: String,
    }

    /// The size of a database.
    DatabaseSize {
        /// Its name.
        name: String,
        /// Its size on disk.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes: Option<u64>,
    }

    /// What was found in a snapshot or a moment.
    Found {
        /// The documents, in canonical Extended JSON.
        documents: Vec<serde_json::Value>,
        /// How much was read for that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        summary: Option<SearchSummary>,
    }

    /// How much was read to find documents.
    SearchSummary {
        /// Documents that were found.
        documents: u64,
        /// Whether there are more than were asked for.
        is_more: bool,
        /// Chunks of the collection.
        chunks: u64,
        /// Chunks that were read.
        chunks_read: u64,
        /// Documents in those.
        documents_read: u64,
        /// The moment that was looked at.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shows: Option<Position>,
    }

    /// What is different between two snapshots or moments.
    Differences {
        /// One for each namespace, those that are equal too.
        namespaces: Vec<Difference>,
        /// Documents that are different, if they were asked for.
        documents: Vec<DocumentDifference>,
    }

    /// What became of a namespace.
    Difference {
        /// The namespace.
        namespace: String,
        /// Whether it is in the first one.
        is_in_from: bool,
        /// Whether it is in the second one.
        is_in_to: bool,
        /// Documents that only the second one has.
        added: u64,
        /// Documents that only the first one has.
        removed: u64,
        /// Documents that are not the same.
        changed: u64,
        /// Chunks that are the same in both, and were not read.
        chunks_equal: u64,
        /// Chunks that were read.
        chunks_read: u64,
        /// What else is different.
        also: Vec<String>,
    }

    /// A document that is different.
    DocumentDifference {
        /// Its namespace.
        namespace: String,
        /// As it is in the first one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<serde_json::Value>,
        /// As it is in the second one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<serde_json::Value>,
    }

    /// A restore drill.
    Drill {
        /// Its id.
        id: String,
        /// `queued`, `running`, `proven` or `failed`.
        state: String,
        /// The step that it is at.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<String>,
        /// The kind of the reason, one word.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<String>,
        /// Why it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// The snapshot that is brought back, or from which the moment is made.
        snapshot_id: String,
        /// The second of the moment.
        #[serde(rename = "pointInTimeUTCSeconds", default, skip_serializing_if = "Option::is_none")]
        point_in_time: Option<u32>,
        /// Whether a schedule asked for it.
        is_scheduled: bool,
        /// How many checks of the user's own it asks.
        checks: u64,
        /// When it was asked for.
        created_at: String,
        /// When it was over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        finished_at: Option<String>,
        /// Whether there is a report.
        has_report: bool,
    }

    /// A list of drills.
    Drills {
        /// The newest ones first.
        results: Vec<Drill>,
        /// How many there are.
        total_count: u64,
    }

    /// A report with its signature: of the report as compact JSON, its keys in this order.
    SignedReport {
        /// The report.
        report: serde_json::Value,
        /// Its signature.
        signature: ReportSignature,
    }

    /// The signature of a report.
    ReportSignature {
        /// `Ed25519`.
        algorithm: String,
        /// The public key, in hexadecimal digits.
        public_key: String,
        /// The signature, in hexadecimal digits.
        value: String,
    }

    /// A report whose signature is good.
    VerifiedReport {
        /// The drill.
        drill_id: String,
        /// Whose backup it was.
        instance_name: String,
        /// `proven` or `failed`.
        outcome: String,
        /// When it was over.
        finished_at: String,
        /// The key that signed it.
        public_key: String,
    }

    /// A database user.
    User {
        /// Its name.
        username: String,
        /// Where it is authenticated.
        database_name: String,
        /// What it may do.
        #[serde(default)]
        roles: Vec<UserRole>,
    }

    /// A role of a database user.
    UserRole {
        /// The role.
        role_name: String,
        /// In which database.
        database_name: String,
    }

    /// A list of database users.
    Users {
        /// The users.
        results: Vec<User>,
    }

    /// An API key.
    ApiKey {
        /// Its id.
        id: String,
        /// What it is for.
        #[serde(default)]
        desc: String,
        /// Its public part.
        public_key: String,
        /// Its private part; only when it is made, later its last digits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        private_key: Option<String>,
        /// What it may do.
        roles: Vec<KeyRole>,
    }

    /// A role of an API key.
    KeyRole {
        /// The role.
        role_name: String,
        /// In which organization.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        org_id: Option<String>,
        /// In which project.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        group_id: Option<String>,
    }

    /// A list of API keys.
    ApiKeys {
        /// The keys.
        results: Vec<ApiKey>,
    }

    /// A service account.
    ServiceAccount {
        /// What it signs in with.
        client_id: String,
        /// Its name.
        name: String,
        /// What it is for.
        #[serde(default)]
        description: String,
        /// What it may do in the project.
        roles: Vec<String>,
        /// Its secrets.
        #[serde(default)]
        secrets: Vec<AccountSecret>,
    }

    /// A secret of a service account.
    AccountSecret {
        /// Its id.
        id: String,
        /// The secret itself; only when it is made.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secret: Option<String>,
        /// Its last digits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        masked_secret_value: Option<String>,
        /// When it ends.
        expires_at: String,
    }

    /// A list of service accounts.
    ServiceAccounts {
        /// The accounts.
        results: Vec<ServiceAccount>,
    }

    /// What is gone, or will be.
    Removed {
        /// What was removed.
        removed: String,
    }

    /// A server that this user knows.
    KnownServer {
        /// The profile's name.
        profile: String,
        /// The server's address.
        server: String,
        /// Its project, if one is set.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        project: Option<String>,
        /// As whom it is asked.
        caller: String,
        /// Whether it is used when none is named.
        is_default: bool,
    }

    /// The servers that this user knows.
    KnownServers {
        /// The profiles, by name.
        results: Vec<KnownServer>,
    }
}

impl Difference {
    /// Whether anything of it is.
    pub(crate) fn is_different(&self) -> bool {
        !(self.is_in_from && self.is_in_to)
            || self.added + self.removed + self.changed > 0
            || !self.also.is_empty()
    }
}
