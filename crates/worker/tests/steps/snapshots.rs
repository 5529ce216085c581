//! Every step of a snapshot.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::SignedDuration;
use tidemark_actions::snapshots;
use tidemark_model::{SnapshotId, SnapshotState};
use tidemark_vault::DocumentSet;
use tidemark_worker::{Fate, Hook};

use crate::world::{World, content, until};

const STEPS: [&str; 4] = ["capture", "read", "store", "record"];

/// What becomes of the worker that has reached the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worker {
    GoesOn,
    /// It is told to stop, and another one starts.
    Stops,
    /// As a start of the server takes back what the process before it held.
    IsReplaced,
}

/// Tries something at every step of a snapshot: `fate` answers what becomes of the step, when it was
/// reached so often before; `completes` says whether the snapshot does, given the step.
fn at_every_step(
    worker: Worker,
    fate: impl Fn(&World, SnapshotId, usize) -> Fate + Send + Sync + Clone + 'static,
    completes: impl Fn(&str) -> bool,
) {
    let world = Arc::new(World::new());
    let mut present = DocumentSet::default();
    content(&mut world.database.connect()).values().for_each(|document| present.add(document));
    for step in STEPS {
        let reached = Arc::new(AtomicUsize::new(0));
        let hook: Hook = {
            let (world, reached, fate) = (Arc::clone(&world), Arc::clone(&reached), fate.clone());
            Arc::new(move |id: &str, at: &str| {
                if at != step {
                    return Fate::Done;
                }
                let before = reached.fetch_add(1, Ordering::SeqCst);
                fate(&world, id.parse().unwrap(), before)
            })
        };
        let retention = SignedDuration::from_hours(1);
        let now = world.clock.now();
        let id = snapshots::take(&world.catalog, &world.record, retention, now).unwrap().id;
        let mut workers = vec![world.worker(Some(Arc::clone(&hook)))];
        until(step, || (reached.load(Ordering::SeqCst) > 0).then_some(()));
        if worker == Worker::Stops {
            workers.clear();
        }
        if worker != Worker::GoesOn {
            std::thread::sleep(Duration::from_millis(100));
            workers.push(world.worker(Some(hook)));
        }
        let state = until(step, || {
            let state = world.state_of(id);
            state.is_final().then_some(state)
        });
        drop(workers);
        let is_in_vault = world.vault.has_snapshot(&id.to_string()).unwrap();
        assert_eq!(is_in_vault, completes(step), "{step}: {state:?}");
        if !is_in_vault {
            let is_said = matches!(&state, SnapshotState::Failed { failure, .. } if failure.reason.contains(step));
            assert!(is_said, "{step}: {state:?}");
            continue;
        }
        assert!(matches!(state, SnapshotState::Completed { .. }), "{step}: {state:?}");
        let manifest = world.vault.load_manifest(&id.to_string()).unwrap();
        world.vault.check_snapshot(&manifest, |_| true).unwrap();
        let mut found = DocumentSet::default();
        manifest.collections.iter().for_each(|collection| found.merge(&collection.content));
        assert_eq!(found, present, "{step}");
    }
    let report = world.vault.verify().unwrap();
    assert!(report.damages.is_empty(), "{report:?}");
}

#[test]
fn a_step_that_is_repeated_changes_nothing() {
    at_every_step(
        Worker::GoesOn,
        |_, _, before| if before == 0 { Fate::Fails { is_transient: true } } else { Fate::Done },
        |_| true,
    );
}

#[test]
fn a_worker_that_vanishes_is_replaced() {
    at_every_step(
        Worker::IsReplaced,
        |_, _, before| if before == 0 { Fate::Vanishes } else { Fate::Done },
        |_| true,
    );
}

#[test]
fn a_worker_that_is_told_to_stop_leaves_the_snapshot_to_the_next_one() {
    at_every_step(
        Worker::Stops,
        |_, _, before| {
            if before == 0 {
                // The heartbeat brings the wish.
                std::thread::sleep(Duration::from_secs(1));
            }
            Fate::Done
        },
        |_| true,
    );
}

#[test]
fn a_step_that_fails_leaves_no_snapshot_unless_it_is_stored() {
    at_every_step(
        Worker::GoesOn,
        |_, _, _| Fate::Fails { is_transient: false },
        |step| step == "record",
    );
}

#[test]
fn a_step_that_panics_fails_the_snapshot_and_not_the_worker() {
    at_every_step(Worker::GoesOn, |_, _, _| Fate::Panics, |step| step == "record");
}

#[test]
fn a_snapshot_of_which_the_process_dies_again_and_again_fails_unless_it_is_stored() {
    let world = Arc::new(World::new());
    for step in ["read", "record"] {
        let retention = SignedDuration::from_hours(1);
        let now = world.clock.now();
        let id = snapshots::take(&world.catalog, &world.record, retention, now).unwrap().id;
        let mut deaths = 0;
        let state = until(step, || {
            let reached = Arc::new(AtomicUsize::new(0));
            let hook: Hook = {
                let reached = Arc::clone(&reached);
                Arc::new(move |_: &str, at: &str| {
                    if at != step {
                        return Fate::Done;
                    }
                    reached.fetch_add(1, Ordering::SeqCst);
                    Fate::Vanishes
                })
            };
            let worker = world.worker(Some(hook));
            let state = until(step, || {
                let state = world.state_of(id);
                (state.is_final() || reached.load(Ordering::SeqCst) > 0).then_some(state)
            });
            drop(worker);
            deaths += reached.load(Ordering::SeqCst);
            state.is_final().then_some(state)
        });
        if step == "record" {
            assert!(matches!(state, SnapshotState::Completed { .. }), "{state:?}");
            assert_eq!(deaths, 1, "what is stored is taken over");
            continue;
        }
        let is_said = matches!(&state, SnapshotState::Failed { failure, .. } if failure.reason.contains("3 times"));
        assert!(is_said && deaths == 3, "{deaths}: {state:?}");
        assert!(!world.vault.has_snapshot(&id.to_string()).unwrap());
    }
}

/// The first worker goes on although another one has the snapshot: it must change nothing.
#[test]
fn who_has_lost_the_lease_changes_nothing() {
    at_every_step(
        Worker::GoesOn,
        |world, id, before| {
            if before == 0 {
                // A second worker on the same records takes the snapshot back and finishes it.
                let second = world.worker(None);
                until("the other worker", || {
                    let state = world.state_of(id);
                    state.is_final().then_some(())
                });
                drop(second);
            }
            Fate::Done
        },
        |_| true,
    );
}
