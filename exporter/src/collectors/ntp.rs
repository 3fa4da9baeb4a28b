//! The clock of an NTP server on this machine, asked over the network at each scrape.
//!
//! `node_ntp_sanity` is 1 where the answer is valid (RFC 5905), near enough to a clock at stratum 1
//! and does not contradict the local clock. Around a leap second one second more is tolerated,
//! since servers may smear it. The collector is deprecated upstream.

use crate::{
    host::ntp::{self, Answer, Server},
    prelude::*,
};
use std::{net::IpAddr, time::Duration};

pub const SPEC: Spec = Spec {
    name: "ntp",
    enabled: false,
    capabilities: NONE,
    flags: &[&SERVER, &PORT, &VERSION, &IS_LOCAL, &TTL, &MAX_DISTANCE, &TOLERANCE],
    new: |_, flags| Ok(Box::new(Ntp::new(flags)?)),
};

static SERVER: Flag<String> =
    Flag::value("collector.ntp.server", &["127.0.0.1"], "NTP server to use for ntp collector");
static PORT: Flag<u64> = Flag::value(
    "collector.ntp.server-port",
    &["123"],
    "UDP port number to connect to on NTP server",
);
static VERSION: Flag<u64> =
    Flag::value("collector.ntp.protocol-version", &["4"], "NTP protocol version");
static IS_LOCAL: Flag<bool> = switch(
    "collector.ntp.server-is-local",
    false,
    "Certify that collector.ntp.server address is not a public ntp server",
);
static TTL: Flag<u64> =
    Flag::value("collector.ntp.ip-ttl", &["1"], "IP TTL to use while sending NTP query");
static MAX_DISTANCE: Flag<Duration> = Flag::value(
    "collector.ntp.max-distance",
    &["3.46608s"],
    "Max accumulated distance to the root",
);
static TOLERANCE: Flag<Duration> = Flag::value(
    "collector.ntp.local-offset-tolerance",
    &["1ms"],
    "Offset between local clock and local ntpd time to tolerate",
);

static STRATUM: Metric = gauge("node_ntp_stratum", "NTPD stratum.");
static LEAP: Metric = gauge("node_ntp_leap", "NTPD leap second indicator, 2 bits.");
static RTT: Metric = gauge("node_ntp_rtt_seconds", "RTT to NTPD.");
static OFFSET: Metric =
    gauge("node_ntp_offset_seconds", "ClockOffset between NTP and local clock.");
static REFERENCE: Metric =
    gauge("node_ntp_reference_timestamp_seconds", "NTPD ReferenceTime, UNIX timestamp.");
static ROOT_DELAY: Metric = gauge("node_ntp_root_delay_seconds", "NTPD RootDelay.");
static ROOT_DISPERSION: Metric = gauge("node_ntp_root_dispersion_seconds", "NTPD RootDispersion.");
static SANITY: Metric =
    gauge("node_ntp_sanity", "NTPD sanity according to RFC5905 heuristics and configured limits.");

/// How long to wait for an answer: as long as `ntpdate` waits.
const PATIENCE: Duration = Duration::from_secs(1);

/// A day in nanoseconds.
const DAY: i128 = 86_400_000_000_000;

struct Ntp {
    name: String,
    port: u16,
    version: u8,
    ttl: u32,
    max_distance: Duration,
    tolerance: Duration,
    /// The midnight of the last leap second that the server announced, in nanoseconds since 1970:
    /// the announcement ends there, and the tolerance lasts for a day more.
    leap_midnight: Option<i128>,
}

impl Ntp {
    fn new(flags: &Flags) -> Result<Self> {
        let wrong = |text: String| Err(Error::Flag(text));
        let name = flags.get(&SERVER);
        let is_loopback = name.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        if !flags.get(&IS_LOCAL) && !is_loopback {
            return wrong(format!(
                "--collector.ntp.server={name}: only IP address of local NTP server is valid, or any with --collector.ntp.server-is-local"
            ));
        }
        let (version, port, ttl) = (flags.get(&VERSION), flags.get(&PORT), flags.get(&TTL));
        let Some(version) = u8::try_from(version).ok().filter(|version| (2..=4).contains(version))
        else {
            return wrong(format!(
                "--collector.ntp.protocol-version={version}: invalid NTP protocol version; must be 2, 3, or 4"
            ));
        };
        let Some(port) = u16::try_from(port).ok().filter(|&port| port > 0) else {
            return wrong(format!(
                "--collector.ntp.server-port={port}: invalid NTP port number; must be between 1 and 65535 inclusive"
            ));
        };
        let Some(ttl) = u8::try_from(ttl).ok().filter(|&ttl| ttl > 0) else {
            return wrong(format!("--collector.ntp.ip-ttl={ttl}: must be between 1 and 255"));
        };
        tracing::warn!(
            collector = SPEC.name,
            "This collector is deprecated and will be removed in the next major version release."
        );
        Ok(Self {
            name,
            port,
            version,
            ttl: ttl.into(),
            max_distance: flags.get(&MAX_DISTANCE),
            tolerance: flags.get(&TOLERANCE),
            leap_midnight: None,
        })
    }

