//! The words of the domain: ids, instants, states and their transitions.
//!
//! Pure data and rules: no sockets, no disks, no HTTP. Everything else in the
//! workspace speaks in these types and converts to them at its own edge.

mod clock;
mod deployment;
mod document_choice;
mod drill;
mod event;
mod failure;
mod frequency;
mod hex;
mod ids;
mod instance;
mod node;
mod oplog_time;
mod placement;
mod plan;
mod policy;
mod restore_job;
mod roles;
mod schedule;
mod schedule_lines;
mod secret;
mod selection;
mod snapshot;
mod throttle;
mod timing;
mod transition;

pub use clock::{Clock, format_instant, parse_instant};
pub use deployment::{
    Condition, DatabaseSize, Finding, LinkSettings, ProbeReport, ReadFrom, SpecialCollections,
    TlsSettings, Topology,
};
pub use document_choice::{DocumentChoice, OnConflict};
pub use drill::{
    CheckResult, ContentProof, DrillCheck, DrillCheckError, DrillEvent, DrillReport, DrillState,
    DrillStep, MOST_CHECKS, MOST_DOCUMENTS, NotRestored, ProvenCollection,
};
pub use event::{EVENT_TYPES, EventScope, EventType};
pub use failure::{Cause, Failure};
pub use frequency::{Frequency, LAST_DAY};
pub use hex::{from_hex, to_hex};
pub use ids::{
    ApiKeyId, DatabaseUserId, DrillId, EventId, IdError, InstanceId, NodeId, NodeRun, OrgId,
    PolicyId, PolicyItemId, ProjectId, RestoreJobId, SecretId, ServiceAccountId, SnapshotId,
    new_object_id,
};
pub use instance::{InstanceEvent, InstanceName, InstanceNameError, InstanceState};
pub use node::{NodeRole, NodeRoleError};
pub use oplog_time::OplogTime;
pub use placement::{
    Place, PlacementRule, VaultRule, database_prefix, is_database_prefix, place_of, vault_of,
};
pub use plan::{
    Base, Captured, Material, OplogGap, OplogSpan, PlanError, RestorePlan, chain, plan_restore,
    restorable,
};
pub use policy::BackupPolicy;
pub use restore_job::{
    BackupPoint, DUMP_FOLDER, Delivery, DownloadStep, ExportFormat, PointInTime, ReplaceStep,
    RestoreEvent, RestoreState, RestoreStep,
};
pub use roles::{Caller, Principal, Role, Roles};
pub use schedule::{
    BackupSchedule, DrillItem, LONGEST_WINDOW_DAYS, MOST_SCHEDULE_LINES, PolicyItem, PolicyMatch,
    Retention, RetentionUnit, UTC, is_time_zone, parse_time_of_day,
};
pub use schedule_lines::{DrillLine, LineError, LineTiming, SnapshotLine};
pub use secret::{Secret, random_bytes};
pub use selection::{Rule, Selection, SelectionError};
pub use snapshot::{Comparison, SnapshotEvent, SnapshotKind, SnapshotState};
pub use throttle::Throttle;
/// The target of spans that are made for OpenTelemetry, and of what happens in them; the log leaves it out.
pub const TRACE_TARGET: &str = "tidemark_trace";

pub use timing::{CronError, frequency_of_cron};
pub use transition::InvalidTransition;
