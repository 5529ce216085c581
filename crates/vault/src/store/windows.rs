//! What was read ahead of objects in a bucket, so that one after another costs one request for
//! many.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::locking::lock;

/// All windows together hold at most so many bytes.
const LIMIT: usize = 64 * 1024 * 1024;

/// A part of an object.
struct Window {
    object: Arc<str>,
    start: u64,
    bytes: Bytes,
}

/// The windows of a store; the oldest one goes first.
#[derive(Default)]
pub(super) struct Windows {
    /// Held for lookups and copies, never for a request.
    held: Mutex<VecDeque<Window>>,
}

impl Windows {
    /// Fills a buffer from a window that has all of it; answers whether there is one.
    pub(super) fn fill(&self, object: &str, buffer: &mut [u8], offset: u64) -> bool {
        let held = lock(&self.held);
        let found =
            held.iter().rev().filter(|window| *window.object == *object).find_map(|window| {
                let start = usize::try_from(offset.checked_sub(window.start)?).ok()?;
                window.bytes.get(start..start.checked_add(buffer.len())?)
            });
        found.map(|bytes| buffer.copy_from_slice(bytes)).is_some()
    }

    /// Keeps what was read from an offset of an object on.
    pub(super) fn keep(&self, object: &Arc<str>, start: u64, bytes: Bytes) {
        let mut held = lock(&self.held);
        held.push_back(Window { object: Arc::clone(object), start, bytes });
        let mut sum: usize = held.iter().map(|window| window.bytes.len()).sum();
        while sum > LIMIT
            && let Some(oldest) = held.pop_front()
        {
            sum -= oldest.bytes.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_serves_what_it_has_and_the_oldest_go_first() {
        let windows = Windows::default();
        let object = |number: usize| Arc::<str>::from(format!("packs/{number}"));
        windows.keep(&object(0), 10, Bytes::from_static(b"abcdef"));
        let read = |object: &str, offset, length: usize| {
            let mut buffer = vec![0; length];
            windows.fill(object, &mut buffer, offset).then_some(buffer)
        };
        assert_eq!(read("packs/0", 12, 2).as_deref(), Some(b"cd".as_slice()));
        assert_eq!(read("packs/0", 10, 6).as_deref(), Some(b"abcdef".as_slice()));
        assert_eq!(read("packs/0", 9, 2), None);
        assert_eq!(read("packs/0", 14, 3), None);
        assert_eq!(read("packs/1", 12, 2), None);
        for number in 1..=3 {
            windows.keep(&object(number), 0, Bytes::from(vec![1; LIMIT / 3]));
        }
        assert_eq!(read("packs/0", 12, 2), None);
        assert!(read("packs/1", 0, 9).is_some());
    }
}
