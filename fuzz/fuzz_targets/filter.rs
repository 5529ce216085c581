#![no_main]

use libfuzzer_sys::fuzz_target;
use tidemark_docdb::fuzzing;
use tidemark_fuzz::pair;

fuzz_target!(|input: &[u8]| {
    if let Some((filter, target)) = pair(input) {
        fuzzing::filter(&filter, &target);
    }
});
