//! What a developer repeats: `ci`, `lint`, `test`, `fuzz`, `soak`, `bench`, `check-layers`.

mod circles;
mod fuzz;
mod layers;

use std::process::{Child, Command, ExitCode, Stdio};

fn main() -> ExitCode {
    let task = std::env::args().nth(1).unwrap_or_default();
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let outcome = match task.as_str() {
        "ci" => lint().and_then(|()| test(&arguments)).and_then(|()| fuzz::fuzz(&[])),
        "lint" => lint(),
        "test" => test(&arguments),
        "fuzz" => fuzz::fuzz(&arguments),
        "soak" => soak(&arguments),
        "bench" => bench(&arguments),
        "check-layers" => layers::check().and_then(|()| circles::check()),
        _ => Err("usage: cargo xtask ci|lint|test|fuzz|soak|bench|check-layers".to_owned()),
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

/// Formatting, lints, documentation, layers, circles.
fn lint() -> Result<(), String> {
    layers::check()?;
    circles::check()?;
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
    run("scripts/install-clients", &[], &[])?;
    let bin = std::env::current_dir().map_err(|error| error.to_string())?.join(".clients/bin");
    let servers = ["versitygw", "s3s-fs"].map(|name| bin.join(name).display().to_string());
    let azurite = bin.with_file_name("azurite/node_modules/.bin/azurite-blob");
    let azurite = azurite.display().to_string();
    let stores = [("TIDEMARK_TEST_S3", servers.join(":")), ("TIDEMARK_TEST_AZURE", azurite)];
    let stores = stores.each_ref().map(|(name, value)| (*name, value.as_str()));
    run("cargo", &["test", "--workspace"], &stores)?;
    // The catalog's suite once more, on its other database. Asked for on its own, cargo would build what it uses anew, with
    // fewer features.
    run("scripts/with-postgres", &[&*test_binary("tidemark_catalog")?], &[])?;
    run("cargo", &["build", "--workspace", "--all-targets"], &[])?;
    if !arguments.is_empty() {
        let mut pytest = vec!["-m", "pytest", "-q", "--durations=5", "tests"];
        pytest.extend(arguments.iter().map(String::as_str));
        return run(PYTHON, &pytest, &[]);
    }
    with_clients()
}

/// The file with the unit tests of a crate, which are built.
fn test_binary(name: &str) -> Result<String, String> {
    let list = ["test", "--workspace", "--no-run", "--message-format=json"];
    let done = Command::new("cargo").args(list).stderr(Stdio::inherit()).output();
    let done = done.map_err(|error| format!("cargo could not be started: {error}"))?;
    let said = String::from_utf8_lossy(&done.stdout);
    let is_meant = |line: &&str| {
        line.contains(&format!("\"name\":\"{name}\"")) && line.contains("\"kind\":[\"lib\"]")
    };
    let file = said.lines().filter(is_meant).find_map(|line| {
        let (_, rest) = line.split_once("\"executable\":\"")?;
        rest.split('"').next().map(str::to_owned)
    });
    file.ok_or_else(|| format!("the tests of {name} are not built: {}", done.status))
}

/// The built binary with real clients. Tests wait much of the time, so some run side by side; the last
/// word has what all clients were seen to do where nothing was broken on purpose.
fn with_clients() -> Result<(), String> {
    let seen = std::env::current_dir().map_err(|error| error.to_string())?.join("target/exchanges");
    let _ = std::fs::remove_dir_all(&seen);
    std::fs::create_dir_all(&seen).map_err(|error| format!("{}: {error}", seen.display()))?;
    let seen = seen.display().to_string();
    let seen = [("TIDEMARK_TEST_EXCHANGES", seen.as_str())];
    let elsewhere = [FAULT_TESTS, PEOPLE_TESTS, ONLY_ON_POSTGRES, LAST_TESTS].concat();
    let ignored: Vec<String> = elsewhere.iter().map(|file| format!("--ignore={file}")).collect();
    let mut others = vec!["tests"];
    others.extend(ignored.iter().map(String::as_str));
    let on_postgres = [ONLY_ON_POSTGRES, ALSO_ON_POSTGRES].concat();

    let beside = [
        start(PYTHON, &pytest(FAULT_TESTS), &[])?,
        start(PYTHON, &pytest(PEOPLE_TESTS), &seen)?,
        start("scripts/with-postgres", &[&[PYTHON], &*pytest(&on_postgres)].concat(), &[])?,
        start(PYTHON, &["bench/soak.py", "--minutes", "5"], &[])?,
    ];
    let mut outcome = run(PYTHON, &pytest(&others), &seen);
    for started in beside {
        outcome = finish(started).and(outcome);
    }
    outcome.and_then(|()| run(PYTHON, &pytest(LAST_TESTS), &seen))
}

fn pytest<'a>(tests: &[&'a str]) -> Vec<&'a str> {
    [&["-m", "pytest", "-q", "--durations=5"], tests].concat()
}

