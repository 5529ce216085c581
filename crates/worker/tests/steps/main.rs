//! Every step of every restore and of a snapshot, and what may happen to it: the job ends as
//! promised, the target shows one of two states as a whole, and the vault has a snapshot or not.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod restores;
mod snapshots;
mod world;
