//! Telling people what went wrong.
//!
//! Jobs that fail are found in the records, by one node at a time; where it has been is recorded, so that
//! nothing is missed while no node runs. What a node complains of itself is told by that node. What is well
//! again is told, too.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tidemark_actions::{AlertChannel, Alerting};
use tidemark_alerts::{Alert, Channel, Severity};
use tidemark_catalog::{Catalog, CatalogError, Event};
use tidemark_model::{Clock, format_instant};
use tidemark_worker::{Membership, Trouble};

/// How often it is looked.
const INTERVAL: Duration = Duration::from_secs(2);
/// What a node complains of for a shorter time is not told: a restart, an election.
const COMPLAINT_AGE: Duration = Duration::from_secs(20);
/// How often an alert is sent that does not arrive, and the first wait; each is twice as long.
const ATTEMPTS: u32 = 10;
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// Records of one look.
const PAGE: u32 = 500;

/// The channels, for whoever tries them.
pub(crate) struct Channels {
    pub(crate) all: Vec<Channel>,
    pub(crate) clock: Clock,
    /// How this server is reached.
    pub(crate) server: String,
}

impl std::fmt::Debug for Channels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Channels")
    }
}

impl Alerting for Channels {
    fn channels(&self) -> Vec<AlertChannel> {
        let describe = |channel: &Channel| AlertChannel {
            name: channel.name.clone(),
            kind: channel.target.kind(),
            least: channel.least.as_str(),
            is_for_all_projects: channel.projects.is_empty(),
        };
        self.all.iter().map(describe).collect()
    }

    fn try_channel(&self, name: &str) -> Result<bool, String> {
        let Some(channel) = self.all.iter().find(|channel| channel.name == name) else {
            return Ok(false);
        };
        let alert = Alert {
            kind: "test".to_owned(),
            severity: Severity::Resolved,
            title: "This is a test".to_owned(),
            text: "Alerts of Tidemark arrive here. Nothing is wrong.".to_owned(),
            cause: None,
            at: format_instant(self.clock.now()),
            instance: None,
            project: None,
            server: self.server.clone(),
        };
        channel.send(&alert).map(|()| true).map_err(|error| error.to_string())
    }
}

/// What is looked at.
pub(crate) struct Watched {
    pub(crate) channels: Arc<Channels>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) membership: Arc<Membership>,
    /// What this node complains of.
    pub(crate) complaints: Box<dyn Fn() -> Vec<Trouble> + Send>,
    pub(crate) is_stopping: Box<dyn Fn() -> bool + Send>,
}

/// Looks until it is told to stop; nothing is looked at where nobody is told.
pub(crate) fn watch(watched: Watched) -> Option<JoinHandle<()>> {
    if watched.channels.all.is_empty() {
        return None;
    }
    let mut watcher = Watcher {
        watched,
        complaints: BTreeMap::new(),
        failing: HashSet::new(),
        waiting: Vec::new(),
        through: 0,
    };
    Some(std::thread::spawn(move || {
        while !(watcher.watched.is_stopping)() {
            watcher.look();
            std::thread::sleep(INTERVAL);
        }
    }))
}

/// A complaint that was seen.
struct Complaint {
    text: String,
    severity: Severity,
    since: Instant,
    is_told: bool,
}

/// An alert on its way.
struct Waiting {
    channel: usize,
    alert: Alert,
    attempts: u32,
    next: Instant,
}

struct Watcher {
    watched: Watched,
    /// By their text without numbers, which change.
    complaints: BTreeMap<String, Complaint>,
    /// What failed last of an instance, by what it is.
    failing: HashSet<(String, &'static str)>,
    waiting: Vec<Waiting>,
    /// The last record that was looked at.
    through: i64,
}

impl Watcher {
    fn look(&mut self) {
        self.look_at_complaints();
        if let Err(error) = self.look_at_records() {
            tracing::warn!(%error, "it is not known whether somebody is to be told something");
        }
        self.send();
    }

    fn alert(&self, kind: &str, severity: Severity, (title, text): (String, String)) -> Alert {
        let channels = &self.watched.channels;
        Alert {
            kind: kind.to_owned(),
            severity,
            title,
            text,
            cause: None,
            at: format_instant(channels.clock.now()),
            instance: None,
            project: None,
            server: channels.server.clone(),
        }
    }

    fn tell(&mut self, alert: &Alert) {
        for (number, channel) in self.watched.channels.all.iter().enumerate() {
            if channel.takes(alert) {
                let next = Instant::now();
                let alert = alert.clone();
                self.waiting.push(Waiting { channel: number, alert, attempts: 0, next });
            }
        }
    }