/// Clients, restores, kills and damage at random against a model: `--minutes N`, `--seed N`.
fn soak(arguments: &[String]) -> Result<(), String> {
    run("cargo", &["build", "--package", "tidemark"], &[])?;
    run("scripts/install-clients", &["python"], &[])?;
    let mut soak = vec!["bench/soak.py"];
    soak.extend(arguments.iter().map(String::as_str));
    run(PYTHON, &soak, &[])
}

const PYTHON: &str = ".clients/python/bin/python";
/// Tests that stop, kill and damage servers of their own.
const FAULT_TESTS: &[&str] = &[
    "tests/test_reliability.py",
    "tests/test_recovery.py",
    "tests/test_power_cut.py",
    "tests/test_full_disk.py",
    "tests/test_catalog_faults.py",
    "tests/test_deployments.py",
    "tests/test_object_stores.py",
    "tests/test_drills.py",
];

/// Tests of what people use: command line, console, drills, schedules, alerts, pages of the manual.
const PEOPLE_TESTS: &[&str] = &[
    "tests/test_alerts.py",
    "tests/test_cli.py",
    "tests/test_cli_sequences.py",
    "tests/test_console.py",
    "tests/test_doctor.py",
    "tests/test_drills.py",
    "tests/test_events.py",
    "tests/test_looking.py",
    "tests/test_manual.py",
    "tests/test_metrics.py",
    "tests/test_opening.py",
    "tests/test_packages.py",
    "tests/test_schedules.py",
    "tests/test_service.py",
    "tests/test_traces.py",
    "tests/test_tutorial.py",
];
/// What all clients were seen to do, after all others.
const LAST_TESTS: &[&str] = &["tests/test_zz_conformance.py"];

/// Tests that run with the catalog in PostgreSQL: some only then, others a second time.
const ONLY_ON_POSTGRES: &[&str] =
    &["tests/test_postgres.py", "tests/test_nodes.py", "tests/test_network_cuts.py"];
const ALSO_ON_POSTGRES: &[&str] = &[
    "tests/test_api.py",
    "tests/test_backup.py",
    "tests/test_exports.py",
    "tests/test_looking.py",
    "tests/test_events.py",
    "tests/test_metrics.py",
];

/// Starts a command whose output is shown when it has ended.
fn start(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Child, String> {
    eprintln!("» {program} {} (beside the next one)", arguments.join(" "));
    Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| format!("{program} could not be started: {error}"))
}

/// Waits for such a command and shows what it said.
fn finish(child: Child) -> Result<(), String> {
    let done = child.wait_with_output().map_err(|error| format!("a test run: {error}"))?;
    eprintln!("» beside it:\n{}", String::from_utf8_lossy(&done.stdout));
    if done.status.success() { Ok(()) } else { Err(format!("tests failed: {}", done.status)) }
}

/// Measures against mongodump and mongorestore, in one run; `bench lists` the lists at scale,
/// `bench wire` the engine through its socket beside what bounds it, `bench store` the candidates for the engine's store, `bench bounded` an instance at real size,
/// `bench deployments` deployments that somebody else runs, `bench bucket` a vault in a bucket, `bench opening` how a
/// vault of a tebibyte opens.
fn bench(arguments: &[String]) -> Result<(), String> {
    if let Some((_, arguments)) = arguments.split_first().filter(|(first, _)| *first == "store") {
        return bench_store(arguments);
    }
    if let Some((_, arguments)) = arguments.split_first().filter(|(first, _)| *first == "bounded") {
        return bench_script("bench/bounded.py", arguments);
    }
    if let Some((_, arguments)) = arguments.split_first().filter(|(first, _)| *first == "bucket") {
        run("scripts/install-clients", &["s3-servers"], &[])?;
        return bench_script("bench/bucket.py", arguments);
    }
    if arguments.first().is_some_and(|first| *first == "opening") {
        let opening = [
            "test",
            "--release",
            "--package",
            "tidemark-vault",
            "--",
            "--ignored",
            "tebibyte",
            "--nocapture",
        ];
        return run("cargo", &opening, &[]);
    }
    if let Some((_, arguments)) =
        arguments.split_first().filter(|(first, _)| *first == "deployments")
    {
        run("scripts/install-clients", &["ferretdb"], &[])?;
        return bench_script("bench/deployments.py", arguments);
    }
    if let Some((_, arguments)) = arguments.split_first().filter(|(first, _)| *first == "looking") {
        return bench_script("bench/looking.py", arguments);
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
