//! Tasks of the project: `cargo xtask <task>`.

mod bench;
mod ebpf;
mod sources;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["bench", options @ ..] => bench::run(options),
        ["ebpf", options @ ..] => ebpf::run(options),
        _ => bail!(
            "tasks:\n  \
             bench           measure the exporter beside node_exporter\n  \
             ebpf [--check]  build the programs that run in the kernel, or compare them"
        ),
    }
}
