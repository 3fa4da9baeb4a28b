//! The registry. To add a collector, write its file and name it twice here.

mod arp;
mod loadavg;
mod netdev;
mod time;
mod uname;

use crate::collector::Spec;

/// Every collector, in alphabetical order.
pub static ALL: &[&Spec] = &[&arp::SPEC, &loadavg::SPEC, &netdev::SPEC, &time::SPEC, &uname::SPEC];
