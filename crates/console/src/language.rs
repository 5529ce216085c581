//! The languages of the console: messages in `locales`, dates and numbers.

use std::sync::LazyLock;

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource, FluentValue};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use unic_langid::LanguageIdentifier;

/// A language of the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    English,
    Korean,
    Japanese,
}

type Bundle = FluentBundle<FluentResource>;

static ENGLISH: LazyLock<Bundle> =
    LazyLock::new(|| bundle("en", include_str!("../locales/en.ftl")));
static KOREAN: LazyLock<Bundle> = LazyLock::new(|| bundle("ko", include_str!("../locales/ko.ftl")));
static JAPANESE: LazyLock<Bundle> =
    LazyLock::new(|| bundle("ja", include_str!("../locales/ja.ftl")));

fn bundle(code: &str, text: &str) -> Bundle {
    let language: LanguageIdentifier = code.parse().unwrap_or_default();
    let mut bundle = FluentBundle::new_concurrent(vec![language]);
    // Marks around values are not shown everywhere as what they are.
    bundle.set_use_isolating(false);
    // What can be read of it counts; `every_message_is_there` looks at the rest.
    let resource = FluentResource::try_new(text.to_owned()).unwrap_or_else(|(read, _)| read);
    drop(bundle.add_resource(resource));
    bundle
}

impl Language {
    pub(crate) const ALL: [Self; 3] = [Self::English, Self::Korean, Self::Japanese];

    /// Its code, as in `lang`.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Korean => "ko",
            Self::Japanese => "ja",
        }
    }

    /// What those who speak it call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::English => "English",
            Self::Korean => "한국어",
            Self::Japanese => "日本語",
        }
    }

    pub(crate) fn parse(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.code() == code)
    }

    /// The one of these that a browser likes best.
    pub(crate) fn preferred(accepted: &str) -> Self {
        let mut wanted: Vec<(f32, Self)> = accepted
            .split(',')
            .filter_map(|part| {
                let (tag, rest) = part.split_once(';').unwrap_or((part, ""));
                let code = tag.trim().split(['-', '_']).next()?.to_ascii_lowercase();
                let weight = rest.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse).ok()?;
                (weight > 0.0).then_some((weight, Self::parse(&code)?))
            })
            .collect();
        wanted.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        wanted.first().map_or(Self::English, |(_, language)| *language)
    }

    fn bundle(self) -> &'static Bundle {
        match self {
            Self::English => &ENGLISH,
            Self::Korean => &KOREAN,
            Self::Japanese => &JAPANESE,
        }
    }

    /// A message; in English if this language lacks it.
    pub(crate) fn say(self, id: &str, values: &[(&str, &str)]) -> String {
        let mut args = FluentArgs::new();
        for (name, value) in values {
            args.set(*name, FluentValue::from(*value));
        }
        let found = [self, Self::English].into_iter().find_map(|language| {
            let bundle = language.bundle();
            let pattern = bundle.get_message(id)?.value()?;
            Some(bundle.format_pattern(pattern, Some(&args), &mut Vec::new()).into_owned())
        });
        found.unwrap_or_else(|| id.to_owned())
    }

    /// An instant, to the second, in UTC.
    pub(crate) fn instant(self, at: Timestamp) -> String {
        let at = at.to_zoned(TimeZone::UTC);
        let form = match self {
            Self::English => "%b %-d, %Y, %H:%M:%S UTC",
            Self::Korean => "%Y년 %-m월 %-d일 %H:%M:%S UTC",
            Self::Japanese => "%Y年%-m月%-d日 %H:%M:%S UTC",
        };
        at.strftime(form).to_string()
    }

    /// How long ago something was, in its largest unit.
    pub(crate) fn ago(self, at: Timestamp, now: Timestamp) -> String {
        let seconds = now.as_second().saturating_sub(at.as_second()).max(0);
        let units =
            [(86_400, "ago-days"), (3_600, "ago-hours"), (60, "ago-minutes"), (1, "ago-seconds")];
        let (size, id) =
            units.into_iter().find(|(size, _)| seconds >= *size).unwrap_or((1, "ago-seconds"));
        self.say(id, &[("count", &(seconds / size).to_string())])
    }
}

