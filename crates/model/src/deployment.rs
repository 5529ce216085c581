//! Attached deployments: how they are reached, what is known about them.

use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// From which members of a deployment data is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadFrom {
    /// The primary.
    #[default]
    Primary,
    /// A secondary; while there is none nothing is read.
    Secondary,
    /// A secondary, or the primary while there is none.
    SecondaryPreferred,
    /// Whichever answers fastest.
    Nearest,
}

impl ReadFrom {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Primary, Self::Secondary, Self::SecondaryPreferred, Self::Nearest];

    /// The word, as MongoDB's read preferences have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
            Self::SecondaryPreferred => "secondaryPreferred",
            Self::Nearest => "nearest",
        }
    }

    /// The one with this word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|read_from| read_from.as_str() == text)
    }
}

/// Certificates for a connection, as PEM texts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsSettings {
    /// Whom to trust; without them, whom the system trusts.
    pub ca_certificates: Option<String>,
    /// The client's certificate and its private key, one after the other.
    pub certificate_key: Option<Secret>,
    /// The password of the private key.
    pub certificate_key_password: Option<Secret>,
}

/// How an attached deployment is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkSettings {
    /// `mongodb://…` or `mongodb+srv://…`, with user and password.
    pub connection_string: Secret,
    /// From where data is read.
    pub read_from: ReadFrom,
    /// Megabytes (10⁶ bytes) that are read in a second at most.
    pub read_rate_megabytes: Option<u32>,
    /// Certificates.
    pub tls: TlsSettings,
}

impl LinkSettings {
    /// The connection string without what is secret in it: scheme, hosts, database and the names of
    /// options.
    pub fn redacted(&self) -> String {
        redact(self.connection_string.expose())
    }
}

/// A connection string without user, password and the values of options.
fn redact(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return "not a connection string".to_owned();
    };
    let (before, options) = rest.split_once('?').unwrap_or((rest, ""));
    let hosts = before.rsplit_once('@').map_or(before, |(_, hosts)| hosts);
    // Some options hold secrets; that and which ones is for the driver to know.
    let harmless = ["replicaset", "tls", "ssl", "directconnection", "authsource"];
    let shown: Vec<&str> = options
        .split('&')
        .filter(|option| {
            let name = option.split_once('=').map_or(*option, |(name, _)| name);
            harmless.contains(&name.to_ascii_lowercase().as_str())
        })
        .collect();
    let options = if shown.is_empty() { String::new() } else { format!("?{}", shown.join("&")) };
    format!("{scheme}://{hosts}{options}")
}

/// How the servers of a deployment belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Topology {
    /// One server on its own.
    #[serde(rename = "STANDALONE")]
    Standalone,
    /// A replica set.
    #[serde(rename = "REPLICA_SET")]
    ReplicaSet,
    /// A sharded cluster, reached through a router.
    #[serde(rename = "SHARDED")]
    Sharded,
}

/// Something that a deployment can do or not, as a probe has proved it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What it is about.
    pub name: String,
    /// Whether it can.
    pub holds: bool,
    /// Whether something is missing to its protection when it cannot.
    pub is_needed: bool,
    /// What follows from that, in words.
    pub consequence: String,
}

/// The size of a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseSize {
    /// Its name.
    pub name: String,
    /// Its size on disk, where the deployment says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
}

/// Collections of a kind that is not everywhere, or not kept like others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpecialCollections {
    /// The kind, as `timeSeries` or `capped`.
    pub kind: String,
    /// How many there are.
    pub count: usize,
    /// The first of them.
    pub namespaces: Vec<String>,
    /// What follows for their protection, in words.
    pub consequence: String,
}

