//! Back-off for wrong passwords, by address and by name.
//!
//! The first few failures are free. After that each attempt for the same address or name waits for
//! its turn, and turns are further apart with every failure; who would have to wait too long is
//! refused at once. A user who logs in is forgotten, and so is everybody after a quiet while.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures that cost nothing.
const FREE: u32 = 5;
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// Nobody is kept waiting longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// After so long without a failure everything is forgotten.
const MEMORY: Duration = Duration::from_mins(10);
/// More are not remembered; the oldest go.
const MOST_ENTRIES: usize = 20_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    Address(IpAddr),
    Name(String),
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    next_turn: Instant,
    last: Instant,
}

/// The failures of an instance's logins.
#[derive(Default)]
pub(crate) struct Throttle(Mutex<HashMap<Who, Failures>>);

impl Throttle {
    /// How long an attempt has to wait from `now`; `None` to refuse it.
    pub(crate) fn turn(&self, address: IpAddr, name: &str, now: Instant) -> Option<Duration> {
        let mut entries = self.lock();
        let mut wait = Duration::ZERO;
        for who in [Who::Address(address), Who::Name(name.to_owned())] {
            let Some(failures) = entries.get_mut(&who).filter(|f| f.count > FREE) else { continue };
            let mine = failures.next_turn.max(now);
            if mine - now > LONGEST_WAIT {
                return None;
            }
            failures.next_turn = mine + delay(failures.count);
            wait = wait.max(mine - now);
        }
        Some(wait)
    }

    /// Notes a wrong password.
    pub(crate) fn note_failure(&self, address: IpAddr, name: &str, now: Instant) {
        let mut entries = self.lock();
        if entries.len() >= MOST_ENTRIES {
            entries.retain(|_, failures| now.duration_since(failures.last) < MEMORY);
        }
        if entries.len() >= MOST_ENTRIES {
            let oldest = entries.iter().min_by_key(|(_, f)| f.last).map(|(who, _)| who.clone());
            oldest.and_then(|oldest| entries.remove(&oldest));
        }
        for who in [Who::Address(address), Who::Name(name.to_owned())] {
            let entry =
                entries.entry(who).or_insert(Failures { count: 0, next_turn: now, last: now });
            if now.duration_since(entry.last) >= MEMORY {
                entry.count = 0;
            }
            entry.count += 1;
            entry.last = now;
            if entry.count > FREE {
                entry.next_turn = entry.next_turn.max(now + delay(entry.count));
            }
        }
    }

    /// Forgets the failures of somebody who knows the password.
    pub(crate) fn note_success(&self, address: IpAddr, name: &str) {
        let mut entries = self.lock();
        entries.remove(&Who::Address(address));
        entries.remove(&Who::Name(name.to_owned()));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Who, Failures>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn delay(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(FREE + 1).min(6);
    (FIRST_DELAY * 2u32.pow(doublings)).min(LONGEST_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_slows_down_and_the_right_password_ends_that() {
        let throttle = Throttle::default();
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let mut now = Instant::now();
        let began = now;
        let mut attempts = 0;
        while now < began + Duration::from_mins(1) {
            match throttle.turn(address, "ada", now) {
                Some(wait) => now += wait,
                None => now += Duration::from_millis(1),
            }
            throttle.note_failure(address, "ada", now);
            attempts += 1;
        }
        assert!(attempts < 30, "{attempts} attempts in a minute");
        let elsewhere: IpAddr = "192.0.2.2".parse().unwrap();
        assert!(throttle.turn(elsewhere, "ada", now).is_none_or(|wait| !wait.is_zero()));
        assert_eq!(throttle.turn(elsewhere, "bob", now), Some(Duration::ZERO));
        throttle.note_success(address, "ada");
        assert_eq!(throttle.turn(address, "ada", now), Some(Duration::ZERO));
    }
}
