//! Who changed what, and what came of it: a record in the same transaction as the change.

use jiff::Timestamp;
use serde_json::{Map, Value};
use tidemark_model::{EventId, EventType, Failure, InstanceId, InstanceName, OrgId, ProjectId};

use crate::catalog::{Catalog, Page, Paged};
use crate::database::Row;
use crate::error::CatalogError;
use crate::row::{Decoder, decode_all, to_json};

/// Who the actor is where nobody asked: this service itself.
pub const SERVER: &str = "tidemark";

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// Who: the principal's id, or what part of the server.
    pub actor: String,
    /// From where, if it came over the network.
    pub address: Option<String>,
    /// What: the operation's id.
    pub action: String,
    /// On what: a path or an id.
    pub subject: String,
    /// What that is part of.
    pub scope: AuditScope,
}

/// What a change is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditScope {
    /// The organization.
    pub org: Option<OrgId>,
    /// The project, if it is in one.
    pub project: Option<ProjectId>,
    /// The instance, by its name, if it is about one.
    pub instance: Option<String>,
    /// The family of the instance.
    pub family: Option<String>,
    /// What else is known of it, by Atlas's names of attributes: `targetPublicKey`, `dbUserUsername`,
    /// `whitelistEntry`; and `reason`.
    pub detail: Map<String, Value>,
}

/// Something that happened, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place among all records: later ones have greater ones.
    pub number: i64,
    /// Its id; records of earlier releases have none.
    pub id: Option<EventId>,
    /// What Atlas calls it.
    pub kind: Option<&'static EventType>,
    /// The public part of the API key that did it.
    pub public_key: Option<String>,
    /// Who did what, when, from where, to what.
    pub entry: AuditEntry,
}

/// Which events are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventsOf {
    /// Those of an organization.
    Org(OrgId),
    /// Those of a project.
    Project(ProjectId),
}

/// Which of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Of these kinds only, if there are any.
    pub kinds: Vec<&'static EventType>,
    /// Not of these kinds.
    pub excluded: Vec<&'static EventType>,
    /// About one of these instances only, if there are any.
    pub instances: Vec<InstanceName>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Not after.
    pub until: Option<Timestamp>,
}

fn decode(row: &Row) -> Result<Event, CatalogError> {
    let row = Decoder::new("audit", row);
    let kind: Option<String> = row.get("event_type")?;
    Ok(Event {
        number: row.get("id")?,
        id: row.parse_optional("event_id")?,
        kind: kind.as_deref().and_then(EventType::find),
        public_key: row.get("public_key")?,
        entry: AuditEntry {
            at: row.instant("at")?,
            actor: row.get("actor")?,
            address: row.get("address")?,
            action: row.get("action")?,
            subject: row.get("subject")?,
            scope: AuditScope {
                org: row.parse_optional("org_id")?,
                project: row.parse_optional("project_id")?,
                instance: row.get("instance_name")?,
                family: None,
                detail: row.optional_json("detail")?.unwrap_or_default(),
            },
        },
    })
}

const COLUMNS: &str =
    "number AS id, at, actor, address, action, subject, event_id, event_type, org_id,
     project_id, instance_name, public_key, detail";

/// A list of words of ours, as SQL has it.
fn words<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.map(|word| format!("'{word}'")).collect::<Vec<_>>().join(", ")
}

/// The condition for what is listed. All texts in it are words of ours or names of instances.
fn condition(of: EventsOf, filter: &EventFilter) -> String {
    let mut all = match of {
        EventsOf::Org(id) => vec![format!("org_id = '{id}'")],
        EventsOf::Project(id) => vec![format!("project_id = '{id}'")],
    };
    let is_listed = |kind: &&EventType| match of {
        EventsOf::Org(_) => kind.is_of_orgs(),
        EventsOf::Project(_) => kind.is_of_projects(),
    };
    let known = tidemark_model::EVENT_TYPES.iter().filter(|kind| {
        is_listed(kind)
            && (filter.kinds.is_empty() || filter.kinds.contains(kind))
            && !filter.excluded.contains(kind)
    });
    let known: Vec<&str> = known.map(|kind| kind.name).collect();
    if known.is_empty() {
        return "1 = 0".to_owned();
    }
    all.push(format!("event_type IN ({})", words(known.into_iter())));
    if !filter.instances.is_empty() {
        let names = words(filter.instances.iter().map(InstanceName::as_str));
        all.push(format!("instance_name IN ({names})"));
    }
    all.extend(filter.since.map(|at| format!("at >= {}", at.as_second())));
    all.extend(filter.until.map(|at| format!("at <= {}", at.as_second())));
    all.join(" AND ")
}

