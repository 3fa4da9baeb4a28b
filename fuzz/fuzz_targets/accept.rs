//! `Accept` and `Accept-Encoding`: whatever they say, the metrics come in a form that is known.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::cell::OnceCell;

thread_local! {
    static SERVER: OnceCell<fuzz::http::Server> = const { OnceCell::new() };
}

fuzz_target!(|data: &[u8]| {
    SERVER.with(|server| server.get_or_init(fuzz::http::Server::new).negotiate(data));
});
