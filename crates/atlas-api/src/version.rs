//! Versions by date in the media type.
//!
//! A resource has versions from time to time; the newest that is not after the requested date is
//! served. A version is deprecated when its successor is released.

use jiff::civil::{Date, date};

/// The MongoDB version that embedded instances claim.
pub(crate) const MONGODB_VERSION: &str = "7.0.12";

/// One version of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    /// Its name.
    pub(crate) date: Date,
    /// When it was or will be deprecated.
    pub(crate) deprecated: Option<Date>,
    /// When it was or will be switched off.
    pub(crate) sunset: Option<Date>,
}

const fn current(date: Date) -> Version {
    Version { date, deprecated: None, sunset: None }
}

const fn succeeded(date: Date, deprecated: Date, sunset: Option<Date>) -> Version {
    Version { date, deprecated: Some(deprecated), sunset }
}

const D2023_01_01: Date = date(2023, 1, 1);
pub(crate) const D2023_02_01: Date = date(2023, 2, 1);
const D2023_10_01: Date = date(2023, 10, 1);
const D2024_05_30: Date = date(2024, 5, 30);
pub(crate) const D2024_08_05: Date = date(2024, 8, 5);
const D2024_10_23: Date = date(2024, 10, 23);
const D2025_02_19: Date = date(2025, 2, 19);
/// When most old versions are switched off.
const D2027_07_01: Option<Date> = Some(date(2027, 7, 1));

/// What most operations have had since the API began.
pub(crate) const V2023_01_01: &[Version] = &[current(D2023_01_01)];
pub(crate) const V2024_05_30: &[Version] = &[current(D2024_05_30)];
pub(crate) const V2024_08_05: &[Version] = &[current(D2024_08_05)];
pub(crate) const V2024_11_13: &[Version] = &[current(date(2024, 11, 13))];
pub(crate) const V2025_02_19: &[Version] = &[current(D2025_02_19)];
pub(crate) const V2025_03_12: &[Version] = &[current(date(2025, 3, 12))];
/// The serverless operations, with the dates that were recorded.
pub(crate) const SERVERLESS: &[Version] =
    &[succeeded(D2023_01_01, date(2025, 12, 10), Some(date(2026, 1, 15)))];
pub(crate) const CLUSTERS_READ: &[Version] = &[
    succeeded(D2023_01_01, D2023_02_01, D2027_07_01),
    succeeded(D2023_02_01, D2024_08_05, D2027_07_01),
    current(D2024_08_05),
];
pub(crate) const CLUSTERS_WRITE: &[Version] = &[
    succeeded(D2023_01_01, D2023_02_01, D2027_07_01),
    succeeded(D2023_02_01, D2024_08_05, D2027_07_01),
    succeeded(D2024_08_05, D2024_10_23, Some(date(2027, 3, 1))),
    current(D2024_10_23),
];
pub(crate) const CLUSTERS_DELETE: &[Version] =
    &[succeeded(D2023_01_01, D2023_02_01, D2027_07_01), current(D2023_02_01)];
pub(crate) const SCHEDULES: &[Version] =
    &[succeeded(D2023_01_01, D2024_08_05, D2027_07_01), current(D2024_08_05)];
pub(crate) const EXPORT_BUCKETS: &[Version] =
    &[succeeded(D2023_01_01, D2024_05_30, D2027_07_01), current(D2024_05_30)];
pub(crate) const COMPLIANCE: &[Version] =
    &[succeeded(D2023_01_01, D2023_10_01, D2027_07_01), current(D2023_10_01)];
pub(crate) const USERS: &[Version] =
    &[succeeded(D2023_01_01, D2025_02_19, D2027_07_01), current(D2025_02_19)];

/// A date as the `Deprecation` and `Sunset` headers have it: the day is not padded.
pub(crate) fn header_date(date: Date) -> String {
    date.strftime("%a, %-d %b %Y 00:00:00 GMT").to_string()
}

/// Reads the date that an `Accept` header asks for.
fn parse_accept(accept: &str) -> Option<Date> {
    accept.split(',').find_map(|media_type| {
        let media_type = media_type.split(';').next()?.trim();
        let date = media_type.strip_prefix("application/vnd.atlas.")?.strip_suffix("+json")?;
        // The date's own parser takes other forms as well.
        let is_plain = date.len() == 10 && date.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        is_plain.then(|| date.parse().ok())?
    })
}

/// The newest version that is not after the wanted one.
pub(crate) fn resolve(accept: Option<&str>, versions: &'static [Version]) -> Option<Version> {
    let wanted = parse_accept(accept?)?;
    versions.iter().copied().filter(|version| version.date <= wanted).max_by_key(|v| v.date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_not_after_the_wanted_one_is_served() {
        let resolve = |accept: &str| resolve(Some(accept), SCHEDULES).map(|v| v.date.to_string());
        assert_eq!(resolve("application/vnd.atlas.2023-02-01+json").as_deref(), Some("2023-01-01"));
        assert_eq!(resolve("application/vnd.atlas.2025-03-12+json").as_deref(), Some("2024-08-05"));
        for bad in [
            "*/*",
            "application/json",
            "application/vnd.atlas.2022-01-01+json",
            "application/vnd.atlas.2023-13-01+json",
            "application/vnd.atlas.2023-1-1+json",
            "application/vnd.atlas.2023-01-01+csv",
            "application/vnd.atlas.preview+json",
            "application/vnd.atlas.2025-03-12.upcoming+json",
        ] {
            assert_eq!(resolve(bad), None, "{bad}");
        }
    }

    #[test]
    fn dates_in_headers_have_days_without_padding() {
        assert_eq!(header_date(D2024_08_05), "Mon, 5 Aug 2024 00:00:00 GMT");
        assert_eq!(header_date(date(2027, 7, 1)), "Thu, 1 Jul 2027 00:00:00 GMT");
        let serverless = SERVERLESS[0];
        assert_eq!(header_date(serverless.deprecated.unwrap()), "Wed, 10 Dec 2025 00:00:00 GMT");
        assert_eq!(header_date(serverless.sunset.unwrap()), "Thu, 15 Jan 2026 00:00:00 GMT");
    }
}
