//! One connection: read a message, run its command, answer.
//!
//! A client that has not logged in may send small messages only. Whoever is silent for long, or
//! stops in the middle of a message or of reading an answer, is disconnected.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tidemark_wire::{
    HEADER_BYTES, MSG_HEAD_BYTES, OpMsg, complete_msg, encode_reply, parse_header, parse_request,
};

use crate::auth::{Login, Resource};
use crate::budget::Share;
use crate::commands;
use crate::context::{Context, Shared, is_admitted};
use crate::error::{Code, CommandError, Result};
use crate::operation;
use crate::request::Request;
use crate::tls::Stream;

/// Drivers that watch a server never log in, but say hello every ten seconds.
const UNKNOWN_IDLE: Duration = Duration::from_mins(2);
const KNOWN_IDLE: Duration = Duration::from_hours(2);
/// A message that was begun must be complete after this time.
const MESSAGE_TIME: Duration = Duration::from_mins(1);
/// An answer must be taken within this time.
const ANSWER_TIME: Duration = Duration::from_mins(2);
/// What may be sent before logging in.
const UNKNOWN_MESSAGE_BYTES: usize = 64 * 1024;

pub(super) fn serve(stream: TcpStream, shared: &Arc<Shared>, connection: u64) {
    let _ = stream.set_nodelay(true);
    let _ = stream.set_write_timeout(Some(ANSWER_TIME));
    operation::watch(&stream);
    let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let address = stream.peer_addr().map_or(unknown, |peer| peer.ip().to_canonical());
    let mut stream = match Stream::new(stream, shared.tls.as_deref()) {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%error, "a client could not be offered TLS"),
    };
    let mut login = Login::default();
    let mut answers = 0i32;
    while !shared.stopping.load(Ordering::SeqCst) {
        let is_known = login.user_name().is_some();
        // Its bytes are counted until the command is over.
        let (request, header, _share) = match read(&mut stream, is_known, shared) {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, connection, "a connection to an instance ended");
                return;
            }
        };
        if login.renew(shared.users.as_ref()) && !is_admitted(stream.tcp(), shared) {
            tracing::debug!(connection, "the address of a connection is not admitted any more");
            return;
        }
        answers = answers.wrapping_add(1);
        let mut context = Context { shared, login: &mut login, connection, address };
        let reply = match &request {
            tidemark_wire::Request::Query(message) => {
                let document = answer(&mut context, message, true);
                let document = document.get(MSG_HEAD_BYTES..).unwrap_or_default();
                Some(encode_reply(answers, header.request_id, document))
            }
            tidemark_wire::Request::Msg(message) => {
                let document = answer(&mut context, message, false);
                let is_expected = !message.flags().more_to_come();
                is_expected.then(|| complete_msg(document, answers, header.request_id))
            }
        };
        if let Some(reply) = reply
            && stream.write_all(&reply).and_then(|()| stream.flush()).is_err()
        {
            return;
        }
    }
}

type ReadOutcome<'s> = std::result::Result<
    Option<(tidemark_wire::Request, tidemark_wire::Header, Share<'s>)>,
    Box<dyn std::error::Error>,
>;

fn read<'s>(stream: &mut Stream, is_known: bool, shared: &'s Shared) -> ReadOutcome<'s> {
    let mut head = [0; HEADER_BYTES];
    let idle = if is_known { KNOWN_IDLE } else { UNKNOWN_IDLE };
    stream.read_until(Instant::now() + idle)?;
    let (first, rest) = head.split_at_mut(1);
    match stream.read_exact(first) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let deadline = Instant::now() + MESSAGE_TIME;
    read_until(stream, rest, deadline)?;
    let header = parse_header(head)?;
    if !is_known && header.body_bytes > UNKNOWN_MESSAGE_BYTES {
        return Err(format!("{} bytes before logging in", header.body_bytes).into());
    }
    let share = shared.messages.take(header.body_bytes);
    let mut body = vec![0; header.body_bytes];
    read_until(stream, &mut body, Instant::now() + MESSAGE_TIME)?;
    Ok(Some((parse_request(header, body)?, header, share)))
}

/// Reads all of `bytes` before the deadline.
fn read_until(stream: &mut Stream, bytes: &mut [u8], deadline: Instant) -> std::io::Result<()> {
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        stream.read_until(deadline)?;
        match stream.read(rest) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The answer behind `MSG_HEAD_BYTES` free bytes, an error's included.
fn answer(context: &mut Context<'_>, message: &OpMsg, is_query: bool) -> Vec<u8> {
    let outcome = run(context, message, is_query);
    operation::end();
    let now = context.shared.engine.durable();
    let encoded = match outcome {
        Ok(reply) => reply.encode(now),
        Err(error) => Err(error),
    };
    let encoded = encoded.unwrap_or_else(|error| {
        let reply = commands::Reply::Document(error.reply());
        reply.encode(now).unwrap_or_else(|_| [&[0; MSG_HEAD_BYTES][..], &[5, 0, 0, 0, 0]].concat())
    });
    let name = message.body().into_iter().next().and_then(std::result::Result::ok);
    let name = name.map_or("", |(name, _)| name.as_str());
    context.shared.operations.note(name, message.body().as_bytes().len(), encoded.len());
    encoded
}

fn run(context: &mut Context<'_>, message: &OpMsg, is_query: bool) -> Result<commands::Reply> {
    // Before anything recurses into it.
    crate::depth::check_message(message.body())?;
    let request = Request::parse(message)?;
    let command = commands::find(request.name).ok_or_else(|| {
        CommandError::new(
            Code::CommandNotFound,
            format!(
                "no such command: '{}'; it is not offered by the embedded engine",
                request.name
            ),
        )
    })?;
    context.shared.withheld.check(&request)?;
    if is_query && !command.is_handshake() {
        let text = format!(
            "Unsupported OP_QUERY command: {}. The client driver may require an upgrade.",
            request.name
        );
        return Err(CommandError::new(Code::UnsupportedOpQueryCommand, text));
    }
    let named;
    let collection = match request.field(request.name) {
        // A UUID stands for a name, and rights are on names.
        Some(bson::RawBsonRef::Binary(_)) if context.login.user_name().is_some() => {
            named = commands::resolve(context, &request)?;
            Some(named.collection.as_str())
        }
        _ => request.text(request.name),
    };
    let resource = Resource { database: request.database, collection };
    context.login.check(request.name, command.privilege, resource)?;
    crate::fields::check_generic(request.name, request.body)?;
    // `maxTimeMS` of a getMore on a waiting cursor says how long to wait, not how long to work.
    let limit = request.time_limit()?.filter(|_| request.name != "getMore");
    operation::begin(limit);
    let reply = (command.run)(context, &request)?;
    Ok(match crate::fields::unfulfilled(request.body) {
        Some(error) if command.privilege.writes() => reply.with_write_concern_error(&error),
        _ => reply,
    })
}
