//! Who asks a bucket: the environment, and the profiles of AWS's own tools in `~/.aws/credentials`
//! and `~/.aws/config`.
//!
//! The object store's client knows the environment, web identities, containers and instance roles;
//! it does not read these files, which is what people have on their desks.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::location::LocationError;

/// The variables that say whose bucket it is.
#[derive(Default)]
pub(super) struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Those of this process; one that is empty counts as missing.
    pub(super) fn of_process() -> Self {
        Self::new(std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        }))
    }

    pub(super) fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(variables.into_iter().filter(|(_, value)| !value.is_empty()).collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    pub(super) fn beginning_with(&self, prefix: &str) -> impl Iterator<Item = (&str, &str)> {
        let all = self.0.iter().filter(move |(name, _)| name.starts_with(prefix));
        all.map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// What a profile says.
#[derive(Default, PartialEq, Eq)]
pub(super) struct Profile(BTreeMap<String, String>);

/// What a profile may say instead of keys, which is not read here.
const OTHER_WAYS: &[&str] = &["role_arn", "credential_process", "sso_session", "sso_start_url"];

impl Profile {
    /// Reads a profile from both files; `wanted` is the one that was asked for by name.
    ///
    /// Without a name it is the default one, which need not exist.
    pub(super) fn load(
        wanted: Option<&str>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, LocationError> {
        let wanted = wanted.map(str::to_owned).or_else(|| variable("AWS_PROFILE"));
        let name = wanted.as_deref().unwrap_or("default");
        let home = variable("HOME").map(PathBuf::from).unwrap_or_default().join(".aws");
        let file = |name: &str, default: &str| {
            let path = variable(name).map_or_else(|| home.join(default), PathBuf::from);
            std::fs::read_to_string(path).unwrap_or_default()
        };
        let section = if name == "default" { name.to_owned() } else { format!("profile {name}") };
        let mut values = parse(&file("AWS_CONFIG_FILE", "config"), &section);
        values.extend(parse(&file("AWS_SHARED_CREDENTIALS_FILE", "credentials"), name));
        let profile = Self(values);
        if wanted.is_some() && profile.get("aws_access_key_id").is_none() {
            let other = OTHER_WAYS.iter().find(|way| profile.get(way).is_some());
            return Err(LocationError::Unusable(other.map_or_else(
                || format!("the AWS profile `{name}` has no aws_access_key_id"),
                |way| {
                    format!(
                        "the AWS profile `{name}` gets its keys by {way}, which is not read; put keys into the environment: `eval \"$(aws configure export-credentials --profile {name} --format env)\"`"
                    )
                },
            )));
        }
        Ok(profile)
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

/// The keys and values of a section.
fn parse(text: &str, section: &str) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    let mut is_wanted = false;
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            is_wanted = name.split_whitespace().eq(section.split_whitespace());
        } else if let (true, Some((key, value))) = (is_wanted, line.split_once('=')) {
            values.insert(key.trim().to_owned(), value.trim().to_owned());
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(wanted: Option<&str>, named: Option<&str>) -> Result<Profile, LocationError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(".aws")).unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(".aws").join(name), text).unwrap();
        };
        write(
            "config",
            "[default]\nregion = eu-west-1\n[profile  backup]\nregion=us-west-2\n# x\nendpoint_url = http://h\n[profile far]\nrole_arn = r\n",
        );
        write(
            "credentials",
            "[backup]\naws_access_key_id = A\naws_secret_access_key = s=/+\n; [x]\n[default]\n",
        );
        let home = folder.path().to_str().unwrap().to_owned();
        Profile::load(wanted, |name| match name {
            "HOME" => Some(home.clone()),
            "AWS_PROFILE" => named.map(str::to_owned),
            _ => None,
        })
    }

    #[test]
    fn a_profile_is_read_from_both_files() {
        for profile in [load(Some("backup"), None), load(None, Some("backup"))] {
            let profile = profile.unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(profile.get("aws_access_key_id"), Some("A"));
            assert_eq!(profile.get("aws_secret_access_key"), Some("s=/+"));
            assert_eq!(profile.get("region"), Some("us-west-2"));
            assert_eq!(profile.get("endpoint_url"), Some("http://h"));
        }
        let default = load(None, None).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            (default.get("region"), default.get("aws_access_key_id")),
            (Some("eu-west-1"), None)
        );
    }

    #[test]
    fn a_profile_that_cannot_be_used_is_told() {
        let told = |name| load(Some(name), None).err().unwrap().to_string();
        assert!(told("nobody").contains("`nobody` has no aws_access_key_id"));
        assert!(told("far").contains("role_arn") && told("far").contains("export-credentials"));
    }
}
