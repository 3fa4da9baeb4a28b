//! Unicast routes of all tables, over rtnetlink (`RTM_GETROUTE`).
//!
//! Each next hop of each route has a series: a router with a full table has a million of them. A
//! table that changes without pause is never dumped in one state; its last dump is exposed. A hop
//! over an interface that came or went since the dump of interfaces is left out.

use crate::{
    exposition::Label,
    host::{
        Shared,
        netlink::{self, Hop, LinkDump, Links, RTN_UNICAST, Route, Socket, Step},
    },
    prelude::*,
};
use hashbrown::HashMap;
use std::{fmt::Write as _, net::IpAddr};

pub const SPEC: Spec = Spec {
    name: "network_route",
    enabled: false,
    capabilities: NONE,
    flags: &[],
    new: |host, _| {
        Ok(Box::new(NetworkRoute {
            socket: Socket::default(),
            links: host.links.clone(),
            routes: Vec::new(),
            counts: HashMap::new(),
        }))
    },
};

static INFO: Metric<7> = gauge("node_network_route_info", "network routing table information")
    .by(["dest", "device", "gw", "priority", "proto", "src", "weight"]);
static ROUTES: Metric<1> =
    gauge("node_network_routes", "network routes by interface").by(["device"]);

struct NetworkRoute {
    socket: Socket,
    links: Shared<LinkDump>,
    routes: Vec<(Route, Hop)>,
    /// The number of routes by the interface's index; 0 for hops without an interface.
    counts: HashMap<u32, u64>,
}

impl Collector for NetworkRoute {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { socket, links, routes, counts } = self;
        let dumped = socket.routes(|step| match step {
            Step::Start => routes.clear(),
            Step::Item((route, hop)) if route.kind == RTN_UNICAST => routes.push((*route, hop)),
            Step::Item(_) => {}
        });
        match dumped {
            Ok(()) => {}
            // A table that changed during every dump gives nearly all routes, some of them twice.
            Err(netlink::Error::Interrupted { .. }) => {
                routes.sort_unstable();
                routes.dedup();
            }
            Err(error) => return Err(error.into()),
        }
        put(&*links.get(out.scrape())?, routes, counts, out);
        Ok(())
    }
}

fn put(links: &Links, routes: &[(Route, Hop)], counts: &mut HashMap<u32, u64>, out: &mut Sink) {
    let name = |ifindex| match ifindex {
        0 => Some(&b""[..]),
        _ => links.get(ifindex).map(|link| link.name.as_slice()),
    };
    counts.clear();
    for (route, hop) in routes {
        let Some(device) = name(hop.ifindex) else { continue };
        let weight: &dyn Label = match &hop.weight {
            Some(weight) => weight,
            None => &"",
        };
        let labels: [&dyn Label; 7] = [
            &Destination(route),
            &device,
            &Ip(hop.gateway),
            &route.priority,
            &protocol(route.protocol),
            &Ip(route.source),
            weight,
        ];
        out.put(&INFO, labels, 1);
        *counts.entry(hop.ifindex).or_default() += 1;
    }
    for (&ifindex, &n) in &*counts {
        if let Some(device) = name(ifindex) {
            out.put(&ROUTES, [&device], n);
        }
    }
}

/// An address as the value of a label; empty where the route has none.
struct Ip(Option<IpAddr>);

impl Label for Ip {
    fn append(&self, text: &mut String) {
        if let Some(ip) = self.0 {
            let _ = write!(text, "{}", ip.to_canonical()); // a String takes everything
        }
    }
}

/// A route's destination as the value of a label.
struct Destination<'a>(&'a Route);

impl Label for Destination<'_> {
    fn append(&self, text: &mut String) {
        if self.0.prefix_length == 0 {
            text.push_str("default");
        } else if let Some(ip) = self.0.destination {
            let _ = write!(text, "{ip}/{}", self.0.prefix_length);
        }
    }
}

/// `RTPROT_…` of include/uapi/linux/rtnetlink.h.
const fn protocol(protocol: u8) -> &'static str {
    match protocol {
        0 => "unspec",
        1 => "redirect",
        2 => "kernel",
        3 => "boot",
        4 => "static",
        8 => "gated",
        9 => "ra",
        10 => "mrt",
        11 => "zebra",
        12 => "bird",
        13 => "dnrouted",
        14 => "xorp",
        15 => "ntk",
        16 => "dhcp",
        17 => "mrouted",
        42 => "babel",
        186 => "bgp",
        187 => "isis",
        188 => "ospf",
        189 => "rip",
        192 => "eigrp",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{expect, exposed};

    #[test]
    fn each_next_hop_has_a_series() {
        let gateway = |ip: &str| Some(ip.parse().unwrap());
        let to = |ip: &str, prefix_length, protocol| Route {
            kind: RTN_UNICAST,
            protocol,
            destination: Some(ip.parse().unwrap()),
            prefix_length,
            ..Route::default()
        };
        let default = Route {
            kind: RTN_UNICAST,
            protocol: 16,
            source: gateway("192.0.2.7"),
            priority: 1024,
            ..Route::default()
        };
        let hop = |gateway, weight| Hop { ifindex: 0, gateway, weight };
        let routes = [
            (default, hop(gateway("192.0.2.1"), None)),
            (to("198.51.100.0", 24, 186), hop(gateway("192.0.2.2"), Some(1))),
            (to("198.51.100.0", 24, 186), hop(gateway("192.0.2.3"), Some(10))),
            (to("fe80::", 64, 2), hop(None, None)),
            (to("::ffff:10.1.2.0", 120, 3), hop(gateway("::ffff:10.0.0.1"), None)),
            (to("2001:db8::", 32, 99), hop(gateway("fe80::1"), None)),
            (to("203.0.113.0", 24, 2), Hop { ifindex: 9, ..Hop::default() }),
        ];
        // No link has the index 9: its interface is gone.
        let text = exposed(|out| put(&Links::new(), &routes, &mut HashMap::new(), out));
        expect![[r#"
            # HELP node_network_route_info network routing table information
            # TYPE node_network_route_info gauge
            node_network_route_info{dest="198.51.100.0/24",device="",gw="192.0.2.2",priority="0",proto="bgp",src="",weight="1"} 1
            node_network_route_info{dest="198.51.100.0/24",device="",gw="192.0.2.3",priority="0",proto="bgp",src="",weight="10"} 1
            node_network_route_info{dest="2001:db8::/32",device="",gw="fe80::1",priority="0",proto="unknown",src="",weight=""} 1
            node_network_route_info{dest="::ffff:10.1.2.0/120",device="",gw="10.0.0.1",priority="0",proto="boot",src="",weight=""} 1
            node_network_route_info{dest="default",device="",gw="192.0.2.1",priority="1024",proto="dhcp",src="192.0.2.7",weight=""} 1
            node_network_route_info{dest="fe80::/64",device="",gw="",priority="0",proto="kernel",src="",weight=""} 1
            # HELP node_network_routes network routes by interface
            # TYPE node_network_routes gauge
            node_network_routes{device=""} 6
        "#]]
        .assert_eq(&text);
    }
}
