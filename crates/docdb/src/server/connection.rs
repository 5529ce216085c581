//! One connection: read a message, run its command, answer.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidemark_wire::{HEADER_BYTES, OpMsg, encode_msg, encode_reply, parse_header, parse_request};

use super::Shared;
use crate::auth::{Login, Resource};
use crate::commands;
use crate::error::{Code, CommandError, Result};
use crate::request::Request;

/// What a command needs to run.
pub(crate) struct Context<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) login: &'a mut Login,
    pub(crate) connection: u64,
}

pub(super) fn serve(mut stream: TcpStream, shared: &Arc<Shared>, connection: u64) {
    let _ = stream.set_nodelay(true);
    let mut login = Login::default();
    let mut answers = 0i32;
    while !shared.stopping.load(Ordering::SeqCst) {
        let (request, header) = match read(&mut stream) {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, connection, "a connection to an instance ended");
                return;
            }
        };
        answers = answers.wrapping_add(1);
        let mut context = Context { shared, login: &mut login, connection };
        let reply = match &request {
            tidemark_wire::Request::Query(message) => {
                Some(encode_reply(answers, header.request_id, &answer(&mut context, message, true)))
            }
            tidemark_wire::Request::Msg(message) => {
                let document = answer(&mut context, message, false);
                let is_expected = !message.flags().more_to_come();
                is_expected.then(|| encode_msg(answers, header.request_id, &document, None))
            }
        };
        if let Some(reply) = reply
            && stream.write_all(&reply).is_err()
        {
            return;
        }
    }
}

type ReadOutcome = std::result::Result<
    Option<(tidemark_wire::Request, tidemark_wire::Header)>,
    Box<dyn std::error::Error>,
>;

fn read(stream: &mut TcpStream) -> ReadOutcome {
    let mut head = [0; HEADER_BYTES];
    match stream.read_exact(&mut head) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let header = parse_header(head)?;
    let mut body = Vec::with_capacity(header.body_bytes.min(64 * 1024));
    stream.take(header.body_bytes as u64).read_to_end(&mut body)?;
    if body.len() < header.body_bytes {
        return Ok(None);
    }
    Ok(Some((parse_request(header, body)?, header)))
}

/// The bytes of the answer, an error's included.
fn answer(context: &mut Context<'_>, message: &OpMsg, is_query: bool) -> Vec<u8> {
    let outcome = run(context, message, is_query);
    let now = context.shared.engine.view().at;
    let encoded = match outcome {
        Ok(reply) => reply.encode(now),
        Err(error) => Err(error),
    };
    encoded.unwrap_or_else(|error| {
        let reply = commands::Reply::Document(error.reply());
        reply.encode(now).unwrap_or_else(|_| vec![5, 0, 0, 0, 0])
    })
}

fn run(context: &mut Context<'_>, message: &OpMsg, is_query: bool) -> Result<commands::Reply> {
    let request = Request::parse(message)?;
    let command = commands::find(request.name).ok_or_else(|| {
        CommandError::new(Code::CommandNotFound, format!("no such command: '{}'", request.name))
    })?;
    if is_query && !command.is_handshake() {
        let text = format!(
            "Unsupported OP_QUERY command: {}. The client driver may require an upgrade.",
            request.name
        );
        return Err(CommandError::new(Code::UnsupportedOpQueryCommand, text));
    }
    let resource = Resource { database: request.database, collection: request.text(request.name) };
    context.login.check(request.name, command.privilege, resource)?;
    (command.run)(context, &request)
}
