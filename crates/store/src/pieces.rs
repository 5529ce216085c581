//! How large values are cut, so that pages of the file stay full.
//!
//! LMDB puts a value of more than half a page on pages of its own, which wastes half a page on
//! average and needs free pages beside each other. A value that is larger than `LARGEST_PIECE` is
//! cut into pieces of the same size instead; piece `n` stands under the value's key followed by
//! `n` in two bytes. The size is the one that leaves the least of a page unused.

/// Bytes of a page that entries may use: 4096 less its header.
const PAGE_BYTES: usize = 4_080;
/// Bytes that an entry needs beside its value: LMDB's header and position, our longest key.
const ENTRY_BYTES: usize = 8 + 2 + 14;
/// What an entry may hold so that two fit on a page.
pub(crate) const LARGEST_PIECE: usize = PAGE_BYTES / 2 - ENTRY_BYTES;
/// How many more pieces than needed are tried for a better fit.
const TRIED: usize = 4;

/// The length of the pieces of a value; the last one may be shorter.
pub(crate) fn piece_bytes(length: usize) -> usize {
    let fewest = length.div_ceil(LARGEST_PIECE).max(1);
    let cost = |pieces: usize| {
        let piece = length.div_ceil(pieces) + ENTRY_BYTES;
        // Pages for a thousand such values.
        (1_000 * pieces).div_ceil(PAGE_BYTES / piece)
    };
    let best = (fewest..=fewest + TRIED).min_by_key(|pieces| cost(*pieces)).unwrap_or(fewest);
    length.div_ceil(best)
}

/// The key of a piece.
pub(crate) fn piece_key(key: &[u8], piece: u16) -> Vec<u8> {
    [key, &piece.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_use_at_least_three_quarters_of_their_pages() {
        for length in LARGEST_PIECE + 1..40_000 {
            let piece = piece_bytes(length);
            assert!(piece <= LARGEST_PIECE, "{length}");
            let pieces = length.div_ceil(piece);
            let on_a_page = PAGE_BYTES / (piece + ENTRY_BYTES);
            // In quarters of a page, for so many values that a part of a page does not matter.
            let used = 4 * length * on_a_page;
            assert!(used >= 3 * pieces * 4_096 - 512, "{length}: {pieces} of {piece}");
        }
        let most = (48usize << 20).div_ceil(piece_bytes(48 << 20));
        assert!(u16::try_from(most).is_ok(), "{most}");
    }
}
