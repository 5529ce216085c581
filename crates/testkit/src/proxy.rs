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

/// A proxy on an address of its own.
pub struct Proxy {
    address: SocketAddr,
    /// Held while one command is judged.
    rule: Arc<Mutex<Rule>>,
}

impl Proxy {
    /// A proxy in front of `server` that lets everything pass.
    pub fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let pass: Rule = Box::new(|_, _| Verdict::Pass);
        let rule = Arc::new(Mutex::new(pass));
        let rules = Arc::clone(&rule);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let rule = Arc::clone(&rules);
                std::thread::spawn(move || {
                    if let Ok(server) = TcpStream::connect(server) {
                        // A connection that ends is what a proxy is for.
                        let _ = serve(client, server, &rule);
                    }
                });
            }
        });
        Self { address, rule }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on commands are judged so.
    pub fn set(&self, rule: impl FnMut(&str, &Document) -> Verdict + Send + 'static) {
        *self.rule.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(rule);
    }
}

/// Passes one command and its answer after another.
fn serve(mut client: TcpStream, mut server: TcpStream, rule: &Mutex<Rule>) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    loop {
        let (frame, message) = receive(&mut client)?;
        let verdict = match &message {
            Some(message) => {
                let command = Document::try_from(message.body()).map_err(io::Error::other)?;
                let database = command.get_str("$db").unwrap_or_default().to_owned();
                (rule.lock().unwrap_or_else(PoisonError::into_inner))(&database, &command)
            }
            // Drivers greet with an old message.
            None => Verdict::Pass,
        };
        match verdict {
            Verdict::CutBefore => return Ok(()),
            Verdict::Answer(answer) => {
                let id = frame.get(4..8).and_then(|id| id.try_into().ok());
                let id = i32::from_le_bytes(id.unwrap_or_default());
                client.write_all(&encode_msg(1, id, &encode_document(&answer), None))?;
            }
            Verdict::Pass | Verdict::CutAfter => {
                server.write_all(&frame)?;
                let (answer, _) = receive(&mut server)?;
                if verdict == Verdict::CutAfter {
                    return Ok(());
                }
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
