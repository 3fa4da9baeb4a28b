//! The modes of links: `ETHTOOL_LINK_MODE_…` of `include/uapi/linux/ethtool.h`.

use crate::{exposition::Label, host::netlink::Modes, prelude::*};

static SUPPORTED_SPEED: Metric<3> = gauge(
    "node_network_supported_speed_bytes",
    "Combination of speeds and features supported by network device",
)
.by(["device", "duplex", "mode"]);
static ADVERTISED_SPEED: Metric<3> = gauge(
    "node_network_advertised_speed_bytes",
    "Combination of speeds and features offered by network device",
)
.by(["device", "duplex", "mode"]);
static PORT: Metric<2> =
    gauge("node_network_supported_port_info", "Type of ports or PHYs supported by network device")
        .by(["device", "type"]);
static AUTONEGOTIATE: Metric<1> =
    gauge("node_network_autonegotiate", "If this port is using autonegotiate").by(["device"]);

/// Bits of features, each with the metric for its support and the one for its advertisement.
static FEATURES: [(u32, [Metric<1>; 2]); 3] = [
    (
        6,
        [
            gauge(
                "node_network_autonegotiate_supported",
                "If this port device supports autonegotiate",
            )
            .by(["device"]),
            gauge(
                "node_network_autonegotiate_advertised",
                "If this port device offers autonegotiate",
            )
            .by(["device"]),
        ],
    ),
    (
        13,
        [
            gauge("node_network_pause_supported", "If this port device supports pause frames")
                .by(["device"]),
            gauge("node_network_pause_advertised", "If this port device offers pause capability")
                .by(["device"]),
        ],
    ),
    (
        14,
        [
            gauge(
                "node_network_asymmetricpause_supported",
                "If this port device supports asymmetric pause frames",
            )
            .by(["device"]),
            gauge(
                "node_network_asymmetricpause_advertised",
                "If this port device offers asymmetric pause capability",
            )
            .by(["device"]),
        ],
    ),
];

/// Bits of ports.
const PORTS: [(u32, &str); 6] =
    [(7, "TP"), (8, "AUI"), (9, "MII"), (10, "FIBRE"), (11, "BNC"), (16, "Backplane")];

/// Bytes a second in a Mb/s.
const MEGABIT: f64 = 1e6 / 8.0;

const FULL: &str = "full";
const HALF: &str = "half";

