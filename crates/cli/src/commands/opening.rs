//! `tidemark snapshots open`: a backup as a database that can only be read.

use std::io::{self, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use clap::{ArgMatches, Command};
use serde_json::{Value, json};

use super::points::{point_of_flags, with_point};
use crate::answers::{Opened, Progress};
use crate::client::{Method, percent_encode};
use crate::command::{namespaces, text};
use crate::error::{CliError, Exit};
use crate::progress::Watch;
use crate::session::Session;
use crate::table::count;
use crate::when::local;

const DEFAULT_MINUTES: &str = "60";

pub(crate) fn command() -> Command {
    let about = "Serve a snapshot or a moment as a database that can only be read, until this ends";
    with_point(Command::new("open").about(about))
        .arg(namespaces())
        .arg(
            text("minutes", "COUNT", "So long at most")
                .default_value(DEFAULT_MINUTES)
                .value_parser(clap::value_parser!(u64).range(1..=1_440)),
        )
        .arg(text(
            "listen",
            "HOST:PORT",
            "Listen here, and lead to the server [the server's own address]",
        ))
}

pub(crate) fn run(matches: &ArgMatches) -> Result<(), CliError> {
    let listen = crate::command::given(matches, "listen");
    // An address that is taken is known before anything is opened.
    let mut listener = listen.map(listen_on).transpose()?;
    let session = Session::new(matches)?;
    let mut body = point_of_flags(&session)?;
    let wanted: Vec<&String> =
        matches.get_many::<String>("namespace").into_iter().flatten().collect();
    body.insert("namespaces".to_owned(), json!(wanted));
    body.insert("minutes".to_owned(), matches.get_one::<u64>("minutes").copied().into());
    let path = format!("/instances/{}/openings", percent_encode(session.required("instance")));
    let mut watch = Watch::new(session.output);
    let mut is_closed = false;
    session.stream(Method::Post, &path, &Value::Object(body), |line| {
        if let Some(progress) = line.get("progress") {
            watch.note(&serde_json::from_value::<Progress>(progress.clone())?);
        }
        if let Some(opened) = line.get("opened") {
            watch.end();
            let mut opened: Opened = serde_json::from_value(opened.clone())?;
            if let Some(listener) = listener.take() {
                lead_there(listener, &mut opened)?;
            }
            show(&session, &opened)?;
        }
        is_closed |= line.get("summary").is_some();
        Ok(())
    })?;
    if !is_closed {
        return Err(CliError::new(Exit::Unreachable, "the server went away").hint("open it again"));
    }
    session.output.say("closed: the time is over");
    Ok(())
}

fn show(session: &Session<'_>, opened: &Opened) -> Result<(), CliError> {
    for left in &opened.left_out {
        let what = format!("not there: {} {}: {}", left.kind, left.namespace, left.reason);
        session.output.say(&what);
    }
    session.output.data(opened, |opened| format!("{}\n", opened.connection_string))?;
    io::stdout().flush().map_err(|error| CliError::failed(format!("standard output: {error}")))?;
    let until = local(&opened.closes_at, &session.now);
    session.output.say(&format!("open until {until}; end it with Ctrl-C"));
    if !opened.left_out.is_empty() {
        let left = count(opened.left_out.len() as u64);
        session.output.say(&format!("{left} things of the backup are not there, see above"));
    }
    Ok(())
}

fn listen_on(address: &str) -> Result<TcpListener, CliError> {
    TcpListener::bind(address).map_err(|error| {
        CliError::usage(format!("nothing can listen on {address}: {error}"))
            .hint("say another as --listen 127.0.0.1:27099; with port 0 a free one is taken")
    })
}

/// Leads whoever comes to the listener on to what was opened.
fn lead_there(listener: TcpListener, opened: &mut Opened) -> Result<(), CliError> {
    let here = listener.local_addr();
    let here = here.map_err(|error| CliError::failed(format!("the listener: {error}")))?;
    let (head, tail) = opened.connection_string.split_once('@').unwrap_or_default();
    let (there, options) = tail.split_once('/').unwrap_or_default();
    let (head, there, options) = (head.to_owned(), there.to_owned(), options.to_owned());
    opened.connection_string = format!("{head}@{here}/{options}");
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let there = there.clone();
            thread::spawn(move || lead_on(client, &there));
        }
    });
    Ok(())
}

/// Copies both ways until both are over.
fn lead_on(client: TcpStream, there: &str) {
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        // Whoever ends ends the other, too.
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    };
    let Ok(server) = TcpStream::connect(there) else { return };
    let (Ok(from_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let other = thread::spawn(move || copy(from_client, to_server));
    copy(server, client);
    let _ = other.join();
}
