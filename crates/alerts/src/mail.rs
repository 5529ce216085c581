//! Alerts as e-mail.

use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::{Message, SmtpTransport, Transport};
use tidemark_model::Secret;

use crate::error::SendError;
use crate::message::plain;
use crate::{Alert, Severity};

/// How long a server may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a mail server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// TLS from the first byte.
    Tls,
    /// TLS after a greeting; nothing is sent without.
    StartTls,
    /// In clear, for a server on this machine.
    None,
}

/// A mail server, and whom it tells.
#[derive(Clone)]
pub struct Mail {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is spoken to.
    pub security: Security,
    /// Who logs in, and with what.
    pub login: Option<(String, Secret)>,
    /// From whom.
    pub from: String,
    /// To whom.
    pub to: Vec<String>,
}

impl Mail {
    /// Checks what can be checked without the server.
    pub fn check(&self) -> Result<(), String> {
        for address in self.to.iter().chain([&self.from]) {
            let parsed: Result<Mailbox, _> = address.parse();
            parsed.map_err(|error| format!("{address:?} is no mail address: {error}"))?;
        }
        if self.to.is_empty() {
            Err("there is nobody to tell: give `to`".to_owned())
        } else {
            Ok(())
        }
    }

    pub(crate) fn send(&self, alert: &Alert) -> Result<(), SendError> {
        let refused = |error: &dyn std::fmt::Display| {
            SendError::Refused(self.host.clone(), error.to_string())
        };
        let message = self.message(alert).map_err(|error| refused(&error))?;
        let builder = match self.security {
            Security::Tls => SmtpTransport::relay(&self.host),
            Security::StartTls => SmtpTransport::starttls_relay(&self.host),
            Security::None => Ok(SmtpTransport::builder_dangerous(&self.host)),
        };
        let builder = builder.map_err(|error| refused(&error))?;
        let builder = builder.port(self.port).timeout(Some(PATIENCE));
        let transport = match &self.login {
            Some((user, password)) => {
                let password = password.expose().to_owned();
                builder.credentials(Credentials::new(user.clone(), password)).build()
            }
            None => builder.build(),
        };
        match transport.send(&message) {
            Ok(_) => Ok(()),
            Err(error) if error.is_permanent() => Err(refused(&error)),
            Err(error) => Err(SendError::Unreachable(self.host.clone(), error.to_string())),
        }
    }

    fn message(&self, alert: &Alert) -> Result<Message, String> {
        let mailbox = |text: &String| text.parse::<Mailbox>().map_err(|error| error.to_string());
        let mut message = Message::builder().from(mailbox(&self.from)?);
        for to in &self.to {
            message = message.to(mailbox(to)?);
        }
        let word = match alert.severity {
            Severity::Resolved => "resolved: ",
            Severity::Warning | Severity::Critical => "",
        };
        // A line break would begin another header.
        let title: String = alert.title.chars().filter(|c| !c.is_control()).collect();
        message
            .subject(format!("[Tidemark] {word}{title}"))
            .header(ContentType::TEXT_PLAIN)
            .body(plain(alert))
            .map_err(|error| error.to_string())
    }
}
