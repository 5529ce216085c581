//! Why a job ended without success.

macro_rules! causes {
    ($($variant:ident = $word:literal, $meaning:literal;)*) => {
        /// Why a job ended without success, for programs and for those who read other languages: the kind of
        /// it. The reason beside it says which one it was.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Cause {$(#[doc = $meaning] $variant,)*}

        impl Cause {
            /// Every cause.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word that the API and the catalog use.
            pub fn as_str(self) -> &'static str {
                match self {$(Self::$variant => $word,)*}
            }

            /// What it means, in a few words.
            pub fn meaning(self) -> &'static str {
                match self {$(Self::$variant => $meaning,)*}
            }
        }
    };
}

causes! {
    Unknown = "unknown", "another one, or one that this release does not know";
    Unreachable = "unreachable", "a deployment does not answer";
    Denied = "denied", "a deployment does not let the user in, or do what is needed";
    Settings = "settings", "the connection string or a certificate of a deployment cannot be used";
    DeploymentRefused = "deploymentRefused", "a deployment refused something else";
    VaultUnavailable = "vaultUnavailable", "the vault cannot be read or written now";
    VaultDamaged = "vaultDamaged", "something in the vault is damaged or missing";
    RecordsUnavailable = "recordsUnavailable", "the records cannot be read or written";
    Different = "different", "what came back is not what the backup holds";
    CheckFailed = "checkFailed", "a check of the user's does not hold";
    OutOfReach = "outOfReach", "the moment cannot be reached with what was captured";
    Changed = "changed", "collections were taken away or renamed while they were read";
    StageLost = "stageLost", "what was staged on the target is gone";
    Unsupported = "unsupported", "the target, or this release, cannot have what the backup holds";
    Selection = "selection", "what is selected is not in the backup, or cannot be together";
    Replay = "replay", "an entry of the oplog cannot be replayed";
    Dump = "dump", "what was uploaded is no dump, or not a whole one";
    Lookup = "lookup", "what is looked for cannot be found out from the vault";
    Conflict = "conflict", "documents are there already, and are others";
    Partial = "partial", "documents were brought back only in part";
    Disk = "disk", "a file of the server cannot be written";
    Crashed = "crashed", "the process ended in it again and again without a word";
    Fault = "fault", "the server has a fault";
}

impl Cause {
    /// The cause with this word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|cause| cause.as_str() == text)
    }
}

/// Why a job ended without success, or would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The kind.
    pub cause: Cause,
    /// What went wrong and what the operator can do, in English.
    pub reason: String,
}

impl Failure {
    /// One with a reason.
    pub fn new(cause: Cause, reason: impl std::fmt::Display) -> Self {
        Self { cause, reason: reason.to_string() }
    }

    /// A panic, by what it said.
    pub fn of_panic(text: &str) -> Self {
        Self::new(Cause::Fault, format!("the server has a fault ({text}); please report it"))
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_a_word_of_its_own() {
        for cause in Cause::ALL {
            assert_eq!(Cause::parse(cause.as_str()), Some(*cause));
        }
        assert_eq!(Cause::parse(""), None);
    }

    /// `docs/api.md` lists them. Written anew by `TIDEMARK_WRITE_DOCS=1 cargo test -p tidemark-model documented`.
    #[test]
    fn every_cause_is_documented() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/api.md");
        let page = std::fs::read_to_string(&file).unwrap();
        let (before, rest) = page.split_once("<!-- causes -->\n").unwrap();
        let (_, after) = rest.split_once("<!-- end -->\n").unwrap();
        let rows: Vec<String> = Cause::ALL
            .iter()
            .map(|cause| format!("| `{}` | {} |\n", cause.as_str(), cause.meaning()))
            .collect();
        let table = format!("| | |\n|---|---|\n{}", rows.concat());
        let wanted = format!("{before}<!-- causes -->\n\n{table}\n<!-- end -->\n{after}");
        if std::env::var_os("TIDEMARK_WRITE_DOCS").is_some() {
            std::fs::write(&file, &wanted).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap(), wanted);
    }
}
