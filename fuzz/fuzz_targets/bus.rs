//! What a bus answers: any bytes are read as a message.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| exporter::host::bus::decode(data));
