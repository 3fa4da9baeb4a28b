//! `bpf_node_exporter`: see README.md.

use exporter::cli::{self, Ask};
use std::{io::Write as _, process::ExitCode};

fn main() -> ExitCode {
    let args = std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned());
    match cli::parse(args, |name| std::env::var(name).ok()) {
        Ok(Ask::Print(text)) => {
            let _ = std::io::stdout().write_all(text.as_bytes()); // a closed pipe is no failure
            ExitCode::SUCCESS
        }
        Ok(Ask::Serve(config)) => match exporter::daemon::run(&config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_logged) => ExitCode::FAILURE,
        },
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "bpf_node_exporter: error: {error}");
            ExitCode::FAILURE
        }
    }
}
