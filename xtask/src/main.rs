//! Tasks of the project: `cargo xtask <task>`.

mod bench;
mod cgroup;
mod dashboards;
mod ebpf;
mod ended;
mod kept;
mod package;
mod soak;
mod sources;
mod targets;
mod vm;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["bench", "neighbours", options @ ..] => bench::neighbours::run(options),
        ["bench", "hold", kind, number] => bench::load::hold(kind, number),
        ["bench", options @ ..] => bench::run(options),
        ["dashboards", options @ ..] => dashboards::run(options),
        ["ebpf", options @ ..] => ebpf::run(options),
        ["package", options @ ..] => package::run(options),
        ["soak", options @ ..] => soak::run(options),
        ["targets", names @ ..] => targets::run(names),
        ["vm", options @ ..] => vm::run(options),
        _ => bail!(
            "tasks:\n  \
             bench           measure the exporter beside node_exporter\n  \
             bench neighbours  the cost of counting neighbours, by their number\n  \
             dashboards      hold the dashboards and alerts against a real Prometheus\n  \
             ebpf [--check]  build the programs that run in the kernel, or compare them\n  \
             package         make archives, packages and images of a release\n  \
             soak            scrape while interfaces, mounts and neighbours change\n  \
             targets [TARGET]…  type-check the exporter for other processors\n  \
             vm [KERNEL]…    test the exporter on other kernels, in QEMU"
        ),
    }
}
