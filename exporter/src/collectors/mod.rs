//! The registry. To add a collector, write its file and name it twice here.

mod arp;
mod bcache;
mod bcachefs;
mod bonding;
mod btrfs;
mod buddyinfo;
mod cgroups;
mod conntrack;
mod cpu;
mod cpu_vulnerabilities;
mod cpufreq;
mod diskstats;
mod dmi;
mod dmmultipath;
mod drbd;
mod drm;
mod edac;
mod entropy;
mod ethtool;
mod fibrechannel;
mod filefd;
mod filesystem;
mod hwmon;
mod infiniband;
mod interrupts;
mod ipvs;
mod kernel_hung;
mod ksmd;
mod lnstat;
mod loadavg;
mod logind;
mod mdadm;
mod meminfo;
mod meminfo_numa;
mod mountstats;
mod neighbour;
mod netclass;
mod netdev;
mod netstat;
mod network_route;
mod nfs;
mod nfsd;
mod ntp;
mod nvme;
mod nvmesubsystem;
mod os;
mod pcidevice;
mod perf;
mod powersupplyclass;
mod pressure;
mod processes;
mod qdisc;
mod rapl;
mod runit;
mod schedstat;
mod selinux;
mod slabinfo;
mod sockstat;
mod softirqs;
mod softnet;
mod stat;
mod supervisord;
mod swap;
mod sysctl;
mod systemd;
mod tapestats;
mod tcpstat;
mod textfile;
mod thermal_zone;
mod time;
mod timex;
mod udp_queues;
mod uname;
mod vmstat;
mod watchdog;
mod wifi;
mod xfrm;
mod xfs;
mod zfs;
mod zoneinfo;

use crate::collector::Spec;

/// Every collector, in alphabetical order.
pub static ALL: &[&Spec] = &[
    &arp::SPEC,
    &bcache::SPEC,
    &bcachefs::SPEC,
    &bonding::SPEC,
    &btrfs::SPEC,
    &buddyinfo::SPEC,
    &cgroups::SPEC,
    &conntrack::SPEC,
    &cpu::SPEC,
    &cpu_vulnerabilities::SPEC,
    &cpufreq::SPEC,
    &diskstats::SPEC,
    &dmi::SPEC,
    &dmmultipath::SPEC,
    &drbd::SPEC,
    &drm::SPEC,
    &edac::SPEC,
    &entropy::SPEC,
    &ethtool::SPEC,
    &fibrechannel::SPEC,
    &filefd::SPEC,
    &filesystem::SPEC,
    &hwmon::SPEC,
    &infiniband::SPEC,
    &interrupts::SPEC,
    &ipvs::SPEC,
    &kernel_hung::SPEC,
    &ksmd::SPEC,
    &lnstat::SPEC,
    &loadavg::SPEC,
    &logind::SPEC,
    &mdadm::SPEC,
    &meminfo::SPEC,
    &meminfo_numa::SPEC,
    &mountstats::SPEC,
    &neighbour::SPEC,
    &netclass::SPEC,
    &netdev::SPEC,
    &netstat::SPEC,
    &network_route::SPEC,
    &nfs::SPEC,
    &nfsd::SPEC,
    &ntp::SPEC,
    &nvme::SPEC,
    &nvmesubsystem::SPEC,
    &os::SPEC,
    &pcidevice::SPEC,
    &perf::SPEC,
    &powersupplyclass::SPEC,
    &pressure::SPEC,
    &processes::SPEC,
    &qdisc::SPEC,
    &rapl::SPEC,
    &runit::SPEC,
    &schedstat::SPEC,
    &selinux::SPEC,
    &slabinfo::SPEC,
    &sockstat::SPEC,
    &softirqs::SPEC,
    &softnet::SPEC,
    &stat::SPEC,
    &supervisord::SPEC,
    &swap::SPEC,
    &sysctl::SPEC,
    &systemd::SPEC,
    &tapestats::SPEC,
    &tcpstat::SPEC,
    &textfile::SPEC,
    &thermal_zone::SPEC,
    &time::SPEC,
    &timex::SPEC,
    &udp_queues::SPEC,
    &uname::SPEC,
    &vmstat::SPEC,
    &watchdog::SPEC,
    &wifi::SPEC,
    &xfrm::SPEC,
    &xfs::SPEC,
    &zfs::SPEC,
    &zoneinfo::SPEC,
];
