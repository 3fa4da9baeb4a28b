//! HTTP: node_exporter's `/metrics` and landing page.
//!
//! Imports `scrape` and the ground, nothing of the machine.

mod connection;
mod handler;
mod limit;
mod listen;
mod query;
mod server;

pub use handler::{Site, handle};
pub use limit::{connections, raise_descriptors};
pub use listen::bind;
pub use server::serve;

use crate::flag::{AnyFlag, Flag, Flags, switch, text};
use std::time::Duration;

/// `--web.listen-address`.
pub const LISTEN: Flag<Vec<String>> = Flag::value(
    "web.listen-address",
    &[":9100"],
    "Addresses on which to expose metrics and web interface. Repeatable for multiple addresses.",
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
const CONFIG: Flag<String> = text("web.config.file", "Not supported yet.").hidden();
const SYSTEMD: Flag<bool> = switch("web.systemd-socket", false, "Not supported yet.").hidden();

/// The flags of this module.
pub static FLAGS: &[&dyn AnyFlag] =
    &[&PATH, &DISABLE_OWN, &MAX_REQUESTS, &LISTEN, &TIMEOUT, &OFFSET, &CONFIG, &SYSTEMD];

/// Refuses what is not there yet.
///
/// # Errors
/// The flag that asks for it.
pub fn check(flags: &Flags) -> Result<(), String> {
    if !flags.get(&CONFIG).is_empty() {
        return Err("--web.config.file: TLS and authentication are not supported yet".into());
    }
    if flags.get(&SYSTEMD) {
        return Err("--web.systemd-socket: socket activation is not supported yet".into());
    }
    if let Some(address) = flags.get(&LISTEN).iter().find(|a| a.starts_with("vsock://")) {
        return Err(format!("--web.listen-address={address}: vsock is not supported yet"));
    }
    Ok(())
}
