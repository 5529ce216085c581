#![no_main]

use libfuzzer_sys::fuzz_target;
use tidemark_docdb::fuzzing;
use tidemark_fuzz::pair;

fuzz_target!(|input: &[u8]| {
    if let Some((target, difference)) = pair(input) {
        fuzzing::difference(&target, &difference);
    }
});
