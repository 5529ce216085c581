//! Fuzzing of the parsers: each target of `fuzz` for a while, from the seeds of the repository.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::run;

/// What `cargo xtask fuzz` and the tests run.
const TARGETS: &[&str] = &["frame", "filter", "update", "pipeline", "oplog_entry", "difference"];
const CARGO_FUZZ: &str = "0.13.2";
/// As many run beside each other as the tests' machine has cores.
const BESIDE: usize = 2;
const ROOT: &str = ".clients/cargo-fuzz";
const BUILT: &str = "fuzz/target";

/// Runs targets for a minute each: `[TARGET…] [--seconds N]`.
pub(crate) fn fuzz(arguments: &[String]) -> Result<(), String> {
    let mut targets = Vec::new();
    let mut seconds = 60;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--seconds" {
            let given = rest.next().and_then(|value| value.parse::<u32>().ok());
            seconds = given.ok_or("--seconds takes a whole number")?;
        } else if let Some(target) = TARGETS.iter().find(|target| *target == argument) {
            targets.push(*target);
        } else {
            return Err(format!("no fuzz target '{argument}'; there are {}", TARGETS.join(", ")));
        }
    }
    if targets.is_empty() {
        targets.extend(TARGETS);
    }
    run(
        "cargo",
        &["install", "--quiet", "--locked", "--root", ROOT, "--version", CARGO_FUZZ, "cargo-fuzz"],
        &[],
    )?;
    let path = format!("{ROOT}/bin:{}", std::env::var("PATH").unwrap_or_default());
    // Without a sanitizer it builds with the toolchain of the repository; the parsers hold no
    // unsafe code that one would watch.
    let host = host();
    let build = ["fuzz", "build", "--sanitizer", "none", "--target", &host, "--target-dir", BUILT];
    run("cargo", &build, &[("PATH", &path)])?;
    for beside in targets.chunks(BESIDE) {
        let started: Vec<_> = beside.iter().map(|target| start(target, seconds)).collect();
        // All of them end before any is reported.
        let ended: Vec<_> =
            beside.iter().zip(started).map(|(target, child)| finish(target, child?)).collect();
        ended.into_iter().collect::<Result<(), _>>()?;
    }
    Ok(())
}

fn host() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

fn log(target: &str) -> PathBuf {
    PathBuf::from(format!("{BUILT}/{target}.log"))
}

fn start(target: &str, seconds: u32) -> Result<Child, String> {
    eprintln!("» fuzz {target} for {seconds} s");
    let file = |error: std::io::Error| format!("fuzzing of {target} could not be started: {error}");
    let corpus = format!("fuzz/corpus/{target}");
    std::fs::create_dir_all(&corpus).map_err(file)?;
    std::fs::create_dir_all("fuzz/artifacts").map_err(file)?;
    Command::new(format!("{BUILT}/{}/release/{target}", host()))
        .args([&corpus, &format!("fuzz/seeds/{target}"), "-dict=fuzz/words.dict", "-timeout=20"])
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix=fuzz/artifacts/{target}-"))
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(log(target)).map_err(file)?)
        .spawn()
        .map_err(file)
}

fn finish(target: &str, mut child: Child) -> Result<(), String> {
    let status = child.wait().map_err(|error| format!("fuzzing of {target}: {error}"))?;
    let said = std::fs::read(log(target)).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    if status.success() {
        let runs = said.lines().rfind(|line| line.starts_with("Done")).unwrap_or("Done");
        eprintln!("  {target}: {runs}");
        return Ok(());
    }
    let skipped = said.lines().count().saturating_sub(60);
    let end: Vec<_> = said.lines().skip(skipped).collect();
    Err(format!("fuzzing of {target} found an input in fuzz/artifacts:\n{}", end.join("\n")))
}
