#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cosmount::fuzzing::fault_plan(bytes));
