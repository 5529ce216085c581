//! Every step of every delivery.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidemark_actions::restore_jobs;
use tidemark_model::{RestoreJobId, RestoreState};
use tidemark_mover::{Look, list_stages};
use tidemark_worker::{Fate, Hook};

use crate::world::{World, content, newest_position, until, until_or};

fn steps_of(delivery: &str) -> &'static [&'static str] {
    match delivery {
        "download" => &["verify", "pack"],
        _ => &["verify", "stage", "replay", "index", "compare", "swap", "after-swap"],
    }
}

/// Whether another worker starts once the step was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Replacement {
    None,
    /// As a start of the server takes back what the process before it held.
    Started,
}

/// Tries something at every step of every delivery: `fate` answers what becomes of the step, when it
/// was reached so often before; `expect` says whether the job completes, given the step.
fn at_every_step(
    replacement: Replacement,
    fate: impl Fn(&World, RestoreJobId, usize) -> Fate + Send + Sync + Clone + 'static,
    check: impl Fn(&str, &RestoreState) -> bool,
) {
    let world = Arc::new(World::new());
    for delivery in ["automated", "pointInTime", "download"] {
        for step in steps_of(delivery) {
            let context = format!("{delivery}, {step}");
            world.reset();
            let reached = Arc::new(AtomicUsize::new(0));
            let hook: Hook = {
                let (world, reached, fate) =
                    (Arc::clone(&world), Arc::clone(&reached), fate.clone());
                Arc::new(move |job: &str, at: &str| {
                    if at != *step {
                        return Fate::Done;
                    }
                    let before = reached.fetch_add(1, Ordering::SeqCst);
                    fate(&world, job.parse().unwrap(), before)
                })
            };
            let job = world.ask(delivery);
            let first = world.worker(Some(Arc::clone(&hook)));
            until(&context, || (reached.load(Ordering::SeqCst) > 0).then_some(()));
            let mut second = None;
            let state = until(&context, || {
                let state = world.catalog.load_restore_job(job).unwrap().state;
                if state.is_final() {
                    return Some(state);
                }
                if replacement == Replacement::Started && second.is_none() {
                    std::thread::sleep(Duration::from_millis(100));
                    second = Some(world.worker(Some(Arc::clone(&hook))));
                }
                None
            });
            drop((first, second));
            assert!(reached.load(Ordering::SeqCst) > 0, "{context}: it was not reached");
            let completes = check(step, &state);
            let found = content(&mut world.database.connect());
            let expected = if completes { world.restored(delivery) } else { &world.present };
            assert!(found == *expected, "{context}: {state:?}");
            assert_eq!(
                completes,
                matches!(state, RestoreState::Completed { .. }),
                "{context}: {state:?}"
            );
            if delivery == "download" && completes {
                let file = world.catalog.load_restore_job(job).unwrap().download.unwrap().file;
                assert!(world.downloads().join(file).exists(), "{context}");
            }
            let is_tidy = || {
                // What is looked at may be dropped meanwhile.
                let left = list_stages(&world.database.endpoint(), Look::Everywhere).ok()?;
                left.into_iter().all(|left| left != job.to_string()).then_some(())
            };
            until_or(is_tidy, || format!("{context}: left are {:?}", world.all_collections()));
        }
    }
}

#[test]
fn a_step_that_is_repeated_changes_nothing() {
    at_every_step(
        Replacement::None,
        |_, _, before| if before == 0 { Fate::Fails { is_transient: true } } else { Fate::Done },
        |_, state| matches!(state, RestoreState::Completed { .. }),
    );
}

#[test]
fn a_worker_that_vanishes_is_replaced() {
    at_every_step(
        Replacement::Started,
        |_, _, before| if before == 0 { Fate::Vanishes } else { Fate::Done },
        |_, _| true,
    );
}

/// A job of which a step goes wrong fails with the step in its reason; once it is swapped in, it is
/// delivered.
fn completes_once_swapped_in(step: &str, state: &RestoreState) -> bool {
    let is_late = step == "after-swap";
    let has_failed =
        matches!(state, RestoreState::Failed { failure, .. } if failure.reason.contains(step));
    assert!(is_late || has_failed, "{step}: {state:?}");
    is_late
}

#[test]
fn a_step_that_fails_leaves_the_target_as_it_was() {
    at_every_step(
        Replacement::None,
        |_, _, _| Fate::Fails { is_transient: false },
        completes_once_swapped_in,
    );
}

#[test]
fn a_step_that_panics_fails_the_job_and_not_the_worker() {
    at_every_step(Replacement::None, |_, _, _| Fate::Panics, completes_once_swapped_in);
}

#[test]
fn a_job_is_cancelled_at_any_step_before_its_swap() {
    at_every_step(
        Replacement::None,
        |world, job, _| {
            let _ = restore_jobs::cancel(&world.catalog, job, world.clock.now());
            // The heartbeat brings the wish.
            std::thread::sleep(Duration::from_millis(700));
            Fate::Done
        },
        |step, state| {
            let is_late = matches!(step, "swap" | "after-swap");
            assert!(
                is_late || matches!(state, RestoreState::Cancelled { .. }),
                "{step}: {state:?}"
            );
            is_late
        },
    );
}

/// The first worker goes on although another one has the job: it must write nothing.
#[test]
fn who_has_lost_the_lease_writes_nothing() {
    at_every_step(
        Replacement::None,
        |world, job, before| {
            if before == 0 {
                // A second worker on the same records takes the job back and finishes it.
                let second = world.worker(None);
                world.wait_for_end(job, "the other worker");
                drop(second);
            }
            Fate::Done
        },
        |_, _| true,
    );
}

#[test]
fn what_was_before_a_restore_in_place_stays_restorable_to_the_entry() {
    let world = World::new();
    let worker = world.worker(None);
    let last = newest_position(&mut world.database.connect());
    let job = world.ask("automated");
    let state = world.wait_for_end(job, "the restore in place");
    assert!(matches!(state, RestoreState::Completed { .. }), "{state:?}");
    let captured = until("the capture to find it", || {
        let captured = world.catalog.list_captured(world.record.id).unwrap();
        (captured.len() > 1).then_some(captured)
    });
    assert!(captured[0].through >= last, "{captured:?}, {last}");
    assert!(captured[0].through < captured[1].entries.first, "{captured:?}");
    assert_eq!(world.catalog.find_unnoticed_swap(world.record.id).unwrap(), None);
    let job = world.ask("pointInTime");
    let state = world.wait_for_end(job, "the moment before it");
    assert!(matches!(state, RestoreState::Completed { .. }), "{state:?}");
    assert!(content(&mut world.database.connect()) == world.at_moment);
    drop(worker);
}