impl Catalog {
    /// Records a change; called in the transaction that makes it.
    pub fn record_audit(&self, entry: &AuditEntry) -> Result<(), CatalogError> {
        let scope = &entry.scope;
        let kind = EventType::of_action(&entry.action, scope.family.as_deref());
        self.lock().execute(
            "INSERT INTO audit (at, actor, address, action, subject, event_id, event_type, org_id, project_id,
                 instance_name, detail, public_key)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11,
                 (SELECT public_key FROM api_keys WHERE id = ?2))",
            (
                entry.at.as_second(),
                &entry.actor,
                &entry.address,
                &entry.action,
                &entry.subject,
                EventId::new(entry.at).to_string(),
                kind.map(|kind| kind.name),
                scope.org.map(|id| id.to_string()),
                scope.project.map(|id| id.to_string()),
                &scope.instance,
                (!scope.detail.is_empty()).then(|| to_json(&scope.detail)),
            ),
        )?;
        Ok(())
    }

    /// Records what became of something that this service did for an instance; called in the transaction that
    /// records it.
    pub(crate) fn record_outcome(
        &self,
        (action, subject): (&str, &str),
        instance: InstanceId,
        (at, failure): (Timestamp, Option<&Failure>),
    ) -> Result<(), CatalogError> {
        let found = self.load_instance(instance)?;
        let project = self.find_project(found.project)?;
        let detail = failure.map(|failure| {
            [
                ("cause".to_owned(), failure.cause.as_str().into()),
                ("reason".to_owned(), failure.reason.as_str().into()),
            ]
        });
        self.record_audit(&AuditEntry {
            at,
            actor: SERVER.to_owned(),
            address: None,
            action: action.to_owned(),
            subject: subject.to_owned(),
            scope: AuditScope {
                org: project.map(|project| project.org),
                project: Some(found.project),
                instance: Some(found.name.to_string()),
                family: Some(found.family.as_str().to_owned()),
                detail: detail.into_iter().flatten().collect(),
            },
        })
    }

    /// The newest changes, newest first.
    pub fn list_audit(&self, count: u32) -> Result<Vec<AuditEntry>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM audit ORDER BY number DESC LIMIT ?1"
        ))?;
        let events = decode_all(statement.query([count])?, decode)?;
        Ok(events.into_iter().map(|event| event.entry).collect())
    }

    /// The number of the newest change; 0 if there is none.
    pub fn find_newest_audit(&self) -> Result<i64, CatalogError> {
        let connection = self.read()?;
        let question = "SELECT coalesce(max(number), 0) FROM audit";
        Ok(connection.query_row(question, (), |row| row.get(0))?)
    }

    /// Changes after one with this number, the oldest first.
    pub fn list_audit_after(&self, number: i64, count: u32) -> Result<Vec<Event>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM audit WHERE number > ?1 ORDER BY number LIMIT ?2"
        ))?;
        decode_all(statement.query((number, count))?, decode)
    }

    /// What happened that Atlas knows as an event, newest first.
    pub fn list_events(
        &self,
        of: EventsOf,
        filter: &EventFilter,
        page: Page,
    ) -> Result<Paged<Event>, CatalogError> {
        let connection = self.read()?;
        let condition = condition(of, filter);
        let total: i64 = connection.query_row(
            &format!("SELECT count(*) FROM audit WHERE {condition}"),
            (),
            |row| row.get(0),
        )?;
        let (size, offset) = page.sql();
        let mut statement = connection.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM audit WHERE {condition} ORDER BY number DESC LIMIT {size} OFFSET {offset}"
        ))?;
        let items = decode_all(statement.query(())?, decode)?;
        Ok(Paged { items, total: total.unsigned_abs() })
    }

    /// The event with this id, if it is listed there.
    pub fn find_event(&self, of: EventsOf, id: EventId) -> Result<Option<Event>, CatalogError> {
        let connection = self.read()?;
        let condition = condition(of, &EventFilter::default());
        let mut statement = connection.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM audit WHERE event_id = ?1 AND {condition}"
        ))?;
        let mut rows = statement.query([id.to_string()])?;
        rows.next()?.map(decode).transpose()
    }
}
