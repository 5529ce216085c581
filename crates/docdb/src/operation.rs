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
    /// Why it may not go on; stays once it is known.
    over: Option<Over>,
}

#[derive(Debug, Clone, Copy)]
enum Over {
    Time,
    Client,
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
        *operation = Some(Operation { deadline, checks: 0, looked_at: now, over: None });
    });
}

/// Ends the command.
pub(crate) fn end() {
    OPERATION.with_borrow_mut(|operation| *operation = None);
}

/// Refuses to go on when the time is over or nobody waits for the answer.
pub(crate) fn check() -> Result<()> {
    looked(Operation::look_sometimes)
}

/// As `check`, and looks at the clock each time.
pub(crate) fn check_now() -> Result<()> {
    looked(Operation::look)
}

/// Whether `check` would refuse. Work that cannot fail asks this and ends with any answer; whoever
/// called it checks before the answer is used.
pub(crate) fn is_over() -> bool {
    over(Operation::look_sometimes).is_some()
}

/// As `is_over`, for work on so many bytes.
pub(crate) fn is_over_for(bytes: usize) -> bool {
    /// So many bytes are as much work as one check stands for.
    const BYTES_PER_CHECK: usize = 4_096;
    let checks = u32::try_from(bytes / BYTES_PER_CHECK).unwrap_or(u32::MAX);
    let look = |operation: &mut Operation| {
        operation.checks = operation.checks.saturating_add(checks);
        operation.look_sometimes()
    };
    over(look).is_some()
}

/// As `is_over`, and looks at the clock each time.
pub(crate) fn is_over_now() -> bool {
    over(Operation::look).is_some()
}

/// Refuses what was found out meanwhile, without looking again.
pub(crate) fn check_found() -> Result<()> {
    looked(|operation| operation.over)
}

fn over(look: impl FnOnce(&mut Operation) -> Option<Over>) -> Option<Over> {
    OPERATION.with_borrow_mut(|operation| operation.as_mut().and_then(look))
}

fn looked(look: impl FnOnce(&mut Operation) -> Option<Over>) -> Result<()> {
    match over(look) {
        None => Ok(()),
        Some(Over::Time) => {
            let text = "operation exceeded time limit";
            Err(CommandError::new(Code::MaxTimeMSExpired, text))
        }
        Some(Over::Client) => {
            let text = "the client closed its connection";
            Err(CommandError::new(Code::ClientDisconnect, text))
        }
    }
}

impl Operation {
    fn look_sometimes(&mut self) -> Option<Over> {
        self.checks = self.checks.saturating_add(1);
        if self.checks < CHECKS_PER_LOOK {
            return self.over;
        }
        self.look()
    }

    fn look(&mut self) -> Option<Over> {
        self.checks = 0;
        if self.over.is_some() {
            return self.over;
        }
        let now = Instant::now();
        if now >= self.deadline {
            self.over = Some(Over::Time);
        } else if now.duration_since(self.looked_at) >= CLIENT_INTERVAL {
            self.looked_at = now;
            if CLIENT.with_borrow(|client| client.as_ref().is_some_and(has_left)) {
                self.over = Some(Over::Client);
            }
        }
        self.over
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
        assert!(is_over() && check().is_err() && check_found().is_err());
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
