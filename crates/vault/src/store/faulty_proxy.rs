//! A proxy before an S3 server that lets requests go wrong. For tests only.
//!
//! It reads a whole request, decides, and passes it on in a connection of its own. The signature of
//! a request covers the name of the host it was meant for, which servers take from its header.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is not passed on, and answered with this status.
    Status(u16),
    /// It is not passed on and not answered for a long time.
    NoAnswer,
    /// It is done, and its answer is lost.
    LostAnswer,
    /// It is done, and half of its answer arrives.
    HalfAnswer,
    /// It takes a while.
    Slow,
    /// The connection ends before anything is read.
    Refused,
}

#[derive(Default)]
struct Plan {
    fault: Option<Fault>,
    /// How many requests still go wrong.
    left: usize,
    /// Whether every second request goes wrong instead.
    alternates: bool,
    seen: usize,
    reached: usize,
    what: String,
}

impl Plan {
    fn next(&mut self) -> Option<Fault> {
        self.seen += 1;
        let is_now = if self.alternates { self.seen % 2 == 1 } else { self.left > 0 };
        if !is_now {
            return None;
        }
        self.left = self.left.saturating_sub(1);
        self.reached += 1;
        self.fault
    }
}

pub(super) struct FaultyProxy {
    address: SocketAddr,
    plan: Arc<Mutex<Plan>>,
}

impl FaultyProxy {
    pub(super) fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self { address: listener.local_addr().unwrap(), plan: Arc::default() };
        let plan = Arc::clone(&proxy.plan);
        // It ends with the process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let plan = Arc::clone(&plan);
                std::thread::spawn(move || serve(client, server, &plan));
            }
        });
        proxy
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next so many requests go wrong.
    pub(super) fn fail_next(&self, count: usize, fault: Fault, what: &str) {
        self.check_reached();
        let plan =
            Plan { fault: Some(fault), left: count, what: what.to_owned(), ..Plan::default() };
        *self.plan.lock().unwrap() = plan;
    }

    /// From now on every second request goes wrong.
    pub(super) fn fail_every_second(&self, fault: Fault) {
        let what = format!("every second, {fault:?}");
        let plan = Plan { fault: Some(fault), alternates: true, what, ..Plan::default() };
        *self.plan.lock().unwrap() = plan;
    }

    /// That something went wrong as it was planned.
    pub(super) fn check_reached(&self) {
        let plan = self.plan.lock().unwrap();
        assert!(plan.left == 0 || plan.reached > 0, "{} was not reached", plan.what);
    }
}

/// Reads a head and a body of the length that the head says; what was read, and where the head ends.
fn read_message(stream: &mut TcpStream) -> Option<(Vec<u8>, usize)> {
    let (mut bytes, mut piece) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        let read = stream.read(&mut piece).ok()?;
        bytes.extend_from_slice(&piece[..read]);
        let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
        if let Some(head) = head {
            let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
            while bytes.len() < head + length {
                match stream.read(&mut piece).ok()? {
                    0 => return None,
                    read => bytes.extend_from_slice(&piece[..read]),
                }
            }
            return Some((bytes, head));
        }
        if read == 0 {
            return None;
        }
    }
}

/// Passes a request on and reads everything that is answered.
fn pass_on(request: &[u8], head: usize, server: SocketAddr) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(server).ok()?;
    let (head, body) = request.split_at(head - 2);
    let mut writing = stream.try_clone().ok()?;
    // It may refuse a request before it has read all of it; its answer counts.
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let parts = [head, b"connection: close\r\n", body];
            parts.into_iter().try_for_each(|part| writing.write_all(part))
        });
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        (read.is_ok() || !answer.is_empty()).then_some(answer)
    })
}

fn serve(mut client: TcpStream, server: SocketAddr, plan: &Mutex<Plan>) {
    let Some((request, head)) = read_message(&mut client) else { return };
    let fault = plan.lock().unwrap().next();
    let mut answer = Vec::new();
    match fault {
        Some(Fault::Refused) => return,
        Some(Fault::NoAnswer) => std::thread::sleep(Duration::from_secs(5)),
        Some(Fault::Status(status)) => {
            answer = format!(
                "HTTP/1.1 {status} Fault\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
            .into();
        }
        Some(Fault::Slow) => {
            std::thread::sleep(Duration::from_millis(300));
            answer = pass_on(&request, head, server).unwrap_or_default();
        }
        Some(Fault::LostAnswer) => drop(pass_on(&request, head, server)),
        Some(Fault::HalfAnswer) => {
            answer = pass_on(&request, head, server).unwrap_or_default();
            answer.truncate(answer.len() / 2);
        }
        None => answer = pass_on(&request, head, server).unwrap_or_default(),
    }
    let _ = client.write_all(&answer);
    let _ = client.shutdown(Shutdown::Both);
}
