//! Who did what, as lines of JSON in a file, for whoever collects them.
//!
//! Lines follow the records of the catalog: what is in no line yet is written at the next start, and on every
//! node that has such a file all lines are.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use tidemark_catalog::{Catalog, Event};
use tidemark_model::format_instant;

/// How often it is looked for new records.
const INTERVAL: Duration = Duration::from_millis(500);
/// Records of one look.
const PAGE: u32 = 1_000;
/// Where several nodes write records, one may come after another with a greater number: so many numbers
/// are looked at again.
const OVERLAP: i64 = 100;
/// Bytes at the end of a file in which its last lines are looked for.
const TAIL_BYTES: u64 = 256 * 1024;

/// Follows the records until it is told to stop.
pub(crate) fn follow(
    path: &Path,
    catalog: Arc<Catalog>,
    is_stopping: impl Fn() -> bool + Send + 'static,
) -> Result<JoinHandle<()>, String> {
    let failed = |error: std::io::Error| format!("the audit file {}: {error}", path.display());
    let mut follower = Follower::open(path.to_owned(), catalog).map_err(failed)?;
    Ok(std::thread::spawn(move || {
        loop {
            // What was recorded before the end is in a line.
            let is_last = is_stopping();
            if let Err(error) = follower.run_round() {
                tracing::error!(%error, file = %follower.path.display(), "lines of the audit could not be written; they are tried again");
            }
            if is_last {
                return;
            }
            std::thread::sleep(INTERVAL);
        }
    }))
}

struct Follower {
    path: PathBuf,
    file: File,
    catalog: Arc<Catalog>,
    /// The numbers of the last lines, in order.
    written: Vec<i64>,
}

impl Follower {
    fn open(path: PathBuf, catalog: Arc<Catalog>) -> std::io::Result<Self> {
        let mut options = OpenOptions::new();
        options.create(true).read(true).append(true);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&path)?;
        let written = last_numbers(&mut file)?;
        Ok(Self { path, file, catalog, written })
    }

    fn run_round(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        loop {
            let from = self.written.last().map_or(0, |last| (last - OVERLAP).max(0));
            let mut new = self.catalog.list_audit_after(from, PAGE)?;
            new.retain(|event| !self.written.contains(&event.number));
            if new.is_empty() {
                return Ok(());
            }
            let mut lines = String::new();
            for event in &new {
                lines.push_str(&line_of(event).to_string());
                lines.push('\n');
            }
            self.file.write_all(lines.as_bytes())?;
            self.file.sync_data()?;
            self.written.extend(new.iter().map(|event| event.number));
            self.written.sort_unstable();
            let keep = self.written.len().saturating_sub(usize::try_from(2 * OVERLAP)?);
            self.written.drain(..keep);
        }
    }
}

/// The numbers of the last lines of a file; a line that was cut short is removed, and written again.
fn last_numbers(file: &mut File) -> std::io::Result<Vec<i64>> {
    let size = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(size.saturating_sub(TAIL_BYTES)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1);
    if whole < tail.len() {
        let cut = u64::try_from(tail.len() - whole).unwrap_or_default();
        file.set_len(size.saturating_sub(cut))?;
        tail.truncate(whole);
    }
    let tail = String::from_utf8_lossy(&tail);
    let numbers = tail.lines().filter_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        line.get("number")?.as_i64()
    });
    let mut numbers: Vec<i64> = numbers.collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn line_of(event: &Event) -> Value {
    let entry = &event.entry;
    let scope = &entry.scope;
    json!({
        "action": entry.action,
        "actor": entry.actor,
        "address": entry.address,
        "at": format_instant(entry.at),
        "detail": scope.detail,
        "event": event.kind.map(|kind| kind.name),
        "id": event.id.map(|id| id.to_string()),
        "instance": scope.instance,
        "number": event.number,
        "org": scope.org.map(|id| id.to_string()),
        "project": scope.project.map(|id| id.to_string()),
        "publicKey": event.public_key,
        "subject": entry.subject,
    })
}
