//! The properties of systemd itself.

use super::MANAGER;
use crate::{host::bus::Session, prelude::*};

static RUNNING: Metric = gauge(
    "node_systemd_system_running",
    "Whether the system is operational (see 'systemctl is-system-running')",
);
static VERSION: Metric<1> =
    gauge("node_systemd_version", "Detected systemd version").by(["version"]);
static VIRTUALIZATION: Metric<1> =
    gauge("node_systemd_virtualization_info", "Detected virtualization technology")
        .by(["virtualization_type"]);

/// The first version with `SystemState`.
pub(super) const WITH_STATE: f64 = 212.0;

/// Asks for the version, on which later questions depend, and for the virtualization.
///
/// # Errors
/// The connection fails.
pub(super) fn put_version(session: &mut Session<'_>, out: &mut Sink) -> Result<f64> {
    let version = match session.get::<String>(&MANAGER, "Version")? {
        Some(text) => {
            let number = number(&text);
            out.put(&VERSION, [&number.map_or("", |_| &text)], number.unwrap_or_default());
            number.unwrap_or_default()
        }
        None => {
            out.put(&VERSION, [&""], 0);
            0.0
        }
    };
    let virtualization = session.get::<String>(&MANAGER, "Virtualization")?;
    let virtualization = match virtualization.as_deref() {
        Some("") => "none",
        Some(text) => text,
        None => "unknown",
    };
    out.put(&VIRTUALIZATION, [&virtualization], 1);
    Ok(version)
}

/// Asks whether the system runs.
///
/// # Errors
/// The connection fails.
pub(super) fn put_state(session: &mut Session<'_>, out: &mut Sink) -> Result {
    if let Some(state) = session.get::<String>(&MANAGER, "SystemState")? {
        out.put(&RUNNING, [], state == "running");
    }
    Ok(())
}

/// When systemd began to load units for the last time (microseconds since the start of the
/// machine): at the start, or at a `daemon-reload` or `daemon-reexec`. `None` before version 250.
///
/// # Errors
/// The connection fails.
pub(super) fn loaded_at(session: &mut Session<'_>) -> Result<Option<u64>> {
    session.get(&MANAGER, "UnitsLoadTimestampMonotonic")
}

/// The first number of at least three digits in a version, with a fraction where it has one:
/// 257.13 of `257.13-1~deb13u1`, 249 of `v249-rc1`.
fn number(version: &str) -> Option<f64> {
    let is_digit = |c: char| c.is_ascii_digit();
    let mut rest = version;
    loop {
        rest = rest.trim_start_matches(|c| !is_digit(c));
        let (digits, after) = split(rest);
        if digits.len() >= 3 {
            let fraction = after.strip_prefix('.').map_or(0, |after| 1 + split(after).0.len());
            return rest.get(..digits.len() + fraction)?.parse().ok();
        }
        if rest.is_empty() {
            return None;
        }
        rest = after;
    }
}

/// The digits that a text begins with, and the rest.
fn split(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_three_digits_or_more_and_a_fraction() {
        for (version, want) in [
            ("257.13-1~deb13u1", Some(257.13)),
            ("v249-rc1", Some(249.0)),
            ("252.", Some(252.0)),
            ("systemd 44 of 2012", Some(2012.0)),
            ("1234", Some(1234.0)),
            ("44", None),
            ("12.345", Some(345.0)),
            ("ü", None),
            ("", None),
        ] {
            assert_eq!(number(version), want, "{version}");
        }
    }
}
