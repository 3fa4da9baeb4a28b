//! Requests of clients: any bytes get answers of HTTP or none, and the next client gets its
//! metrics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::cell::OnceCell;

thread_local! {
    static SERVER: OnceCell<fuzz::http::Server> = const { OnceCell::new() };
}

fuzz_target!(|data: &[u8]| {
    SERVER.with(|server| server.get_or_init(fuzz::http::Server::new).feed(data));
});
