//! Locks that are held for changes of memory.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Holds a lock. A thread that panicked while it had it left whole values behind.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
