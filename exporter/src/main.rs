//! `bpf_node_exporter`: see README.md.

use exporter::cli::{self, Ask};
use std::{ffi::OsString, io::Write as _, process::ExitCode};

const NAME: &str = "bpf_node_exporter";

fn main() -> ExitCode {
    let asked = std::env::args_os().map(OsString::into_string).collect::<Result<Vec<_>, _>>();
    let asked = match asked {
        Ok(args) => {
            let mut args = args.into_iter();
            let path = args.next().unwrap_or_default();
            let program = path.rsplit('/').next().filter(|name| !name.is_empty());
            cli::parse(program.unwrap_or(NAME), args, |name| std::env::var(name).ok())
        }
        Err(arg) => Err(format!("the argument {} is not UTF-8", arg.display())),
    };
    match asked {
        Ok(Ask::Print(text)) => {
            let _ = std::io::stdout().write_all(text.as_bytes()); // a closed pipe is no failure
            ExitCode::SUCCESS
        }
        Ok(Ask::Serve(config)) => match exporter::daemon::run(&config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_logged) => ExitCode::FAILURE,
        },
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{NAME}: error: {error}");
            ExitCode::FAILURE
        }
    }
}
