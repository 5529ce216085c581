//! Versions by date in the media type.

use jiff::civil::Date;

/// The version of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) Date);

/// The version that most operations have had since the API began.
pub(crate) const V2023_01_01: Version = Version(jiff::civil::date(2023, 1, 1));

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Reads the date that an `Accept` header asks for.
fn parse_accept(accept: &str) -> Option<Version> {
    accept.split(',').find_map(|media_type| {
        let media_type = media_type.split(';').next()?.trim();
        let date = media_type.strip_prefix("application/vnd.atlas.")?.strip_suffix("+json")?;
        // The date's own parser takes other forms as well.
        let is_plain = date.len() == 10 && date.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        is_plain.then(|| date.parse().ok().map(Version))?
    })
}

/// The newest version that is not after the wanted one.
pub(crate) fn resolve(accept: Option<&str>, versions: &[Version]) -> Option<Version> {
    let wanted = parse_accept(accept?)?;
    versions.iter().copied().filter(|version| *version <= wanted).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_not_after_the_wanted_one_is_served() {
        let versions = [V2023_01_01, Version(jiff::civil::date(2024, 8, 5))];
        let resolve = |accept: &str| resolve(Some(accept), &versions).map(|v| v.to_string());
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
        ] {
            assert_eq!(resolve(bad), None, "{bad}");
        }
    }
}
