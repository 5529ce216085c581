//! `tidemark deployments`: the deployments that somebody else runs.

use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};
use serde_json::{Map, Value, json};

use crate::client::{Client, items, percent_encode, text, with_server};

type Failure = Box<dyn std::error::Error>;

/// The command with all that it can do.
pub(crate) fn command() -> Command {
    let name = || Arg::new("name").value_name("NAME").required(true).help("The deployment's name");
    let one = |command: &'static str, about: &'static str| {
        with_server(Command::new(command).about(about).arg(name()))
    };
    let attach = with_reach(one("attach", "Protect a MongoDB deployment that you run")).arg(
        Arg::new("view")
            .long("view")
            .value_name("VIEW")
            .value_parser(["serverless", "flex", "cluster"])
            .help("Through which API it is shown [serverless]"),
    );
    Command::new("deployments")
        .about("Look after the deployments that this server protects and does not run")
        .subcommand_required(true)
        .subcommand(attach)
        .subcommand(with_server(Command::new("list").about("List them")))
        .subcommand(one("show", "Show one, and what it can do"))
        .subcommand(one("probe", "Look at one now; nothing is written to it"))
        .subcommand(with_reach(one("update", "Change how one is reached")))
        .subcommand(one("detach", "Let one go; its snapshots stay until their time is over"))
}

/// A command with what says how a deployment is reached.
fn with_reach(command: Command) -> Command {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    command
        .arg(text(
            "uri",
            "URI",
            "mongodb://… or mongodb+srv://…, with user and password [$TIDEMARK_URI]",
        ))
        .arg(text("tls-ca-file", "FILE", "Certificates to trust, as PEM"))
        .arg(text("tls-certificate-key-file", "FILE", "The client's certificate and key, as PEM"))
        .arg(text("tls-certificate-key-file-password", "TEXT", "The password of that key"))
        .arg(
            text("read-from", "MEMBERS", "From which members data is read [primary]")
                .value_parser(["primary", "secondary", "secondaryPreferred", "nearest"]),
        )
        .arg(
            text("read-rate", "MB/s", "Megabytes that are read in a second at most")
                .value_parser(clap::value_parser!(u32).range(1..)),
        )
}

/// Runs it.
pub(crate) fn run(matches: &ArgMatches) -> crate::Outcome {
    let Some((what, matches)) = matches.subcommand() else { return Ok(ExitCode::FAILURE) };
    let name = matches.try_get_one::<String>("name").ok().flatten();
    let path = name
        .map_or("/deployments".to_owned(), |name| format!("/deployments/{}", percent_encode(name)));
    // What is wrong with the flags is said before anybody is called.
    let body = match what {
        "attach" => Some(attach_body(matches)?),
        "update" => Some(Value::Object(reach_body(matches)?)),
        _ => None,
    };
    let client = Client::new(matches)?;
    let answer = match what {
        "attach" => client.call_own("POST", "/deployments", body.as_ref())?,
        "update" => client.call_own("PATCH", &path, body.as_ref())?,
        "probe" => client.call_own("POST", &format!("{path}/probe"), None)?,
        "detach" => client.call_own("DELETE", &path, None)?,
        _ => client.call_own("GET", &path, None)?,
    };
    if matches.get_flag("json") {
        println!("{}", serde_json::to_string_pretty(&answer)?);
    } else if what == "list" {
        print_list(&answer);
    } else if what == "detach" {
        println!(
            "{} is let go; its snapshots stay until their time is over",
            text(&answer, "name")
        );
    } else {
        print_one(&answer);
    }
    Ok(ExitCode::SUCCESS)
}

fn attach_body(matches: &ArgMatches) -> Result<Value, Failure> {
    let mut body = reach_body(matches)?;
    if !body.contains_key("connectionString") {
        return Err("say how to reach it: --uri, or $TIDEMARK_URI, which is not seen in the list of processes".into());
    }
    body.insert("name".to_owned(), json!(matches.get_one::<String>("name")));
    if let Some(view) = matches.get_one::<String>("view") {
        body.insert("view".to_owned(), json!(view));
    }
    Ok(Value::Object(body))
}

