//! TLS on the connections of clients.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What a server shows to those who connect. It may be another certificate at the next connection.
pub trait ServerTls: Send + Sync {
    /// What is shown now.
    fn config(&self) -> Arc<ServerConfig>;
}

/// The connection of a client, with TLS or without.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, Timed>>),
}

/// A connection below TLS, which reads several times for what is read once above it: no more than until then.
pub(crate) struct Timed {
    stream: TcpStream,
    deadline: Option<Instant>,
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if let Some(deadline) = self.deadline {
            wait_until(&self.stream, deadline)?;
        }
        self.stream.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

fn wait_until(stream: &TcpStream, deadline: Instant) -> std::io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ErrorKind::TimedOut.into());
    }
    stream.set_read_timeout(Some(left))
}

impl Stream {
    /// Greets a client when it is read from first.
    pub(crate) fn new(stream: TcpStream, tls: Option<&dyn ServerTls>) -> std::io::Result<Self> {
        let Some(tls) = tls else { return Ok(Self::Plain(stream)) };
        let connection = ServerConnection::new(tls.config()).map_err(std::io::Error::other)?;
        let below = Timed { stream, deadline: None };
        Ok(Self::Tls(Box::new(StreamOwned::new(connection, below))))
    }

    /// The connection below.
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &stream.sock.stream,
        }
    }

    /// Reads no longer than until then.
    pub(crate) fn read_until(&mut self, deadline: Instant) -> std::io::Result<()> {
        match self {
            Self::Plain(stream) => wait_until(stream, deadline),
            Self::Tls(stream) => {
                stream.sock.deadline = Some(deadline);
                wait_until(&stream.sock.stream, deadline)
            }
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
