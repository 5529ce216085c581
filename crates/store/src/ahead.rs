//! Reading ahead of a visit, by what it is seen to need.
//!
//! The system reads ahead of every page that is missing in memory, as much as the device is set to
//! (128 KiB, or 8 MiB with some cloud disks). For a file that is larger than memory and read at
//! random this is most of what is read: loading 10 GB within 768 MiB read twelve times as much as
//! it wrote. So the map is told that it is read at random, and a visit of a range, which comes by
//! pages that mostly follow each other in the file, asks for the next ones itself.

use crate::tree::Direction;

const PAGE: usize = 4_096;
/// What is asked for first, when a visit has gone on to a second page.
const SMALLEST: usize = 64 << 10;
/// What is asked for at once while pages follow each other.
const LARGEST: usize = 1 << 20;

/// What a visit has asked for. Positions are addresses in the map.
pub(crate) struct Ahead {
    direction: Direction,
    page: usize,
    window: usize,
    /// What was asked for last: from here,
    from: usize,
    /// to there.
    to: usize,
}

impl Ahead {
    pub(crate) fn new(direction: Direction) -> Self {
        Self { direction, page: 0, window: 0, from: 0, to: 0 }
    }

    /// Notes that the visit has come to an entry, whose key stands in the map.
    pub(crate) fn passes(&mut self, key: &[u8]) {
        let page = key.as_ptr().addr() / PAGE * PAGE;
        if page == self.page {
            return;
        }
        if let Some((from, to)) = self.next(page) {
            will_need(key, page, from, to);
        }
    }

    /// What to ask for when the visit comes to a page.
    fn next(&mut self, page: usize) -> Option<(usize, usize)> {
        let is_first = std::mem::replace(&mut self.page, page) == 0;
        if is_first {
            return None;
        }
        let left = match self.direction {
            Direction::Ascending => self.to.saturating_sub(page),
            Direction::Descending => (page + PAGE).saturating_sub(self.from),
        };
        if !(self.from..self.to).contains(&page) {
            self.window = SMALLEST;
            (self.from, self.to) = match self.direction {
                Direction::Ascending => (page, page + self.window),
                Direction::Descending => ((page + PAGE).saturating_sub(self.window), page + PAGE),
            };
            return Some((self.from, self.to));
        }
        if left > self.window / 2 {
            return None;
        }
        self.window = LARGEST.min(self.window * 2);
        Some(match self.direction {
            Direction::Ascending => {
                let from = self.to;
                self.to += self.window;
                self.from = page;
                (from, self.to)
            }
            Direction::Descending => {
                let to = self.from;
                self.from = to.saturating_sub(self.window);
                self.to = page + PAGE;
                (self.from, to)
            }
        })
    }
}

/// Asks the system to read a part of the map; it is a hint, so nobody hears that it failed.
#[expect(unsafe_code, reason = "advice is about memory")]
fn will_need(key: &[u8], page: usize, from: usize, to: usize) {
    // The system's pages may be larger than the file's.
    let from = from / rustix::param::page_size() * rustix::param::page_size();
    let start = key.as_ptr().wrapping_byte_sub(key.as_ptr().addr() - page);
    let start = if from >= page {
        start.wrapping_byte_add(from - page)
    } else {
        start.wrapping_byte_sub(page - from)
    };
    let advice = rustix::mm::Advice::WillNeed;
    // SAFETY: this advice changes no memory, wherever the addresses lead.
    let _ = unsafe { rustix::mm::madvise(start.cast_mut().cast(), to - from, advice) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_follow_each_other_are_asked_for_in_growing_parts() {
        for direction in [Direction::Ascending, Direction::Descending] {
            let mut ahead = Ahead::new(direction);
            let base = 1 << 30;
            let page = |number: usize| match direction {
                Direction::Ascending => base + number * PAGE,
                Direction::Descending => base - number * PAGE,
            };
            assert_eq!(ahead.next(page(0)), None, "one page needs no other");
            let mut asked = Vec::new();
            for number in 1..4_000 {
                if let Some((from, to)) = ahead.next(page(number)) {
                    asked.push(to - from);
                }
                assert!((ahead.from..ahead.to).contains(&page(number)));
            }
            assert_eq!(asked[..5], [64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20]);
            assert!(asked.len() < 4_000 * PAGE / LARGEST + 8, "{}", asked.len());
            // All that was asked for is beside each other, and not far ahead.
            assert!(asked.iter().sum::<usize>() < 4_000 * PAGE + 2 * LARGEST);
        }
    }

    #[test]
    fn a_jump_begins_anew() {
        let mut ahead = Ahead::new(Direction::Ascending);
        let asked = (1..50).filter_map(|n| ahead.next(n * (1 << 24)));
        assert!(asked.map(|(from, to)| to - from).eq([SMALLEST; 48]));
    }
}
