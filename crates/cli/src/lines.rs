//! Lines of a schedule, between what people say and what the API has.

use serde_json::{Value, json};
use tidemark_model::{DrillLine, Frequency, LineTiming, Retention, RetentionUnit, SnapshotLine};

/// A line that says when snapshots are taken and how long they are kept.
pub(crate) fn snapshots(text: &str) -> Result<Value, String> {
    let SnapshotLine { timing, retention } = text.parse().map_err(said)?;
    let Retention { unit, value } = retention;
    Ok(with(timing_of(timing), "keep", json!({ "unit": unit.as_str(), "value": value })))
}

/// A line that says when drills are done.
pub(crate) fn drills(text: &str) -> Result<Value, String> {
    let DrillLine { timing, is_random } = text.parse().map_err(said)?;
    Ok(with(timing_of(timing), "point", if is_random { "random" } else { "newest" }.into()))
}

fn said(error: tidemark_model::LineError) -> String {
    error.to_string()
}

fn timing_of(timing: LineTiming) -> Value {
    match timing {
        LineTiming { cron: Some(cron), .. } => json!({ "cron": cron }),
        LineTiming { frequency, interval, .. } => {
            json!({ "frequency": frequency.as_str(), "interval": interval })
        }
    }
}

fn with(mut line: Value, name: &str, value: Value) -> Value {
    if let Some(fields) = line.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
    line
}

/// A line as people say it; one of a newer server's kind as it is.
pub(crate) fn describe(line: &Value) -> String {
    read(line).unwrap_or_else(|| line.to_string())
}

fn read(line: &Value) -> Option<String> {
    let text = |name: &str| line.get(name).and_then(Value::as_str);
    let number = |value: &Value, name: &str| u32::try_from(value.get(name)?.as_u64()?).ok();
    let timing = match text("cron") {
        // How often it asks is not said with it.
        Some(cron) => {
            LineTiming { frequency: Frequency::Daily, interval: 1, cron: Some(cron.to_owned()) }
        }
        None => LineTiming {
            frequency: Frequency::parse(text("frequency")?)?,
            interval: number(line, "interval")?,
            cron: None,
        },
    };
    Some(match line.get("keep") {
        Some(keep) => {
            let unit = RetentionUnit::parse(keep.get("unit")?.as_str()?)?;
            let retention = Retention { unit, value: number(keep, "value")? };
            SnapshotLine { timing, retention }.to_string()
        }
        None => DrillLine { timing, is_random: text("point") == Some("random") }.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_api_has_is_said_as_it_was_said() {
        for text in ["every 6 hours keep 7 days", "cron 0 18 * * MON-FRI keep 2 weeks"] {
            assert_eq!(describe(&snapshots(text).unwrap()), text);
        }
        for text in ["weekly on saturday random", "monthly on last"] {
            assert_eq!(describe(&drills(text).unwrap()), text);
        }
        assert_eq!(describe(&json!({ "moon": "full" })), r#"{"moon":"full"}"#);
    }
}
