//! The limits of the command that a thread runs: its time, and whether its client is still there.
//!
//! A connection has a thread and runs one command at a time, so what bounds the command belongs to
//! the thread; `check` is called wherever work repeats, and costs a counter most of the time.

use std::cell::RefCell;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::error::{Code, CommandError, Result};

/// So many checks pass between two looks at the clock.
const CHECKS_PER_LOOK: u32 = 256;
/// How often it is looked whether the client is still there.
const CLIENT_INTERVAL: Duration = Duration::from_millis(250);
/// What a command may take that says nothing of time.
const DEFAULT_LIMIT: Duration = Duration::from_hours(1);

struct Operation {
    deadline: Instant,
    checks: u32,
    looked_at: Instant,
}

thread_local! {
    static OPERATION: RefCell<Option<Operation>> = const { RefCell::new(None) };
    static CLIENT: RefCell<Option<TcpStream>> = const { RefCell::new(None) };
}

/// Watches the client of the connection that this thread serves.
pub(crate) fn watch(client: &TcpStream) {
    CLIENT.with_borrow_mut(|watched| *watched = client.try_clone().ok());
}

/// Begins a command with a time limit.
pub(crate) fn begin(limit: Option<Duration>) {
    let now = Instant::now();
    let deadline = now + limit.unwrap_or(DEFAULT_LIMIT);
    OPERATION.with_borrow_mut(|operation| {
        *operation = Some(Operation { deadline, checks: 0, looked_at: now });
    });
}

/// Ends the command.
pub(crate) fn end() {
    OPERATION.with_borrow_mut(|operation| *operation = None);
}

/// Refuses to go on when the time is over or nobody waits for the answer.
pub(crate) fn check() -> Result<()> {
    OPERATION.with_borrow_mut(|operation| match operation {
        Some(operation) => operation.check(),
        None => Ok(()),
    })
}

/// As `check`, and looks at the clock each time.
pub(crate) fn check_now() -> Result<()> {
    OPERATION.with_borrow_mut(|operation| match operation {
        Some(operation) => {
            operation.checks = CHECKS_PER_LOOK;
            operation.check()
        }
        None => Ok(()),
    })
}

impl Operation {
    fn check(&mut self) -> Result<()> {
        self.checks += 1;
        if self.checks < CHECKS_PER_LOOK {
            return Ok(());
        }
        self.checks = 0;
        let now = Instant::now();
        if now >= self.deadline {
            // Whoever asks again is told again.
            self.checks = CHECKS_PER_LOOK;
            let text = "operation exceeded time limit";
            return Err(CommandError::new(Code::MaxTimeMSExpired, text));
        }
        if now.duration_since(self.looked_at) < CLIENT_INTERVAL {
            return Ok(());
        }
        self.looked_at = now;
        if CLIENT.with_borrow(|client| client.as_ref().is_some_and(has_left)) {
            let text = "the client closed its connection";
            return Err(CommandError::new(Code::ClientDisconnect, text));
        }
        Ok(())
    }
}

/// Whether the other side has closed the connection. Anything that it sent meanwhile stays there.
fn has_left(client: &TcpStream) -> bool {
    if client.set_nonblocking(true).is_err() {
        return true;
    }
    let peeked = client.peek(&mut [0]);
    let restored = client.set_nonblocking(false);
    match peeked {
        Ok(0) => true,
        Ok(_) => restored.is_err(),
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock || restored.is_err(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_ends_when_its_time_is_over() {
        begin(Some(Duration::ZERO));
        let outcomes: Vec<_> = (0..CHECKS_PER_LOOK).map(|_| check()).collect();
        assert_eq!(outcomes.last().unwrap().as_ref().unwrap_err().code, Code::MaxTimeMSExpired);
        end();
        assert!(check().is_ok());
    }

    #[test]
    fn a_command_ends_when_its_client_has_left() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        assert!(!has_left(&server));
        drop(client);
        let gone = std::iter::repeat_with(|| has_left(&server)).take(10_000).any(|gone| gone);
        assert!(gone);
    }
}