/// Bits of speeds: Mb/s, duplex and mode.
#[rustfmt::skip]
const SPEEDS: &[(u32, u32, &str, &str)] = &[
    (0, 10, HALF, "10baseT"),
    (1, 10, FULL, "10baseT"),
    (2, 100, HALF, "100baseT"),
    (3, 100, FULL, "100baseT"),
    (4, 1000, HALF, "1000baseT"),
    (5, 1000, FULL, "1000baseT"),
    (12, 10_000, FULL, "10000baseT"),
    (15, 2500, FULL, "2500baseX"),
    (17, 1000, FULL, "1000baseKX"),
    (18, 10_000, FULL, "10000baseKX4"),
    (19, 10_000, FULL, "10000baseKR"),
    (20, 10_000, FULL, "10000baseR_FEC"),
    (21, 20_000, FULL, "20000baseMLD2"),
    (22, 20_000, FULL, "20000baseKR2"),
    (23, 40_000, FULL, "40000baseKR4"),
    (24, 40_000, FULL, "40000baseCR4"),
    (25, 40_000, FULL, "40000baseSR4"),
    (26, 40_000, FULL, "40000baseLR4"),
    (27, 56_000, FULL, "56000baseKR4"),
    (28, 56_000, FULL, "56000baseCR4"),
    (29, 56_000, FULL, "56000baseSR4"),
    (30, 56_000, FULL, "56000baseLR4"),
    (31, 25_000, FULL, "25000baseCR"),
    (32, 25_000, FULL, "25000baseKR"),
    (33, 25_000, FULL, "25000baseSR"),
    (34, 50_000, FULL, "50000baseCR2"),
    (35, 50_000, FULL, "50000baseKR2"),
    (36, 100_000, FULL, "100000baseKR4"),
    (37, 100_000, FULL, "100000baseSR4"),
    (38, 100_000, FULL, "100000baseCR4"),
    (39, 100_000, FULL, "100000baseLR4_ER4"),
    (40, 50_000, FULL, "50000baseSR2"),
    (41, 1000, FULL, "1000baseX"),
    (42, 10_000, FULL, "10000baseCR"),
    (43, 10_000, FULL, "10000baseSR"),
    (44, 10_000, FULL, "10000baseLR"),
    (45, 10_000, FULL, "10000baseLRM"),
    (46, 10_000, FULL, "10000baseER"),
    (47, 2500, FULL, "2500baseT"),
    (48, 5000, FULL, "5000baseT"),
    (52, 50_000, FULL, "50000baseKR"),
    (53, 50_000, FULL, "50000baseSR"),
    (54, 50_000, FULL, "50000baseCR"),
    (55, 50_000, FULL, "50000baseLR_ER_FR"),
    (56, 50_000, FULL, "50000baseDR"),
    (57, 100_000, FULL, "100000baseKR2"),
    (58, 100_000, FULL, "100000baseSR2"),
    (59, 100_000, FULL, "100000baseCR2"),
    (60, 100_000, FULL, "100000baseLR2_ER2_FR2"),
    (61, 100_000, FULL, "100000baseDR2"),
    (62, 200_000, FULL, "200000baseKR4"),
    (63, 200_000, FULL, "200000baseSR4"),
    (64, 200_000, FULL, "200000baseLR4_ER4_FR4"),
    (65, 200_000, FULL, "200000baseDR4"),
    (66, 200_000, FULL, "200000baseCR4"),
    (67, 100, FULL, "100baseT1"),
    (68, 1000, FULL, "1000baseT1"),
    (69, 400_000, FULL, "400000baseKR8"),
    (70, 400_000, FULL, "400000baseSR8"),
    (71, 400_000, FULL, "400000baseLR8_ER8_FR8"),
    (72, 400_000, FULL, "400000baseDR8"),
    (73, 400_000, FULL, "400000baseCR8"),
    (75, 100_000, FULL, "100000baseKR"),
    (76, 100_000, FULL, "100000baseSR"),
    (77, 100_000, FULL, "100000baseLR_ER_FR"),
    (78, 100_000, FULL, "100000baseCR"),
    (79, 100_000, FULL, "100000baseDR"),
    (80, 200_000, FULL, "200000baseKR2"),
    (81, 200_000, FULL, "200000baseSR2"),
    (82, 200_000, FULL, "200000baseLR2_ER2_FR2"),
    (83, 200_000, FULL, "200000baseDR2"),
    (84, 200_000, FULL, "200000baseCR2"),
    (85, 400_000, FULL, "400000baseKR4"),
    (86, 400_000, FULL, "400000baseSR4"),
    (87, 400_000, FULL, "400000baseLR4_ER4_FR4"),
    (88, 400_000, FULL, "400000baseDR4"),
    (89, 400_000, FULL, "400000baseCR4"),
    (90, 100, HALF, "100baseFX"),
    (91, 100, FULL, "100baseFX"),
    (92, 10, FULL, "10baseT1L"),
    (93, 800_000, FULL, "800000baseCR8"),
    (94, 800_000, FULL, "800000baseKR8"),
    (95, 800_000, FULL, "800000baseDR8"),
    (96, 800_000, FULL, "800000baseDR8_2"),
    (97, 800_000, FULL, "800000baseSR8"),
    (98, 800_000, FULL, "800000baseVR8"),
    (99, 10, FULL, "10baseT1S"),
    (100, 10, HALF, "10baseT1S"),
    (101, 10, HALF, "10baseT1S_P2MP"),
    (102, 10, FULL, "10baseT1BRR"),
    (103, 200_000, FULL, "200000baseCR"),
    (104, 200_000, FULL, "200000baseKR"),
    (105, 200_000, FULL, "200000baseDR"),
    (106, 200_000, FULL, "200000baseDR_2"),
    (107, 200_000, FULL, "200000baseSR"),
    (108, 200_000, FULL, "200000baseVR"),
    (109, 400_000, FULL, "400000baseCR2"),
    (110, 400_000, FULL, "400000baseKR2"),
    (111, 400_000, FULL, "400000baseDR2"),
    (112, 400_000, FULL, "400000baseDR2_2"),
    (113, 400_000, FULL, "400000baseSR2"),
    (114, 400_000, FULL, "400000baseVR2"),
    (115, 800_000, FULL, "800000baseCR4"),
    (116, 800_000, FULL, "800000baseKR4"),
    (117, 800_000, FULL, "800000baseDR4"),
    (118, 800_000, FULL, "800000baseDR4_2"),
    (119, 800_000, FULL, "800000baseSR4"),
    (120, 800_000, FULL, "800000baseVR4"),
];

