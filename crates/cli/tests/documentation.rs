//! `docs/cli.md` says what there is. Written anew by `TIDEMARK_WRITE_DOCS=1 cargo test -p tidemark-cli documented`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use tidemark_cli::{Exit, SCHEMAS};

/// A page with what stands behind a mark, up to the next empty line but one, replaced.
fn with(page: &str, mark: &str, text: &str) -> String {
    let (before, after) = page.split_once(mark).unwrap();
    let rest = after.trim_start_matches('\n');
    // What was written before.
    let rest = rest.split_once("<!-- end -->\n").map_or(rest, |(_, rest)| rest);
    format!("{before}{mark}\n\n{text}\n\n<!-- end -->\n{rest}")
}

#[test]
fn the_documented_codes_and_schemas_are_those_that_there_are() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
    let found = std::fs::read_to_string(&file).unwrap();
    let schemas: Vec<String> = SCHEMAS.iter().map(|(name, _)| format!("`{name}`")).collect();
    let exits: Vec<String> = Exit::ALL
        .iter()
        .map(|(exit, meaning)| format!("| {} | {meaning} |", *exit as u8))
        .collect();
    let exits = format!("| | |\n|---|---|\n| 0 | it is done |\n{}", exits.join("\n"));
    let wanted = with(&found, "<!-- schemas -->", &schemas.join(", "));
    let wanted = with(&wanted, "<!-- exits -->", &exits);
    if std::env::var_os("TIDEMARK_WRITE_DOCS").is_some() {
        std::fs::write(&file, &wanted).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), wanted);
}
