//! What a developer repeats: `ci`, `lint`, `test`, `fuzz`, `bench`, `check-layers`.

mod fuzz;
mod layers;

use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let task = std::env::args().nth(1).unwrap_or_default();
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let outcome = match task.as_str() {
        "ci" => lint().and_then(|()| test(&arguments)).and_then(|()| fuzz::fuzz(&[])),
        "lint" => lint(),
        "test" => test(&arguments),
        "fuzz" => fuzz::fuzz(&arguments),
        "bench" => bench(&arguments),
        "check-layers" => layers::check(),
        _ => Err("usage: cargo xtask ci|lint|test|fuzz|bench|check-layers".to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<(), String> {
    eprintln!("» {program} {}", arguments.join(" "));
    let status = Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .status()
        .map_err(|error| format!("{program} could not be started: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{program} {} failed: {status}", arguments.join(" ")))
    }
}

/// Formatting, lints, documentation, layers.
fn lint() -> Result<(), String> {
    layers::check()?;
    run("cargo", &["fmt", "--all", "--check"], &[])?;
    run(
        "cargo",
        &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"],
        &[],
    )?;
    let deny = [("RUSTDOCFLAGS", "-D warnings")];
    run("cargo", &["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"], &deny)
}

/// Tests of the crates, then the built binary with real clients.
fn test(arguments: &[String]) -> Result<(), String> {
    run("cargo", &["test", "--workspace"], &[])?;
    run("cargo", &["build", "--package", "tidemark"], &[])?;
    run("scripts/install-clients", &[], &[])?;
    let mut pytest = vec!["-m", "pytest", "-q", "--durations=5", "tests"];
    pytest.extend(arguments.iter().map(String::as_str));
    run(".clients/python/bin/python", &pytest, &[])
}

/// Measures against mongodump and mongorestore, in one run; `bench lists` the lists at scale,
/// `bench wire` the engine through its socket beside what bounds it, `bench store` the candidates for the engine's store, `bench bounded` an instance at real size.
fn bench(arguments: &[String]) -> Result<(), String> {
    if let Some((_, arguments)) = arguments.split_first().filter(|(first, _)| *first == "store") {
        return bench_store(arguments);
    }
    if let Some((_, arguments)) = arguments.split_first().filter(|(first, _)| *first == "bounded") {
        return bench_script("bench/bounded.py", arguments);
    }
    if let Some((_, arguments)) = arguments.split_first().filter(|(first, _)| *first == "lists") {
        return bench_crate("tidemark-atlas-api", "lists", arguments);
    }
    if let Some((_, arguments)) = arguments.split_first().filter(|(first, _)| *first == "wire") {
        return bench_crate("tidemark-docdb", "wire", arguments);
    }
    bench_script("bench/bench.py", arguments)
}

/// Runs a benchmark of a crate.
fn bench_crate(package: &str, name: &str, arguments: &[String]) -> Result<(), String> {
    let mut bench = vec!["bench", "--package", package, "--bench", name, "--"];
    bench.extend(arguments.iter().map(String::as_str));
    run("cargo", &bench, &[])
}

/// Runs a benchmark that drives the release build.
fn bench_script(script: &str, arguments: &[String]) -> Result<(), String> {
    run("cargo", &["build", "--release", "--package", "tidemark"], &[])?;
    run("scripts/install-clients", &["python", "mongo-tools"], &[])?;
    let mut bench = vec![script];
    bench.extend(arguments.iter().map(String::as_str));
    run(".clients/python/bin/python", &bench, &[])
}

/// Builds the candidates, which are a workspace of their own, and runs the loads on each.
///
/// RocksDB takes a C++ toolchain, libclang and most of an hour of processor time: `--with-rocksdb`.
fn bench_store(arguments: &[String]) -> Result<(), String> {
    let with_rocksdb = arguments.iter().any(|argument| argument == "--with-rocksdb");
    let mut build = vec!["build", "--release", "--manifest-path", "bench/store/Cargo.toml"];
    if with_rocksdb {
        build.extend(["--features", "rocksdb"]);
    } else {
        eprintln!("rocksdb skipped: it is built with --with-rocksdb only");
    }
    run("cargo", &build, &[])?;
    let rest = arguments.iter().map(String::as_str).filter(|a| *a != "--with-rocksdb");
    run("bench/store/target/release/bench-store", &rest.collect::<Vec<_>>(), &[])
}
