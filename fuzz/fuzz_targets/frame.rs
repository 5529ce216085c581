#![no_main]

use libfuzzer_sys::fuzz_target;
use tidemark_docdb::fuzzing;

fuzz_target!(|input: &[u8]| {
    fuzzing::frame(input);
});
