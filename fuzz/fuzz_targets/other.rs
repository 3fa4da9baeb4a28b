#![no_main]

use libfuzzer_sys::fuzz_target;
use std::cell::OnceCell;

thread_local! {
    static MACHINE: OnceCell<fuzz::Machine> = const { OnceCell::new() };
}

fuzz_target!(|data: &[u8]| {
    MACHINE.with(|machine| {
        let folders = ["udev", "root", "textfile", "bus", "service", "qdisc", "ethtool", "wifi"];
        machine.get_or_init(|| fuzz::Machine::new(&folders)).feed(data)
    });
});
