//! The same for many things, on a few threads.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::VaultError;

/// Objects that are read at the same time.
const THREADS: usize = 4;

/// Does something with each of some things; the first error ends it.
pub(crate) fn in_parallel<T: Sync>(
    things: &[T],
    work: impl Fn(&T) -> Result<(), VaultError> + Sync,
) -> Result<(), VaultError> {
    let next = AtomicUsize::new(0);
    let run = || {
        while let Some(thing) = things.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = work(thing) {
                next.store(things.len(), Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS.min(things.len())).map(|_| scope.spawn(run)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })
}
