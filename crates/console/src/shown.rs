//! What every page shows around its own: who is signed in, the language, the way back.

use jiff::Timestamp;

use crate::language::{Language, bytes, number};

/// The frame of a page.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) language: Language,
    /// Who is signed in; nobody on the page for that.
    pub(crate) visitor: Option<String>,
    /// What forms carry.
    pub(crate) csrf: String,
    /// Where this page is, for the switch of the language.
    pub(crate) here: String,
    pub(crate) now: Timestamp,
    /// The project that is looked at: its id and name.
    pub(crate) project: Option<(String, String)>,
}

#[expect(
    clippy::unused_self,
    clippy::trivially_copy_pass_by_ref,
    reason = "templates call methods, and pass references"
)]
impl Frame {
    /// A message.
    pub(crate) fn t(&self, id: &str) -> String {
        self.language.say(id, &[])
    }

    /// A message with a value.
    pub(crate) fn with(&self, id: &str, name: &str, value: &str) -> String {
        self.language.say(id, &[(name, value)])
    }

    /// A state in words.
    pub(crate) fn state(&self, word: &str) -> String {
        self.t(id_of_state(&word.to_lowercase()))
    }

    /// A step of a job in words.
    pub(crate) fn step(&self, word: &str) -> String {
        self.t(id_of_step(word))
    }

    pub(crate) fn instant(&self, at: &Timestamp) -> String {
        self.language.instant(*at)
    }

    pub(crate) fn ago(&self, at: &Timestamp) -> String {
        self.language.ago(*at, self.now)
    }

    pub(crate) fn number(&self, count: &u64) -> String {
        number(*count)
    }

    pub(crate) fn bytes(&self, count: &u64) -> String {
        bytes(*count)
    }

    /// The other languages.
    pub(crate) fn languages(&self) -> impl Iterator<Item = &'static Language> {
        static ALL: [Language; 3] = Language::ALL;
        ALL.iter()
    }
}

fn id_of_state(word: &str) -> &'static str {
    match word {
        "creating" => "state-creating",
        "idle" => "state-idle",
        "updating" => "state-updating",
        "repairing" => "state-repairing",
        "deleting" | "deleted" => "state-deleting",
        "queued" => "state-queued",
        "running" | "inprogress" => "state-running",
        "completed" => "state-completed",
        "failed" => "state-failed",
        "cancelled" => "state-cancelled",
        "proven" => "state-proven",
        _ => "state-unknown",
    }
}

fn id_of_step(word: &str) -> &'static str {
    match word {
        "verify" => "step-verify",
        "stage" | "restore" => "step-stage",
        "replay" => "step-replay",
        "index" => "step-index",
        "compare" => "step-compare",
        "swap" => "step-swap",
        "pack" => "step-pack",
        "check" => "step-check",
        _ => "state-unknown",
    }
}
