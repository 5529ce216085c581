//! How far something is: bars at a terminal, lines elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::answers::Progress;
use crate::error::CliError;
use crate::output::Output;

/// How often a job is looked at.
const POLL: Duration = Duration::from_millis(250);
/// After so many looks a job that goes slowly is mentioned again, where there is no bar.
const LOOKS_PER_LINE: u32 = 40;

const BAR: &str = "{prefix:9} [{bar:28}] {bytes:>10} / {total_bytes:>10}  {binary_bytes_per_sec:>12}  {eta:>4} left  {msg}";
const SPINNER: &str = "{prefix:9} {spinner} {bytes:>10}  {elapsed:>4}  {msg}";

/// Shows how far something is.
pub(crate) struct Watch {
    output: Output,
    bar: Option<ProgressBar>,
    said: String,
    looks: u32,
}

impl Watch {
    pub(crate) fn new(output: Output) -> Self {
        let bar = output.is_watched().then(ProgressBar::new_spinner);
        Self { output, bar, said: String::new(), looks: 0 }
    }

    /// Shows how far something is that says so by itself.
    pub(crate) fn note(&mut self, progress: &Progress) {
        self.show(progress);
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn show(&mut self, progress: &Progress) {
        let at = progress.step.as_deref().unwrap_or(&progress.state).to_owned();
        match &self.bar {
            Some(bar) => show_bar(bar, &at, progress),
            None => self.show_line(&at, progress),
        }
    }

    fn show_line(&mut self, at: &str, progress: &Progress) {
        self.looks += 1;
        if self.said == at && self.looks < LOOKS_PER_LINE {
            return;
        }
        (self.said, self.looks) = (at.to_owned(), 0);
        let total = progress.bytes_total.map_or(String::new(), |total| format!(" of {total}"));
        let namespace =
            progress.namespace.as_ref().map_or(String::new(), |name| format!(", {name}"));
        let (documents, bytes) = (progress.documents_done, progress.bytes_done);
        self.output.say(&format!("{at}: {documents} documents, {bytes}{total} bytes{namespace}"));
    }

    /// Looks until nothing more becomes of it.
    pub(crate) fn until_over(
        mut self,
        mut look: impl FnMut() -> Result<Progress, CliError>,
    ) -> Result<(), CliError> {
        loop {
            let progress = look()?;
            if is_over(&progress.state) {
                self.end();
                return Ok(());
            }
            self.show(&progress);
            std::thread::sleep(POLL);
        }
    }
}

/// Whether nothing more becomes of a job or snapshot in this state.
pub(crate) fn is_over(state: &str) -> bool {
    ["completed", "failed", "cancelled", "proven"].contains(&state)
}

fn show_bar(bar: &ProgressBar, at: &str, progress: &Progress) {
    let template = if progress.bytes_total.is_some() { BAR } else { SPINNER };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(at.to_owned());
    bar.set_message(progress.namespace.clone().unwrap_or_default());
    if let Some(total) = progress.bytes_total {
        bar.set_length(total);
    }
    bar.set_position(progress.bytes_done);
    bar.tick();
}
