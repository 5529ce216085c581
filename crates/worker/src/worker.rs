//! The threads of a worker.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use tidemark_catalog::LeaseHolder;
use tidemark_mover::Stop;

use crate::captures::Captures;
use crate::config::WorkerConfig;
use crate::due::Due;
use crate::figures::Figures;
use crate::jobs::catch_panic;
use crate::shared::Shared;
use crate::troubles::Troubles;
use crate::watch::WorkerWatch;

/// The longest sleep of a thread that waits for work: leases and schedules end without a change.
const ROUND: Duration = Duration::from_secs(1);
/// After a round a thread rests so many times as long as that took, at most for a while.
const REST: u32 = 4;
const LONGEST_REST: Duration = Duration::from_secs(10);
/// How long a claim lasts without a heartbeat.
const LEASE: SignedDuration = SignedDuration::from_secs(15);

/// How often a round is done.
#[derive(Clone, Copy)]
struct Pace {
    /// The longest time between two rounds.
    wait: Duration,
    /// The shortest, however often something changes.
    pause: Duration,
    /// Whether it rests in between, because a round only looks.
    rests: bool,
}

impl Pace {
    const USUAL: Self = Self { wait: ROUND, pause: Duration::from_millis(200), rests: true };
    const CLAIMS: Self = Self { wait: ROUND, pause: Duration::from_millis(20), rests: false };
    /// Somebody waits for the answer.
    const QUESTIONS: Self =
        Self { wait: Duration::from_millis(200), pause: Duration::from_millis(100), rests: false };
}

/// What a thread does again and again.
type Round = fn(&Arc<Shared>);

/// A running worker.
pub struct Worker {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Worker {
    /// Starts the threads.
    pub fn start(config: WorkerConfig) -> Self {
        let holder = LeaseHolder { worker: config.membership.run().to_string(), duration: LEASE };
        let rounds: [(Round, usize, Pace); 7] = [
            (crate::snapshots::run_round, config.parallel_snapshots.max(1), Pace::CLAIMS),
            (crate::restores::run_round, config.parallel_restores.max(1), Pace::CLAIMS),
            (crate::drills::run_round, 1, Pace::CLAIMS),
            (crate::scheduler::run_round, 1, Pace::USUAL),
            (crate::upkeep::run_round, 1, Pace { pause: ROUND, ..Pace::USUAL }),
            (crate::follower::run_round, 1, Pace::USUAL),
            (crate::follower::answer_others, 1, Pace::QUESTIONS),
        ];
        let captures = Captures::new(config.clone());
        let (troubles, stop) = (Troubles::default(), Stop::new());
        let due = Due::new(config.is_paid_by_request());
        let shared = Arc::new(Shared {
            config,
            holder,
            captures,
            troubles,
            figures: Figures::default(),
            due,
            stop,
        });
        let threads = rounds
            .into_iter()
            .flat_map(|(round, count, pace)| std::iter::repeat_n((round, pace), count))
            .map(|round| {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || run_rounds(&shared, round))
            })
            .collect();
        Self { shared, threads }
    }

    /// Tells how it is; outlives the borrow of the worker.
    pub fn watch(&self) -> WorkerWatch {
        WorkerWatch::new(&self.shared)
    }

    /// Asks all work to end.
    pub fn request_stop(&self) {
        self.shared.stop.request();
        self.shared.captures.request_stop();
    }

    /// Stops, and waits until `deadline` for what is going on: work in progress is left as it is
    /// and claimed again after the next start. What does not end in time ends with the process.
    pub fn stop(&mut self, deadline: Instant) {
        self.request_stop();
        for thread in self.threads.drain(..) {
            while !thread.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
            if thread.is_finished() {
                let _ = thread.join();
            }
        }
        self.shared.captures.wait_for_end(deadline);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.request_stop();
    }
}

/// Sleeps, but not on after the end.
fn sleep(shared: &Shared, time: Duration) {
    const LOOK: Duration = Duration::from_millis(50);
    let until = Instant::now() + time;
    while !shared.stop.is_requested() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(LOOK));
    }
}

/// Runs rounds until told to stop; between two of them waits for a change of the catalog. A round
/// that panics is noted, and the next one runs.
fn run_rounds(shared: &Arc<Shared>, (round, pace): (Round, Pace)) {
    while !shared.stop.is_requested() {
        let seen = shared.config.catalog.generation();
        let began = Instant::now();
        if let Err(text) = catch_panic(|| round(shared)) {
            tracing::error!(text, "a round of a worker panicked");
            shared.troubles.warn("worker", format!("a part of the worker panicked: {text}"));
        }
        if !shared.stop.is_requested() {
            // However much there is to look at, looking takes a part of the time only.
            let rest = if pace.rests {
                (began.elapsed() * REST).min(LONGEST_REST)
            } else {
                Duration::ZERO
            };
            shared.config.catalog.wait_for_change(seen, pace.wait);
            sleep(shared, pace.pause.max(rest));
        }
    }
}
