#![no_main]

use bson::Bson;
use libfuzzer_sys::fuzz_target;
use tidemark_docdb::fuzzing;
use tidemark_fuzz::values;

fuzz_target!(|input: &[u8]| {
    if let Some([Bson::Document(entry)]) = values(input).as_deref() {
        fuzzing::oplog_entry(entry);
    }
});
