//! The `$bits` operators, on integers and on binary data.

use bson::RawBsonRef;

use crate::number::as_integer;

/// Which of the named bits must be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    AllSet,
    AnySet,
    AllClear,
    AnyClear,
}

/// A condition on bits.
#[derive(Debug, Clone)]
pub(crate) struct Bits {
    /// Positions from the least significant bit on.
    pub(super) positions: Vec<u32>,
    pub(super) wanted: Wanted,
}

impl Bits {
    pub(super) fn hold_for(&self, value: RawBsonRef<'_>) -> bool {
        let is_set: Box<dyn Fn(u32) -> bool> = match value {
            RawBsonRef::Binary(binary) => {
                let bytes = binary.bytes;
                Box::new(move |position| {
                    let byte = bytes.get(position as usize / 8).copied().unwrap_or(0);
                    byte >> (position % 8) & 1 == 1
                })
            }
            value => match as_integer(value) {
                // A negative number goes on with set bits without end.
                Some(number) => Box::new(move |position| number >> position.min(63) & 1 == 1),
                None => return false,
            },
        };
        let mut positions = self.positions.iter().copied();
        match self.wanted {
            Wanted::AllSet => positions.all(is_set),
            Wanted::AnySet => positions.any(is_set),
            Wanted::AllClear => !positions.any(is_set),
            Wanted::AnyClear => !positions.all(is_set),
        }
    }
}
