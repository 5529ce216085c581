//! Lines of a schedule as people say them: `every 6 hours keep 7 days`, `weekly on sunday`, `cron 0 18 * * 1-5`.

use serde_json::{Value, json};
use tidemark_model::LAST_DAY;

const WEEKDAYS: [&str; 7] =
    ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
/// Fields of a cron expression.
const CRON_FIELDS: usize = 5;

/// A line that says when snapshots are taken and how long they are kept.
pub(crate) fn snapshots(text: &str) -> Result<Value, String> {
    let (when, keep) = text.split_once(" keep ").ok_or_else(|| {
        format!("{text:?} does not say how long snapshots are kept, as \"daily keep 7 days\" does")
    })?;
    let mut line = timing(when)?;
    put(&mut line, "keep", duration(keep)?);
    Ok(line)
}

/// A line that says when drills are done.
pub(crate) fn drills(text: &str) -> Result<Value, String> {
    let (when, point) = match text.trim().strip_suffix(" random") {
        Some(when) => (when, "random"),
        None => (text, "newest"),
    };
    let mut line = timing(when)?;
    put(&mut line, "point", point.into());
    Ok(line)
}

/// A line as people say it.
pub(crate) fn describe(line: &Value) -> String {
    let text = |name: &str| line.get(name).and_then(Value::as_str);
    let interval = line.get("interval").and_then(Value::as_u64).unwrap_or(1);
    let place = usize::try_from(interval).unwrap_or(0).saturating_sub(1);
    let name = |names: &[&str]| names.get(place).map_or(String::new(), ToString::to_string);
    let said = match (text("cron"), text("frequency").unwrap_or_default()) {
        (Some(cron), _) => format!("cron {cron}"),
        (_, "hourly") if interval == 1 => "every hour".to_owned(),
        (_, "hourly") => format!("every {interval} hours"),
        (_, "weekly") => format!("weekly on {}", name(&WEEKDAYS)),
        (_, "monthly") if interval == u64::from(LAST_DAY) => "monthly on last".to_owned(),
        (_, "monthly") => format!("monthly on {interval}"),
        (_, "yearly") => format!("yearly in {}", name(&MONTHS)),
        (_, other) => other.to_owned(),
    };
    let keep = line.get("keep").map_or(String::new(), |keep| {
        let value = keep.get("value").and_then(Value::as_u64).unwrap_or_default();
        let unit = keep.get("unit").and_then(Value::as_str).unwrap_or_default();
        format!(" keep {value} {unit}")
    });
    let point = if text("point") == Some("random") { " random" } else { "" };
    format!("{said}{keep}{point}")
}

fn put(line: &mut Value, name: &str, value: Value) {
    if let Some(fields) = line.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
}

fn timing(text: &str) -> Result<Value, String> {
    let unknown = || {
        format!(
            "{text:?} says no time; say \"every 6 hours\", \"daily\", \"weekly on sunday\", \"monthly on 1\", \"monthly on last\", \"yearly in january\", or \"cron 0 18 * * 1-5\""
        )
    };
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let every = |frequency: &str, interval: u64| {
        Ok(json!({ "frequency": frequency, "interval": interval }))
    };
    let place = |names: &[&str], word: &str| {
        let found = names.iter().position(|name| name.starts_with(word) && word.len() >= 3);
        found.map(|place| place as u64 + 1).ok_or_else(unknown)
    };
    match words.as_slice() {
        ["cron", fields @ ..] => {
            // As it was written: names of days and months may be in capitals.
            let cron: Vec<&str> = text.split_whitespace().skip(1).collect();
            let cron = cron.join(" ").trim_matches(['\'', '"']).to_owned();
            if fields.len() != CRON_FIELDS {
                return Err(format!(
                    "{cron:?} is no cron expression: it has five fields, minute, hour, day, month and weekday"
                ));
            }
            Ok(json!({ "cron": cron }))
        }
        ["hourly"] | ["every", "hour"] => every("hourly", 1),
        ["every", hours, "hours"] => every("hourly", hours.parse().map_err(|_| unknown())?),
        ["daily"] | ["every", "day"] => every("daily", 1),
        ["weekly"] | ["every", "week"] => every("weekly", 7),
        ["weekly", "on", day] | ["every", "week", "on", day] => {
            every("weekly", place(&WEEKDAYS, day)?)
        }
        ["monthly"] | ["every", "month"] => every("monthly", 1),
        ["monthly", "on", "last", ..] => every("monthly", LAST_DAY.into()),
        ["monthly", "on", day] => every("monthly", day.parse().map_err(|_| unknown())?),
        ["yearly"] | ["every", "year"] => every("yearly", 1),
        ["yearly", "in", month] => every("yearly", place(&MONTHS, month)?),
        _ => Err(unknown()),
    }
}

fn duration(text: &str) -> Result<Value, String> {
    let unknown = || format!("{text:?} is no time that snapshots are kept, as \"7 days\" is");
    let words: Vec<&str> = text.split_whitespace().collect();
    let [value, unit] = words.as_slice() else { return Err(unknown()) };
    let value: u32 = value.parse().map_err(|_| unknown())?;
    let unit = match unit.trim_end_matches('s') {
        "day" => "days",
        "week" => "weeks",
        "month" => "months",
        "year" => "years",
        _ => return Err(unknown()),
    };
    Ok(json!({ "unit": unit, "value": value }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_say_is_understood_and_said_back() {
        for (text, said) in [
            ("every 6 hours keep 7 days", "every 6 hours keep 7 days"),
            ("hourly keep 1 day", "every hour keep 1 days"),
            ("daily keep 4 weeks", "daily keep 4 weeks"),
            ("weekly on Sun keep 3 months", "weekly on sunday keep 3 months"),
            ("monthly on last keep 1 year", "monthly on last keep 1 years"),
            ("monthly on 15 keep 1 years", "monthly on 15 keep 1 years"),
            ("yearly in december keep 10 years", "yearly in december keep 10 years"),
            ("cron '0 18 * * MON-FRI' keep 2 weeks", "cron 0 18 * * MON-FRI keep 2 weeks"),
        ] {
            assert_eq!(describe(&snapshots(text).unwrap()), said);
        }
        assert_eq!(describe(&drills("weekly on sat random").unwrap()), "weekly on saturday random");
        for bad in [
            "daily",
            "daily keep 7",
            "often keep 7 days",
            "daily keep 7 parsecs",
            "weekly on s keep 1 day",
            "cron 0 18 keep 7 days",
        ] {
            assert!(snapshots(bad).is_err(), "{bad}");
        }
    }
}
