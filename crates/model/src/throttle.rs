//! Back-off for wrong passwords, by address and by name.
//!
//! The first few failures are free. After that each attempt for the same address or name waits for
//! its turn, and turns are further apart with every failure; who would have to wait too long is
//! refused at once. A user who logs in is forgotten, and so is everybody after a quiet while.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
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
/// So long a login is remembered.
const TRUST: Duration = Duration::from_hours(24);
/// More are not remembered; the oldest go.
const MOST_ENTRIES: usize = 20_000;

/// Whose failures are counted. Of a name only a hash is kept: names come from strangers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Who {
    Address(IpAddr),
    Name(u64),
    /// Somebody who is known at an address; others do not keep them out.
    Known(IpAddr, u64),
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    next_turn: Instant,
    last: Instant,
}

/// The failed logins of one service. Its lock is held for one count.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: HashMap<Who, Failures>,
    /// Who logged in from where, and when: guesses from elsewhere do not keep them out.
    trusted: HashMap<(IpAddr, u64), Instant>,
    hasher: RandomState,
}

impl Throttle {
    /// How long an attempt has to wait from `now`; `None` to refuse it.
    ///
    /// It is refused for what came from its address, and never for what others do with its name.
    pub fn turn(&self, address: IpAddr, name: &str, now: Instant) -> Option<Duration> {
        let mut state = self.lock();
        let mut wait = Duration::ZERO;
        for who in state.counted(address, name, now) {
            let found = state.failures.get_mut(&who).filter(|f| f.count > FREE);
            let Some(failures) = found else { continue };
            let mine = failures.next_turn.max(now);
            if mine - now > LONGEST_WAIT {
                if matches!(who, Who::Name(_)) {
                    wait = LONGEST_WAIT;
                    continue;
                }
                return None;
            }
            failures.next_turn = mine + delay(failures.count);
            wait = wait.max(mine - now);
        }
        Some(wait)
    }

    /// Notes a wrong password.
    pub fn note_failure(&self, address: IpAddr, name: &str, now: Instant) {
        let mut state = self.lock();
        let counted = state.counted(address, name, now);
        let entries = &mut state.failures;
        if entries.len() + counted.len() > MOST_ENTRIES {
            entries.retain(|_, failures| now.duration_since(failures.last) < MEMORY);
        }
        if entries.len() + counted.len() > MOST_ENTRIES {
            // Seldom: half of them go, so that it does not happen again soon.
            let mut ages: Vec<Instant> = entries.values().map(|failures| failures.last).collect();
            ages.sort_unstable();
            let middle = ages.get(ages.len() / 2).copied().unwrap_or(now);
            entries.retain(|_, failures| failures.last > middle);
        }
        for who in counted {
            let fresh = Failures { count: 0, next_turn: now, last: now };
            let entry = entries.entry(who).or_insert(fresh);
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
    pub fn note_success(&self, address: IpAddr, name: &str, now: Instant) {
        let mut state = self.lock();
        let name = state.hash(name);
        let address = network(address);
        for who in [Who::Address(address), Who::Name(name), Who::Known(address, name)] {
            state.failures.remove(&who);
        }
        if state.trusted.len() >= MOST_ENTRIES {
            state.trusted.retain(|_, last| now.duration_since(*last) < TRUST);
        }
        if state.trusted.len() < MOST_ENTRIES {
            state.trusted.insert((address, name), now);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn hash(&self, name: &str) -> u64 {
        self.hasher.hash_one(name)
    }

    /// What an attempt is counted for.
    fn counted(&self, address: IpAddr, name: &str, now: Instant) -> Vec<Who> {
        let (address, name) = (network(address), self.hash(name));
        let last = self.trusted.get(&(address, name));
        if last.is_some_and(|last| now.duration_since(*last) < TRUST) {
            return vec![Who::Known(address, name)];
        }
        vec![Who::Address(address), Who::Name(name)]
    }
}

/// The part of an address that is handed out as a whole: all of it, or 64 bits of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let kept = u128::from(address) >> 64 << 64;
            IpAddr::V6(kept.into())
        }
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
        throttle.note_success(address, "ada", now);
        assert_eq!(throttle.turn(address, "ada", now), Some(Duration::ZERO));
        // Guesses from elsewhere do not keep out who is known here.
        (0..50).for_each(|_| throttle.note_failure(elsewhere, "ada", now));
        assert_eq!(throttle.turn(address, "ada", now), Some(Duration::ZERO));
    }
}
