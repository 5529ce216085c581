//! What each service wants to be sent.

use serde_json::{Value, json};

use crate::message::plain;
use crate::target::Target;
use crate::{Alert, Severity};

/// Characters of a message that Discord takes.
const DISCORD_MOST: usize = 2_000;
/// Characters of a message that Telegram takes.
const TELEGRAM_MOST: usize = 4_096;

/// The body of a request to a webhook; nothing for what is no webhook.
pub(crate) fn of(target: &Target, alert: &Alert) -> Option<Value> {
    let text = plain(alert);
    Some(match target {
        // What a message quotes is no markup.
        Target::Slack { .. } => json!({ "text": escape(&text) }),
        Target::Discord { .. } => {
            json!({ "content": cut(&text, DISCORD_MOST), "allowed_mentions": { "parse": [] } })
        }
        Target::Telegram { chat, .. } => {
            json!({ "chat_id": chat, "text": cut(&text, TELEGRAM_MOST) })
        }
        Target::Teams { .. } => card(alert),
        Target::Json { .. } => json!({
            "at": alert.at,
            "cause": alert.cause,
            "instance": alert.instance,
            "kind": alert.kind,
            "project": alert.project,
            "server": alert.server,
            "severity": alert.severity.as_str(),
            "text": alert.text,
            "title": alert.title,
        }),
        Target::Mail(_) => return None,
    })
}

/// As Slack wants a text that is no markup.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

/// A card of Teams: what workflows and connectors take.
fn card(alert: &Alert) -> Value {
    let colour = match alert.severity {
        Severity::Resolved => "good",
        Severity::Warning => "warning",
        Severity::Critical => "attention",
    };
    let block = |text: &str, more: Value| {
        let mut block = json!({ "type": "TextBlock", "text": text, "wrap": true });
        if let (Some(block), Some(more)) = (block.as_object_mut(), more.as_object()) {
            block.extend(more.clone());
        }
        block
    };
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": [
                    block(&alert.title, json!({ "weight": "bolder", "color": colour })),
                    block(&alert.text, json!({})),
                    block(&format!("{} · {}", alert.at, alert.server), json!({ "isSubtle": true })),
                ],
            },
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(text: &str) -> Alert {
        Alert {
            kind: "snapshotFailed".into(),
            severity: Severity::Critical,
            title: "A snapshot of shop failed".into(),
            text: text.into(),
            cause: Some("disk".into()),
            at: "2026-11-27T06:00:00Z".into(),
            instance: Some("shop".into()),
            project: None,
            server: "https://backup.example".into(),
        }
    }

    fn body(target: Target, text: &str) -> Value {
        of(&target, &alert(text)).unwrap()
    }

    #[test]
    fn each_service_gets_its_own_form() {
        let url = || "https://x".to_owned();
        let slack = body(Target::Slack { url: url() }, "a <b> & c");
        assert!(slack["text"].as_str().unwrap().contains("a &lt;b&gt; &amp; c"), "{slack}");
        let discord = body(Target::Discord { url: url() }, &"ü".repeat(3_000));
        assert_eq!(discord["content"].as_str().unwrap().chars().count(), DISCORD_MOST);
        let telegram = body(Target::Telegram { url: url(), chat: "-5".into() }, "t");
        assert_eq!(telegram["chat_id"], "-5");
        let teams = body(Target::Teams { url: url() }, "t");
        assert_eq!(teams["attachments"][0]["content"]["body"][1]["text"], "t");
        let json = body(Target::Json { url: url() }, "t");
        assert_eq!((&json["severity"], &json["instance"]), (&"critical".into(), &"shop".into()));
    }
}
