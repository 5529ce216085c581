//! A proxy in front of a database, which does to connections what networks and elections do.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use bson::Document;
use tidemark_wire::{HEADER_BYTES, OpMsg, encode_document, encode_msg, parse_header, parse_msg};

/// What becomes of a command that passes.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It reaches the server, and the answer the client.
    Pass,
    /// The connection ends before the server sees it.
    CutBefore,
    /// The server does it, and the connection ends before the client hears of it.
    CutAfter,
    /// The client gets this answer, and the server nothing.
    Answer(Document),
}

/// Decides by database and command.
pub type Rule = Box<dyn FnMut(&str, &Document) -> Verdict + Send>;
/// Changes what a server says of itself.
pub type Greeting = Box<dyn FnMut(&mut Document) + Send>;

/// Changes what a server is sent and what it answers: the command, with the database in `$db`.
pub trait Translator: Send {
    /// Changes a command before the server sees it.
    fn command(&mut self, command: &mut Document);
    /// Changes the answer to a command, as the client sent it.
    fn answer(&mut self, command: &Document, answer: &mut Document);
}

/// A proxy on an address of its own.
pub struct Proxy {
    address: SocketAddr,
    rules: Arc<Rules>,
}

struct Rules {
    /// Held while one command is judged.
    rule: Mutex<Rule>,
    /// Held while one answer is changed.
    greeting: Mutex<Greeting>,
    /// Held while one command or answer is changed.
    translator: Mutex<Option<Box<dyn Translator>>>,
}

impl Rules {
    fn judge(&self, database: &str, command: &Document) -> Verdict {
        (self.rule.lock().unwrap_or_else(PoisonError::into_inner))(database, command)
    }

    /// A command as the server shall see it.
    fn translate(&self, frame: Vec<u8>, message: &OpMsg, command: &Document) -> Vec<u8> {
        let mut translator = self.translator.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(translator) = translator.as_mut() else { return frame };
        let mut changed = command.clone();
        translator.command(&mut changed);
        let name = message.sequence_names().next();
        let run = name.and_then(|name| Some((name, message.sequence(name)?)));
        encode_msg(id_of(&frame), 0, &encode_document(&changed), run)
    }

    /// The answer to a command as the client shall see it.
    fn translate_back(
        &self,
        (frame, message): (Vec<u8>, Option<OpMsg>),
        command: &Document,
    ) -> Vec<u8> {
        let mut translator = self.translator.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(translator), Some(message)) = (translator.as_mut(), message) else {
            return frame;
        };
        let Ok(mut answer) = Document::try_from(message.body()) else { return frame };
        translator.answer(command, &mut answer);
        let to = frame.get(8..12).and_then(|id| id.try_into().ok()).unwrap_or_default();
        encode_msg(id_of(&frame), i32::from_le_bytes(to), &encode_document(&answer), None)
    }

    /// The answer to a greeting, as clients shall see it.
    fn greet(&self, answer: Vec<u8>) -> io::Result<Vec<u8>> {
        // A message of today begins its document after flags and a kind, an old one after a cursor.
        let is_old = answer.get(12..16) == Some([1, 0, 0, 0].as_slice());
        let at = HEADER_BYTES + if is_old { 20 } else { 5 };
        let body = answer.get(at..).unwrap_or_default();
        let mut said = Document::from_reader(body).map_err(io::Error::other)?;
        (self.greeting.lock().unwrap_or_else(PoisonError::into_inner))(&mut said);
        let mut changed = answer.get(..at).unwrap_or_default().to_vec();
        changed.extend(encode_document(&said));
        let length = u32::try_from(changed.len()).map_err(io::Error::other)?.to_le_bytes();
        changed.splice(..4, length);
        Ok(changed)
    }
}

impl Proxy {
    /// A proxy in front of `server` that lets everything pass.
    pub fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let rules = Arc::new(Rules {
            rule: Mutex::new(Box::new(|_, _| Verdict::Pass)),
            greeting: Mutex::new(Box::new(|_| {})),
            translator: Mutex::new(None),
        });
        let for_connections = Arc::clone(&rules);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let rules = Arc::clone(&for_connections);
                std::thread::spawn(move || {
                    if let Ok(server) = TcpStream::connect(server) {
                        // A connection that ends is what a proxy is for.
                        let _ = serve(client, server, &rules);
                    }
                });
            }
        });
        Self { address, rules }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on commands are judged so.
    pub fn set(&self, rule: impl FnMut(&str, &Document) -> Verdict + Send + 'static) {
        *self.rules.rule.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(rule);
    }

    /// From now on what the server says of itself is changed so.
    pub fn greet(&self, greeting: impl FnMut(&mut Document) + Send + 'static) {
        *self.rules.greeting.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(greeting);
    }
}

impl Proxy {
    /// From now on commands and answers are changed so.
    pub fn translate(&self, translator: impl Translator + 'static) {
        let translator: Box<dyn Translator> = Box::new(translator);
        *self.rules.translator.lock().unwrap_or_else(PoisonError::into_inner) = Some(translator);
    }
}

/// The number of a message.
fn id_of(frame: &[u8]) -> i32 {
    i32::from_le_bytes(frame.get(4..8).and_then(|id| id.try_into().ok()).unwrap_or_default())
}

/// Passes one command and its answer after another.
fn serve(mut client: TcpStream, mut server: TcpStream, rules: &Rules) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    loop {
        let (frame, message) = receive(&mut client)?;
        let mut command = Document::new();
        let (verdict, is_greeting) = match &message {
            Some(message) => {
                command = Document::try_from(message.body()).map_err(io::Error::other)?;
                let database = command.get_str("$db").unwrap_or_default().to_owned();
                let name = command.keys().next().map_or("", String::as_str);
                let is_greeting = ["hello", "ismaster"].contains(&name.to_lowercase().as_str());
                (rules.judge(&database, &command), is_greeting)
            }
            // Drivers greet with an old message.
            None => (Verdict::Pass, true),
        };
        match verdict {
            Verdict::CutBefore => return Ok(()),
            Verdict::Answer(answer) => {
                let answer = encode_document(&answer);
                client.write_all(&encode_msg(1, id_of(&frame), &answer, None))?;
            }
            Verdict::Pass | Verdict::CutAfter => {
                let frame = match &message {
                    Some(message) => rules.translate(frame, message, &command),
                    None => frame,
                };
                server.write_all(&frame)?;
                let answer = receive(&mut server)?;
                if verdict == Verdict::CutAfter {
                    return Ok(());
                }
                let answer = if is_greeting {
                    rules.greet(answer.0)?
                } else {
                    rules.translate_back(answer, &command)
                };
                client.write_all(&answer)?;
            }
        }
    }
}

/// The next message as it is, and what it says if it is one of today's.
fn receive(stream: &mut TcpStream) -> io::Result<(Vec<u8>, Option<OpMsg>)> {
    let mut head = [0; HEADER_BYTES];
    stream.read_exact(&mut head)?;
    let header = parse_header(head).map_err(io::Error::other)?;
    let mut body = vec![0; header.body_bytes];
    stream.read_exact(&mut body)?;
    let frame = [head.as_slice(), &body].concat();
    Ok((frame, parse_msg(header, body).ok()))
}
