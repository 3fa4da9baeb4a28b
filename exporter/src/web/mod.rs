//! HTTP: node_exporter's `/metrics` and landing page, and the status page.
//!
//! Imports `scrape` and the ground, nothing of the machine.

mod config;
mod connection;
mod guard;
mod handler;
mod limit;
mod listen;
mod notify;
mod query;
mod server;
mod sockets;
mod status;
mod target;
mod tls;

pub use connection::Places;
pub use guard::Guard;
pub use handler::{Site, handle};
pub use limit::{FEWEST_DESCRIPTORS, places, raise_descriptors};
pub use notify::{feed_watchdog, notify};
pub use server::serve;
pub use sockets::Listener;
pub use status::{Capability, Privileges};
#[cfg(feature = "testing")]
pub use tls::P521;

use crate::flag::{AnyFlag, Flag, Flags, switch, text};
use std::time::Duration;

/// `--web.listen-address`.
pub const LISTEN: Flag<Vec<String>> = Flag::value(
    "web.listen-address",
    &[":9100"],
    "Addresses on which to expose metrics and web interface. Repeatable for multiple addresses. Examples: `:9100` or `[::1]:9100` for http, `vsock://:9100` for vsock, `unix:///run/node_exporter.sock?mode=660` for a Unix socket.",
);
/// `--web.telemetry-path`.
pub const PATH: Flag<String> =
    Flag::value("web.telemetry-path", &["/metrics"], "Path under which to expose metrics.");
/// `--web.disable-exporter-metrics`.
pub const DISABLE_OWN: Flag<bool> = switch(
    "web.disable-exporter-metrics",
    false,
    "Exclude metrics about the exporter itself (promhttp_*, process_*, go_*).",
);
/// `--web.max-requests`.
pub const MAX_REQUESTS: Flag<u64> = Flag::value(
    "web.max-requests",
    &["40"],
    "Maximum number of parallel scrape requests. Use 0 to disable.",
);
/// `--web.scrape-timeout`.
pub const TIMEOUT: Flag<Duration> = Flag::value(
    "web.scrape-timeout",
    &["30s"],
    "How long collectors are waited for where the scrape does not say its timeout. 0 is for ever.",
);
/// `--web.scrape-timeout-offset`.
pub const OFFSET: Flag<Duration> = Flag::value(
    "web.scrape-timeout-offset",
    &["0.5s"],
    "How long before the scrape's timeout collectors are no longer waited for.",
);
/// `--web.config.file`.
pub const CONFIG: Flag<String> =
    text("web.config.file", "Path to configuration file that can enable TLS or authentication.");
/// `--web.systemd-socket`.
pub const SYSTEMD: Flag<bool> = switch(
    "web.systemd-socket",
    false,
    "Use systemd socket activation listeners instead of port listeners (Linux only).",
);

/// The flags of this module.
pub static FLAGS: &[&dyn AnyFlag] =
    &[&PATH, &DISABLE_OWN, &MAX_REQUESTS, &LISTEN, &TIMEOUT, &OFFSET, &CONFIG, &SYSTEMD];

/// Refuses addresses and paths that could not be served.
///
/// # Errors
/// A sentence that names the flag, the mistake and the correction.
pub fn check(flags: &Flags) -> Result<(), String> {
    for address in flags.get(&LISTEN) {
        sockets::check(&address)
            .map_err(|error| format!("--web.listen-address={address}: {error}"))?;
    }
    let path = flags.get(&PATH);
    check_path(&path).map_err(|error| format!("--web.telemetry-path={path}: {error}"))
}

/// Refuses a path that no request can have.
fn check_path(path: &str) -> Result<(), String> {
    let clean = String::from_utf8_lossy(&target::clean(path.as_bytes())).into_owned();
    if path.is_empty() {
        return Err("it is empty: write /metrics or /".into());
    }
    if let Some(c) = path.chars().find(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!("{c:?} cannot be in a path"));
    }
    if let Some(c) = path.chars().find(|c| "?#%{}".contains(*c)) {
        return Err(format!("`{c}` cannot be in the path of the metrics"));
    }
    if !path.starts_with('/') {
        return Err(format!("a path begins with a slash: write {clean}"));
    }
    if path != clean {
        return Err(format!("no request comes to this path: write {clean}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_no_request_can_have_is_refused() {
        for path in ["/", "/metrics", "/metrics/", "/a/b.c/d-e", "/é", "/a..b", "/~x:y@z"] {
            assert_eq!(check_path(path), Ok(()), "{path}");
        }
        for (path, said) in [
            ("", "it is empty: write /metrics or /"),
            ("metrics", "a path begins with a slash: write /metrics"),
            ("/a b", "' ' cannot be in a path"),
            ("GET /metrics", "' ' cannot be in a path"),
            ("/a\n", "'\\n' cannot be in a path"),
            ("/metrics?x=1", "`?` cannot be in the path of the metrics"),
            ("/%6Detrics", "`%` cannot be in the path of the metrics"),
            ("/{x}", "`{` cannot be in the path of the metrics"),
            ("//metrics", "no request comes to this path: write /metrics"),
            ("/a/../metrics/", "no request comes to this path: write /metrics/"),
            ("..", "a path begins with a slash: write /"),
        ] {
            assert_eq!(check_path(path), Err(said.into()), "{path}");
        }
    }
}
