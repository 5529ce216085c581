//! Where alerts go.

use crate::mail::Mail;

/// Where alerts go.
#[derive(Clone)]
pub enum Target {
    /// An incoming webhook of Slack.
    Slack {
        /// Its address, which is a secret.
        url: String,
    },
    /// A webhook of Discord.
    Discord {
        /// Its address, which is a secret.
        url: String,
    },
    /// A bot of Telegram.
    Telegram {
        /// `https://api.telegram.org/bot<token>/sendMessage`.
        url: String,
        /// The chat.
        chat: String,
    },
    /// A workflow or connector of Teams.
    Teams {
        /// Its address, which is a secret.
        url: String,
    },
    /// Anything that takes JSON.
    Json {
        /// Its address.
        url: String,
    },
    /// People's mailboxes.
    Mail(Mail),
}

impl Target {
    /// The word for its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Slack { .. } => "slack",
            Self::Discord { .. } => "discord",
            Self::Telegram { .. } => "telegram",
            Self::Teams { .. } => "teams",
            Self::Json { .. } => "json",
            Self::Mail(_) => "mail",
        }
    }

    /// The one of a webhook with this word.
    pub fn webhook(kind: &str, url: String, chat: Option<String>) -> Result<Self, String> {
        Ok(match (kind, chat) {
            ("slack", None) => Self::Slack { url },
            ("discord", None) => Self::Discord { url },
            ("telegram", Some(chat)) => Self::Telegram { url, chat },
            ("teams", None) => Self::Teams { url },
            ("json", None) => Self::Json { url },
            ("telegram", None) => return Err("telegram needs a chat".to_owned()),
            (_, Some(_)) => return Err("only telegram has a chat".to_owned()),
            (other, None) => {
                return Err(format!(
                    "{other:?} is none of slack, discord, telegram, teams, json and mail"
                ));
            }
        })
    }

    pub(crate) fn url(&self) -> &str {
        match self {
            Self::Slack { url }
            | Self::Discord { url }
            | Self::Telegram { url, .. }
            | Self::Teams { url }
            | Self::Json { url } => url,
            Self::Mail(_) => "",
        }
    }
}