/// Exposes the modes of one device.
pub(super) fn put(device: &dyn Label, modes: &Modes, out: &mut Sink) {
    for (bits, metric) in
        [(modes.supported, &SUPPORTED_SPEED), (modes.advertised, &ADVERTISED_SPEED)]
    {
        for (bit, speed, duplex, mode) in SPEEDS {
            if has(bits, *bit) {
                out.put(metric, [device, duplex, mode], f64::from(*speed) * MEGABIT);
            }
        }
    }
    for (bit, port) in PORTS {
        if has(modes.supported, bit) {
            out.put(&PORT, [device, &port], 1);
        }
    }
    for (bit, [supported, advertised]) in &FEATURES {
        out.put(supported, [device], has(modes.supported, *bit));
        out.put(advertised, [device], has(modes.advertised, *bit));
    }
    out.put(&AUTONEGOTIATE, [device], modes.autonegotiation);
}

const fn has(bits: u128, bit: u32) -> bool {
    bits >> bit & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::samples;

    #[test]
    fn every_speed_has_one_bit_and_one_name() {
        assert!(SPEEDS.is_sorted_by(|a, b| a.0 < b.0));
        let mut names: Vec<_> = SPEEDS.iter().map(|(_, _, duplex, mode)| (duplex, mode)).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SPEEDS.len());
        for (_, speed, _, mode) in SPEEDS {
            assert!(mode.starts_with(&format!("{speed}base")), "{mode}");
        }
    }

    #[test]
    fn bits_become_speeds_ports_and_features() {
        let supported = 1 << 5 | 1 << 6 | 1 << 7 | 1 << 13 | 1 << 38 | 1 << 90;
        let modes = Modes { index: 1, autonegotiation: 1, supported, advertised: 1 << 14 };
        let text = samples(|out| put(&"eth0", &modes, out));
        let want = r#"node_network_advertised_speed_bytes"#;
        assert!(!text.contains(want), "{text}");
        for line in [
            r#"node_network_supported_speed_bytes{device="eth0",duplex="full",mode="1000baseT"} 1.25e+08"#,
            r#"node_network_supported_speed_bytes{device="eth0",duplex="full",mode="100000baseCR4"} 1.25e+10"#,
            r#"node_network_supported_speed_bytes{device="eth0",duplex="half",mode="100baseFX"} 1.25e+07"#,
            r#"node_network_supported_port_info{device="eth0",type="TP"} 1"#,
            r#"node_network_autonegotiate_supported{device="eth0"} 1"#,
            r#"node_network_autonegotiate_advertised{device="eth0"} 0"#,
            r#"node_network_pause_supported{device="eth0"} 1"#,
            r#"node_network_asymmetricpause_supported{device="eth0"} 0"#,
            r#"node_network_asymmetricpause_advertised{device="eth0"} 1"#,
            r#"node_network_autonegotiate{device="eth0"} 1"#,
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
    }
}