    fn is_sane(&mut self, answer: &Answer) -> bool {
        let [.., answered, _] = answer.moments;
        if matches!(answer.leap, 1 | 2) {
            self.leap_midnight = Some((answered.div_euclid(DAY) + 1) * DAY);
        }
        let is_near = self.leap_midnight.is_some_and(|at| (at - answered).abs() < DAY);
        let more = if is_near { Duration::from_secs(1) } else { Duration::ZERO };
        answer.is_valid()
            && answer.root_distance() <= self.max_distance
            && answer.least_error() <= self.tolerance.saturating_add(more)
    }

    fn put(&mut self, answer: &Answer, out: &mut Sink) {
        out.put(&STRATUM, [], answer.stratum);
        out.put(&LEAP, [], answer.leap);
        out.put(&RTT, [], answer.round_trip().as_secs_f64());
        out.put(&OFFSET, [], answer.offset());
        out.put(&REFERENCE, [], answer.reference.map_or(0.0, |at| at.max(0) as f64 / 1e9));
        out.put(&ROOT_DELAY, [], answer.root_delay.as_secs_f64());
        out.put(&ROOT_DISPERSION, [], answer.root_dispersion.as_secs_f64());
        let is_sane = self.is_sane(answer);
        out.put(&SANITY, [], is_sane);
    }
}

impl Collector for Ntp {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let address = ntp::resolve(&self.name, self.port)?;
        let server = Server { address, version: self.version, ttl: self.ttl };
        let answer = ntp::ask(&server, out.patience(PATIENCE))?;
        self.put(&answer, out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{exposed, flags};

    fn ntp(args: &[&str]) -> Result<Ntp> {
        Ntp::new(&flags(&args.iter().map(ToString::to_string).collect::<Vec<_>>()))
    }

    const NOON: i128 = 19_700 * DAY + DAY / 2;

    fn answer(at: i128, leap: u8) -> Answer {
        Answer {
            stratum: 3,
            leap,
            reference: Some(at - 1_000_000_000),
            root_delay: Duration::from_millis(20),
            root_dispersion: Duration::from_millis(30),
            moments: [at, at + 500, at + 600, at + 1_000],
        }
    }

    #[test]
    fn every_field_of_an_answer_is_exposed() {
        let text = exposed(|out| ntp(&[]).unwrap().put(&answer(NOON, 0), out));
        for line in [
            "node_ntp_stratum 3",
            "node_ntp_rtt_seconds 9e-07",
            "node_ntp_offset_seconds 5e-08",
            "node_ntp_reference_timestamp_seconds 1.702123199e+09",
            "node_ntp_root_delay_seconds 0.02",
            "node_ntp_root_dispersion_seconds 0.03",
            "node_ntp_sanity 1",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
        let never = Answer { reference: None, ..answer(NOON, 3) };
        let text = exposed(|out| ntp(&[]).unwrap().put(&never, out));
        assert!(text.contains("\nnode_ntp_reference_timestamp_seconds 0\n"), "{text}");
        assert!(text.contains("\nnode_ntp_sanity 0\n") && text.contains("\nnode_ntp_leap 3\n"));
    }

    #[test]
    fn clocks_may_differ_by_a_second_more_around_a_leap_second() {
        let mut ntp = ntp(&[]).unwrap();
        let late = |at, leap| {
            let answer = answer(at, leap);
            let [asked, heard, answered, came] = answer.moments;
            let ahead = 900_000_000;
            Answer { moments: [asked, heard + ahead, answered + ahead, came], ..answer }
        };
        assert!(!ntp.is_sane(&late(NOON, 0)));
        assert!(ntp.is_sane(&late(NOON, 1)), "announced");
        assert!(ntp.is_sane(&late(NOON + DAY, 0)), "the day after");
        assert!(!ntp.is_sane(&late(NOON + 2 * DAY, 0)));
    }

    #[test]
    fn flags_that_name_no_usable_server_end_the_start() {
        for (args, said) in [
            (&["--collector.ntp.server=192.0.2.1"][..], "server-is-local"),
            (&["--collector.ntp.server=localhost"], "server-is-local"),
            (&["--collector.ntp.protocol-version=5"], "must be 2, 3, or 4"),
            (&["--collector.ntp.server-port=65536"], "65535"),
            (&["--collector.ntp.ip-ttl=0"], "255"),
        ] {
            let error = ntp(args).err().unwrap().to_string();
            assert!(error.contains(said), "{error}");
        }
        assert!(ntp(&["--collector.ntp.server=::1"]).is_ok());
        assert!(ntp(&["--collector.ntp.server=a.test", "--collector.ntp.server-is-local"]).is_ok());
    }
}
