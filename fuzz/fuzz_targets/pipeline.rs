#![no_main]

use bson::Bson;
use libfuzzer_sys::fuzz_target;
use tidemark_docdb::fuzzing;
use tidemark_fuzz::values;

fuzz_target!(|input: &[u8]| {
    if let Some((Bson::Array(stages), targets)) = values(input).as_deref().and_then(<[Bson]>::split_first) {
        let targets = targets.iter().filter_map(Bson::as_document).cloned().collect();
        fuzzing::pipeline(stages, targets);
    }
});