/// A count with its thousands apart, as all three languages write it.
pub(crate) fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes in decimal units.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if count < 1_000 {
        return format!("{count} B");
    }
    let (mut size, mut unit) = (count, "kB");
    for next in UNITS {
        unit = next;
        if size < 1_000_000 {
            break;
        }
        size /= 1_000;
    }
    format!("{}.{} {unit}", size / 1_000, size % 1_000 / 100)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn ids(text: &str) -> BTreeSet<String> {
        text.lines()
            .filter_map(|line| line.split_once(" ="))
            .map(|(id, _)| id.trim().to_owned())
            .filter(|id| !id.is_empty() && id.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
            .collect()
    }

    /// The messages that templates and pages name.
    fn used() -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if ["rs", "html"].iter().any(|e| path.extension().is_some_and(|x| x == *e)) {
                    let text = std::fs::read_to_string(&path).unwrap();
                    for part in text.split('"').skip(1).step_by(2) {
                        found.insert(part.to_owned());
                    }
                    for part in text.split('"').skip(2).step_by(2) {
                        found.insert(part.to_owned());
                    }
                }
            }
        }
        found
    }

    #[test]
    fn every_message_is_there_in_each_language_and_used() {
        let english = ids(include_str!("../locales/en.ftl"));
        assert!(english.len() > 50, "{english:?}");
        for (code, text) in
            [("ko", include_str!("../locales/ko.ftl")), ("ja", include_str!("../locales/ja.ftl"))]
        {
            let theirs = ids(text);
            let missing: Vec<_> = english.difference(&theirs).collect();
            let more: Vec<_> = theirs.difference(&english).collect();
            assert!(missing.is_empty() && more.is_empty(), "{code}: {missing:?} {more:?}");
        }
        let used = used();
        let unused: Vec<_> = english.iter().filter(|id| !used.contains(*id)).collect();
        assert!(unused.is_empty(), "{unused:?}");
        for language in Language::ALL {
            let text = match language {
                Language::English => include_str!("../locales/en.ftl"),
                Language::Korean => include_str!("../locales/ko.ftl"),
                Language::Japanese => include_str!("../locales/ja.ftl"),
            };
            assert!(FluentResource::try_new(text.to_owned()).is_ok(), "{language:?}");
            for id in &english {
                assert!(language.bundle().has_message(id), "{language:?} {id}");
            }
        }
    }

    #[test]
    fn values_of_messages_are_the_same_in_each_language() {
        let values = |text: &str| -> std::collections::BTreeMap<String, BTreeSet<String>> {
            let lines = text.lines().filter_map(|line| line.split_once(" = "));
            lines
                .map(|(id, text)| {
                    let names = text.split("{ $").skip(1).filter_map(|part| part.split_once(' '));
                    (id.to_owned(), names.map(|(name, _)| name.to_owned()).collect())
                })
                .collect()
        };
        let english = values(include_str!("../locales/en.ftl"));
        assert_eq!(english, values(include_str!("../locales/ko.ftl")));
        assert_eq!(english, values(include_str!("../locales/ja.ftl")));
    }

    #[test]
    fn the_language_is_what_the_browser_likes_best() {
        for (accepted, language) in [
            ("ko-KR,ko;q=0.9,en-US;q=0.8", Language::Korean),
            ("fr, ja;q=0.4, en;q=0.3", Language::Japanese),
            ("en;q=0.2, ko;q=0.7", Language::Korean),
            ("ko;q=0, en", Language::English),
            ("de", Language::English),
            ("", Language::English),
        ] {
            assert_eq!(Language::preferred(accepted), language, "{accepted}");
        }
    }

    #[test]
    fn numbers_sizes_and_dates_are_written_for_people() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [999, 1_500, 2_000_000, 1_250_000_000].map(bytes),
            ["999 B", "1.5 kB", "2.0 MB", "1.2 GB"]
        );
        let at = Timestamp::from_second(1_795_700_000).unwrap();
        let said = Language::ALL.map(|language| language.instant(at));
        assert_eq!(
            said,
            [
                "Nov 26, 2026, 13:33:20 UTC",
                "2026년 11월 26일 13:33:20 UTC",
                "2026年11月26日 13:33:20 UTC"
            ]
        );
    }
}