/// What a probe found. Nothing was written for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeReport {
    /// What kind of server it is, as `MongoDB` or `FerretDB`.
    pub product: String,
    /// The version that it says it has.
    pub version: String,
    /// How its servers belong together.
    pub topology: Topology,
    /// The name of the replica set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_name: Option<String>,
    /// Its members.
    pub hosts: Vec<String>,
    /// What it can do.
    pub findings: Vec<Finding>,
    /// Collections of kinds that are not kept like others.
    #[serde(default)]
    pub special: Vec<SpecialCollections>,
    /// What cannot be protected, and why, by namespace.
    pub unprotected: Vec<String>,
    /// What the user may not do and should, as `action on resource`.
    pub missing_privileges: Vec<String>,
    /// The command that makes a role with exactly these privileges.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create_role: Option<String>,
    /// How far its clock is ahead of ours, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_ahead_milliseconds: Option<i64>,
    /// How far back its oplog reaches, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oplog_window_seconds: Option<i64>,
    /// The sizes of its databases.
    pub databases: Vec<DatabaseSize>,
}

impl ProbeReport {
    /// What it cannot do, as sentences.
    pub fn limits(&self) -> Vec<String> {
        let lacking = self.findings.iter().filter(|finding| finding.is_needed && !finding.holds);
        let mut limits: Vec<String> = lacking.map(|finding| finding.consequence.clone()).collect();
        limits.extend(self.unprotected.iter().cloned());
        if !self.missing_privileges.is_empty() {
            limits
                .push(format!("the user lacks privileges: {}", self.missing_privileges.join(", ")));
        }
        limits
    }

    /// Whether it can do something by that name.
    pub fn holds(&self, name: &str) -> bool {
        self.findings.iter().any(|finding| finding.name == name && finding.holds)
    }
}

/// How a deployment is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Nobody has looked yet.
    Unknown,
    /// It answers, and can do everything.
    Reachable,
    /// It answers, and cannot do everything.
    Limited(Vec<String>),
    /// It does not answer, or lets nobody in.
    Unreachable(String),
}

impl Condition {
    /// How a deployment is of which a probe says this.
    pub fn of(report: &ProbeReport) -> Self {
        let limits = report.limits();
        if limits.is_empty() { Self::Reachable } else { Self::Limited(limits) }
    }

    /// The word that the API and the catalog use.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Reachable => "REACHABLE",
            Self::Limited(_) => "LIMITED",
            Self::Unreachable(_) => "UNREACHABLE",
        }
    }

    /// Why, if it is not simply reachable: one sentence a line.
    pub fn reasons(&self) -> String {
        match self {
            Self::Unknown | Self::Reachable => String::new(),
            Self::Limited(limits) => limits.join("\n"),
            Self::Unreachable(reason) => reason.clone(),
        }
    }

    /// The one with this word and these reasons.
    pub fn parse(word: &str, reasons: &str) -> Option<Self> {
        match word {
            "UNKNOWN" => Some(Self::Unknown),
            "REACHABLE" => Some(Self::Reachable),
            "LIMITED" => Some(Self::Limited(reasons.lines().map(str::to_owned).collect())),
            "UNREACHABLE" => Some(Self::Unreachable(reasons.to_owned())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_in_a_connection_string_is_not_shown() {
        for (given, shown) in [
            (
                "mongodb://u:p@ss@a:1,b:2/db?replicaSet=rs&tlsCertificateKeyFilePassword=x",
                "mongodb://a:1,b:2/db?replicaSet=rs",
            ),
            (
                "mongodb+srv://u:hunter2@cluster.example.net/?authMechanismProperties=AWS_SESSION_TOKEN:x",
                "mongodb+srv://cluster.example.net/",
            ),
            ("hunter2", "not a connection string"),
            ("mongodb://a", "mongodb://a"),
        ] {
            assert_eq!(redact(given), shown);
        }
    }

    #[test]
    fn a_condition_is_read_back() {
        for condition in [
            Condition::Unknown,
            Condition::Reachable,
            Condition::Limited(vec!["a".into(), "b".into()]),
            Condition::Unreachable("c".into()),
        ] {
            assert_eq!(Condition::parse(condition.as_str(), &condition.reasons()), Some(condition));
        }
        assert_eq!(Condition::parse("x", ""), None);
    }
}
