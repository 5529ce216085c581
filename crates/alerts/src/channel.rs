//! A way on which alerts reach people.

use std::time::Duration;

use ureq::Agent;

use crate::body;
use crate::error::SendError;
use crate::target::Target;
use crate::{Alert, Severity};

/// How long a service may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A way on which alerts reach people.
#[derive(Clone)]
pub struct Channel {
    /// What it is called.
    pub name: String,
    /// Where alerts go.
    pub target: Target,
    /// What is not as bad is not told.
    pub least: Severity,
    /// Only what is about these projects, and what is about none; everything if there are none.
    pub projects: Vec<String>,
}

impl Channel {
    /// Whether something is told on it.
    pub fn takes(&self, alert: &Alert) -> bool {
        let is_bad_enough = alert.severity == Severity::Resolved || alert.severity >= self.least;
        let is_meant = self.projects.is_empty()
            || alert.project.as_ref().is_none_or(|project| self.projects.contains(project));
        is_bad_enough && is_meant
    }

    /// Tells it, once.
    pub fn send(&self, alert: &Alert) -> Result<(), SendError> {
        if let Target::Mail(mail) = &self.target {
            return mail.send(alert);
        }
        let Some(body) = body::of(&self.target, alert) else { return Ok(()) };
        let agent: Agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            // A secret address is told to nobody else.
            .max_redirects(0)
            .build()
            .into();
        let url = self.target.url();
        let host = host_of(url).to_owned();
        let sent = agent
            .post(url)
            .header("Content-Type", "application/json")
            .send(body.to_string().as_bytes());
        // Errors of the client name the whole address.
        let mut answer = sent.map_err(|error| {
            SendError::Unreachable(host.clone(), error.to_string().replace(url, &host))
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let said = answer.body_mut().read_to_string().unwrap_or_default();
        let said: String = said.chars().take(200).collect();
        let said = format!("{status} {said}").replace(url, &host);
        if status.is_server_error() || status.as_u16() == 429 {
            return Err(SendError::Unreachable(host, said));
        }
        Err(SendError::Refused(host, said))
    }
}

/// The host of an address: what may be shown of it.
fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    host.rsplit('@').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_host_of_a_secret_address_is_shown() {
        assert_eq!(host_of("https://u:p@hooks.slack.com/services/T/B/x?y"), "hooks.slack.com");
        let target = Target::webhook("json", "http://127.0.0.1:1/secret".into(), None).unwrap();
        let channel =
            Channel { name: "x".into(), target, least: Severity::Warning, projects: Vec::new() };
        let alert = Alert {
            kind: "test".into(),
            severity: Severity::Warning,
            title: String::new(),
            text: String::new(),
            cause: None,
            at: String::new(),
            instance: None,
            project: Some("p".into()),
            server: String::new(),
        };
        let error = channel.send(&alert).unwrap_err();
        assert!(error.is_transient() && !error.to_string().contains("secret"), "{error}");
        assert!(channel.takes(&alert));
        let least = Severity::Critical;
        assert!(!Channel { least, ..channel.clone() }.takes(&alert));
        assert!(!Channel { projects: vec!["q".into()], ..channel }.takes(&alert));
    }

    #[test]
    fn what_is_no_webhook_is_named() {
        let refused = |kind, chat| Target::webhook(kind, String::new(), chat).err();
        assert!(refused("pager", None).unwrap().contains("pager"));
        assert!(
            refused("telegram", None).is_some() && refused("slack", Some("5".into())).is_some()
        );
    }
}
