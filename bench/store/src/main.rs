//! Which store carries the embedded engine: four loads, each candidate in a process of its own.
//!
//! `bench-store [--megabytes N] [--hold-seconds N] [--quiet-seconds N] [--only NAME] --folder DIR`
//! prints a Markdown table. Started by `cargo xtask bench store`.

mod candidates;
mod loads;
mod measure;

use std::path::PathBuf;
use std::process::Command;

use loads::Size;

struct Arguments {
    folder: PathBuf,
    size: Size,
    only: Option<String>,
    /// Set in the process that measures one candidate.
    candidate: Option<String>,
}

fn parse() -> Result<Arguments, String> {
    let mut arguments = Arguments {
        folder: std::env::temp_dir(),
        size: Size { megabytes: 1_000, hold_seconds: 300, quiet_seconds: 60 },
        only: None,
        candidate: None,
    };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        let value = given.next().ok_or(format!("{name} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{name} needs a number"));
        match name.as_str() {
            "--folder" => arguments.folder = PathBuf::from(&value),
            "--megabytes" => arguments.size.megabytes = number()?,
            "--hold-seconds" => arguments.size.hold_seconds = number()?,
            "--quiet-seconds" => arguments.size.quiet_seconds = number()?,
            "--only" => arguments.only = Some(value),
            "--candidate" => arguments.candidate = Some(value),
            _ => return Err(format!("unknown argument {name}")),
        }
    }
    Ok(arguments)
}

fn main() {
    let arguments = match parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("bench-store: {error}");
            std::process::exit(2);
        }
    };
    if let Some(name) = &arguments.candidate {
        println!("{}", loads::run(name, &arguments.folder, arguments.size));
        return;
    }
    println!("{} MB of documents of about 500 bytes, one index; memory is anonymous.\n", arguments.size.megabytes);
    println!("{}", loads::HEAD);
    for name in candidates::NAMES.iter().filter(|name| arguments.only.as_deref().is_none_or(|only| only == **name)) {
        let folder = arguments.folder.join(format!("bench-store-{name}"));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("the folder of a candidate");
        let program = std::env::current_exe().expect("this program");
        let status = Command::new(program)
            .args(["--candidate", name, "--folder"])
            .arg(&folder)
            .args(["--megabytes", &arguments.size.megabytes.to_string()])
            .args(["--hold-seconds", &arguments.size.hold_seconds.to_string()])
            .args(["--quiet-seconds", &arguments.size.quiet_seconds.to_string()])
            .status()
            .expect("a process for a candidate");
        let _ = std::fs::remove_dir_all(&folder);
        if !status.success() {
            println!("| {name} | failed: {status} |");
        }
    }
}
