//! How many bytes large messages may take at the same time.

use std::sync::{Condvar, Mutex, PoisonError};

/// What all large messages of an instance take together; one always fits.
const MOST_BYTES: usize = 96 * 1024 * 1024;
/// Smaller messages are not counted.
const SMALL_BYTES: usize = 256 * 1024;

/// The bytes that are left.
#[derive(Default)]
pub(crate) struct Budget {
    /// Held for adding; who waits for bytes waits on `returned`.
    taken: Mutex<usize>,
    returned: Condvar,
}

/// Bytes that were taken; dropping it returns them.
pub(crate) struct Share<'b> {
    budget: &'b Budget,
    bytes: usize,
}

impl Budget {
    /// Takes bytes for a message, when they are there.
    pub(crate) fn take(&self, bytes: usize) -> Share<'_> {
        let bytes = if bytes <= SMALL_BYTES { 0 } else { bytes };
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |taken: &mut usize| bytes > 0 && *taken > 0 && *taken + bytes > MOST_BYTES;
        let mut taken =
            self.returned.wait_while(taken, is_full).unwrap_or_else(PoisonError::into_inner);
        *taken += bytes;
        Share { budget: self, bytes }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        *self.budget.taken.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        self.budget.returned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_fit_waits_until_others_are_done() {
        let budget = Budget::default();
        let first = budget.take(MOST_BYTES);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| drop(budget.take(SMALL_BYTES + 1)));
            drop(budget.take(SMALL_BYTES));
            drop(first);
            second.join().unwrap();
        });
        assert_eq!(*budget.taken.lock().unwrap(), 0);
    }
}