/// What the flags say of how a deployment is reached.
fn reach_body(matches: &ArgMatches) -> Result<Map<String, Value>, Failure> {
    let flag = |name: &str| matches.get_one::<String>(name).cloned();
    let file = |name: &str| -> Result<Option<String>, Failure> {
        let Some(path) = flag(name) else { return Ok(None) };
        let read = std::fs::read_to_string(&path);
        Ok(Some(read.map_err(|error| format!("{path} cannot be read: {error}"))?))
    };
    let mut body = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    put(
        "connectionString",
        flag("uri").or_else(|| std::env::var("TIDEMARK_URI").ok()).map(Value::from),
    );
    put("readFrom", flag("read-from").map(Value::from));
    put("readRateMegabytes", matches.get_one::<u32>("read-rate").copied().map(Value::from));
    let mut tls = Map::new();
    for (name, value) in [
        ("caCertificates", file("tls-ca-file")?),
        ("certificateKey", file("tls-certificate-key-file")?),
        ("certificateKeyPassword", flag("tls-certificate-key-file-password")),
    ] {
        if let Some(value) = value {
            tls.insert(name.to_owned(), value.into());
        }
    }
    put("tls", (!tls.is_empty()).then_some(Value::Object(tls)));
    Ok(body)
}

fn print_list(answer: &Value) {
    let rows: Vec<[&str; 4]> = items(answer, "results")
        .iter()
        .map(|found| ["name", "state", "view", "address"].map(|field| text(found, field)))
        .collect();
    if rows.is_empty() {
        println!(
            "no deployment is attached; attach one with `tidemark deployments attach NAME --uri URI`"
        );
        return;
    }
    let width = |column: usize, title: &str| {
        let widths = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.len());
        widths.max().unwrap_or(0).max(title.len())
    };
    let (name, state, view) = (width(0, "NAME"), width(1, "STATE"), width(2, "VIEW"));
    println!("{:name$}  {:state$}  {:view$}  ADDRESS", "NAME", "STATE", "VIEW");
    for [a, b, c, d] in rows {
        println!("{a:name$}  {b:state$}  {c:view$}  {d}");
    }
}

fn print_one(found: &Value) {
    println!(
        "{}  {}  since {}",
        text(found, "name"),
        text(found, "state"),
        text(found, "stateSince")
    );
    println!("  address   {}", text(found, "address"));
    if let Some(host) = found.get("placedOn").and_then(Value::as_str) {
        println!("  part of   {host}, databases {}*", text(found, "databasePrefix"));
    }
    for reason in items(found, "reasons") {
        println!("  limit     {}", reason.as_str().unwrap_or_default());
    }
    let Some(report) = found.get("report") else { return };
    let whole = |value: &Value, field: &str| value.get(field).and_then(Value::as_i64);
    println!(
        "  server    {} {}, {} {}",
        text(report, "product"),
        text(report, "version"),
        text(report, "topology").to_lowercase().replace('_', " "),
        text(report, "setName")
    );
    for finding in items(report, "findings") {
        let mark =
            if finding.get("holds").and_then(Value::as_bool) == Some(true) { "yes" } else { "no " };
        println!("  {mark}       {}: {}", text(finding, "name"), text(finding, "consequence"));
    }
    for special in items(report, "special") {
        println!(
            "  {:8}  {} of them: {}",
            text(special, "kind"),
            whole(special, "count").unwrap_or_default(),
            text(special, "consequence")
        );
    }
    for size in items(report, "databases") {
        let bytes =
            whole(size, "bytes").map_or("size unknown".to_owned(), |b| format!("{b} bytes"));
        println!("  database  {}  {bytes}", text(size, "name"));
    }
    if let Some(seconds) = whole(report, "oplogWindowSeconds") {
        println!("  oplog     reaches {seconds} s back");
    }
    if let Some(ahead) = whole(report, "clockAheadMilliseconds") {
        println!("  clock     {ahead} ms ahead of the server's");
    }
    let command = text(report, "createRole");
    if !command.is_empty() {
        println!("  grant the user this role:\n{command}");
    }
}