    fn look_at_complaints(&mut self) {
        let now = Instant::now();
        let found = (self.watched.complaints)();
        let key = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
        let keys: HashSet<String> = found.iter().map(|trouble| key(&trouble.text)).collect();
        for trouble in found {
            let severity = match trouble.severity {
                tidemark_worker::Severity::Degraded => Severity::Warning,
                tidemark_worker::Severity::Failing => Severity::Critical,
            };
            let new =
                Complaint { text: trouble.text.clone(), severity, since: now, is_told: false };
            let key = key(&trouble.text);
            self.complaints.entry(key).or_insert(new).text = trouble.text;
        }
        let mut told = Vec::new();
        for complaint in self.complaints.values_mut() {
            if !complaint.is_told && complaint.since.elapsed() >= COMPLAINT_AGE {
                complaint.is_told = true;
                told.push((complaint.severity, complaint.text.clone()));
            }
        }
        let is_over = |key: &String| !keys.contains(key);
        let over: Vec<String> =
            self.complaints.keys().filter(|key| is_over(key)).cloned().collect();
        for key in over {
            if let Some(complaint) = self.complaints.remove(&key).filter(|found| found.is_told) {
                told.push((Severity::Resolved, complaint.text));
            }
        }
        for (severity, text) in told {
            let title = match severity {
                Severity::Resolved => "It is well again",
                Severity::Warning => "Something needs a look",
                Severity::Critical => "Work cannot be done",
            };
            let alert = self.alert("complaint", severity, (title.to_owned(), text));
            self.tell(&alert);
        }
    }

    /// Looks at what became of jobs since the last look.
    fn look_at_records(&mut self) -> Result<(), CatalogError> {
        if !self.watched.membership.has_duty("alerting") {
            return Ok(());
        }
        let catalog = Arc::clone(&self.watched.catalog);
        let from = if let Some(from) = catalog.find_alert_cursor()? {
            from
        } else {
            // Nobody is told what was before there was a channel.
            let newest = catalog.find_newest_audit()?;
            catalog.set_alert_cursor(newest)?;
            newest
        };
        // What waits was found before, and is found again after a crash only.
        let mut through = from.max(self.through);
        for event in &catalog.list_audit_after(through, PAGE)? {
            through = event.number;
            if let Some(alert) = self.alert_of(event) {
                self.tell(&alert);
            }
        }
        self.through = through;
        self.send();
        if self.waiting.is_empty() && through > from {
            catalog.set_alert_cursor(through)?;
        }
        Ok(())
    }

    fn alert_of(&mut self, event: &Event) -> Option<Alert> {
        let (what, is_bad) = match event.entry.action.as_str() {
            "snapshotFailed" => ("snapshot", true),
            "snapshotCompleted" => ("snapshot", false),
            "drillFailed" => ("drill", true),
            "drillProven" => ("drill", false),
            "restoreFailed" => ("restore", true),
            "restoreCompleted" => ("restore", false),
            _ => return None,
        };
        let scope = &event.entry.scope;
        let name = scope.instance.clone().unwrap_or_default();
        let key = (format!("{:?}/{name}", scope.project), what);
        // One that fails again and again is told once.
        let is_news = if is_bad { self.failing.insert(key) } else { self.failing.remove(&key) };
        // A restore that failed is somebody's, and each is told.
        let is_told_each_time = is_bad && what == "restore";
        if !is_news && !is_told_each_time {
            return None;
        }
        let detail = |name: &str| scope.detail.get(name).and_then(|value| value.as_str());
        let reason = detail("reason");
        let cause = detail("cause").map(str::to_owned);
        let (severity, title, text) = if is_bad {
            let next = match what {
                "snapshot" => "It is tried again by itself.",
                "drill" => "A backup did not come back as it was: look at its report.",
                _ => "The target was left as it was, unless the reason says otherwise.",
            };
            let severity = if what == "drill" { Severity::Critical } else { Severity::Warning };
            let text = format!("{}. {next}", reason.unwrap_or("No reason is known"));
            (severity, format!("A {what} of {name} failed"), text)
        } else {
            let text = format!("{} is complete.", event.entry.subject);
            (Severity::Resolved, format!("A {what} of {name} is well again"), text)
        };
        let alert = self.alert(&event.entry.action, severity, (title, text));
        Some(Alert {
            cause,
            at: format_instant(event.entry.at),
            instance: scope.instance.clone(),
            project: scope.project.map(|id| id.to_string()),
            ..alert
        })
    }

    /// Sends what waits and is due.
    fn send(&mut self) {
        let channels = Arc::clone(&self.watched.channels);
        self.waiting.retain_mut(|waiting| {
            let Some(channel) = channels.all.get(waiting.channel) else { return false };
            if waiting.next > Instant::now() {
                return true;
            }
            let Err(error) = channel.send(&waiting.alert) else { return false };
            waiting.attempts += 1;
            let is_over = !error.is_transient() || waiting.attempts >= ATTEMPTS;
            let (name, title) = (&channel.name, &waiting.alert.title);
            if is_over {
                tracing::error!(%error, channel = name, alert = title, "an alert did not arrive");
            } else {
                tracing::warn!(%error, channel = name, alert = title, "an alert is sent again");
            }
            waiting.next = Instant::now() + FIRST_WAIT * 2_u32.pow(waiting.attempts.min(8));
            !is_over
        });
    }
}
