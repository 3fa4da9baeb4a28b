//! The command line: every [`Flag`] becomes an argument.

mod completion;
mod help;
mod list;
mod man;
mod sentence;

use crate::{
    collector::Spec,
    collectors::ALL,
    flag::{AnyFlag, Flag, Flags, Form, switch},
    host, log, scrape, web,
};
use clap::{Arg, ArgAction, ArgMatches, Command, parser::ValueSource};

const DISABLE_DEFAULTS: Flag<bool> =
    switch("collector.disable-defaults", false, "Set all collectors to disabled by default.");

/// All flags that belong to no collector, by module.
pub static GLOBAL: &[&[&dyn AnyFlag]] =
    &[host::FLAGS, host::bpf::FLAGS, &[&DISABLE_DEFAULTS], web::FLAGS, scrape::FLAGS, log::FLAGS];

/// The request of the command line.
pub enum Ask {
    /// Print this and end with 0.
    Print(String),
    /// Serve.
    Serve(Config),
}

/// The configuration of the server.
#[derive(Clone)]
pub struct Config {
    /// The values of all flags.
    pub flags: Flags,
    /// The collectors to run, in alphabetical order.
    pub collectors: Vec<&'static Spec>,
}

/// Reads a command line: the program's name and its arguments.
///
/// # Errors
/// A sentence that names the flag and the mistake.
pub fn parse(
    program: &str,
    args: impl IntoIterator<Item = String>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Ask, String> {
    let args: Vec<String> = args.into_iter().collect();
    if let Some(text) = printed(program, &args) {
        return Ok(Ask::Print(text));
    }
    let args = expand(args)?;
    if let Some(text) = printed(program, &args) {
        return Ok(Ask::Print(text));
    }
    sentence::check(&args)?;
    let matches = command().try_get_matches_from(args).map_err(|error| sentence::of(&error))?;
    let mut flags = Flags::default();
    for flag in all() {
        let variable = || flag.environment().and_then(&variable).filter(|text| !text.is_empty());
        let given = given(&matches, flag).or_else(|| variable().map(|text| vec![text]));
        if let Some(given) = given {
            flags.give(flag, given).map_err(|error| format!("--{}: {error}", flag.name()))?;
        }
    }
    let defaults = !flags.get(&DISABLE_DEFAULTS);
    let wanted = |name: &str, default: bool| {
        switched(&matches, &format!("collector.{name}")).unwrap_or(default && defaults)
    };
    let (collectors, off): (Vec<_>, Vec<_>) =
        ALL.iter().copied().partition(|spec| wanted(spec.name, spec.enabled));
    for spec in off {
        flags.turn_off(spec.name);
    }
    web::check(&flags)?;
    Ok(Ask::Serve(Config { flags, collectors }))
}

fn all() -> impl Iterator<Item = &'static dyn AnyFlag> {
    let own = ALL.iter().flat_map(|spec| spec.flags.iter());
    GLOBAL.iter().copied().flatten().chain(own).copied()
}

fn command() -> Command {
    let mut command = Command::new("bpf_node_exporter")
        .no_binary_name(true)
        .disable_help_flag(true)
        .disable_version_flag(true);
    for (name, _) in list::SINGLE {
        command = command.arg(Arg::new(name).long(name).action(ArgAction::SetTrue));
    }
    for flag in all() {
        command = add(command, flag.name(), flag.form());
    }
    for spec in ALL {
        command = add(command, &format!("collector.{}", spec.name), Form::Switch);
    }
    command
}

fn add(command: Command, name: &str, form: Form) -> Command {
    let arg = Arg::new(name.to_owned()).long(name.to_owned());
    match form {
        Form::Once => command.arg(arg.action(ArgAction::Set)),
        Form::Repeated => command.arg(arg.action(ArgAction::Append)),
        Form::Switch => {
            let no = format!("no-{name}");
            command
                .arg(arg.action(ArgAction::SetTrue).conflicts_with(no.clone()))
                .arg(Arg::new(no.clone()).long(no).action(ArgAction::SetTrue))
        }
    }
}

fn given(matches: &ArgMatches, flag: &dyn AnyFlag) -> Option<Vec<String>> {
    match flag.form() {
        Form::Switch => switched(matches, flag.name()).map(|on| vec![on.to_string()]),
        Form::Once | Form::Repeated => {
            matches.get_many::<String>(flag.name()).map(|values| values.cloned().collect())
        }
    }
}

fn switched(matches: &ArgMatches, name: &str) -> Option<bool> {
    let given = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
    if given(name) { Some(true) } else { given(&format!("no-{name}")).then_some(false) }
}

/// Replaces `@file` by the file's lines, except lines that begin with `#`; after `--`, nothing is
/// replaced.
fn expand(args: Vec<String>) -> Result<Vec<String>, String> {
    const MOST: usize = 100_000; // a file that names itself
    let (mut todo, mut done) = (args, Vec::new());
    todo.reverse();
    while let Some(arg) = todo.pop() {
        if arg == "--" {
            done.push(arg);
            done.extend(todo.into_iter().rev());
            return Ok(done);
        }
        match arg.strip_prefix('@') {
            Some(path) if done.len() + todo.len() < MOST => {
                #[expect(clippy::disallowed_methods, reason = "a file that the user names")]
                let text = std::fs::read_to_string(path).map_err(|e| format!("@{path}: {e}"))?;
                todo.extend(
                    text.lines().filter(|line| !line.starts_with('#')).rev().map(Into::into),
                );
            }
            Some(path) => return Err(format!("@{path}: too many arguments")),
            None => done.push(arg),
        }
    }
    Ok(done)
}

/// The text to print instead of serving, where a flag asks for one; all other arguments are then
/// ignored.
fn printed(program: &str, args: &[String]) -> Option<String> {
    let given = args.iter().take_while(|arg| *arg != "--");
    given
        .filter_map(|arg| if arg == "-h" { Some("help") } else { arg.strip_prefix("--") })
        .find_map(|flag| {
            Some(match flag {
                "help" | "help-long" => help::help(program),
                "help-man" => man::man(program),
                "version" => version(),
                "completion-bash" => completion::words(),
                "completion-script-bash" => completion::bash(program),
                "completion-script-zsh" | "completion-zsh" => completion::zsh(program),
                _ => return None,
            })
        })
}

fn version() -> String {
    format!(
        "bpf_node_exporter, version {} (drop-in for node_exporter 1.12)\n  platform: {}/{}\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}

/// The names of all flags that are accepted.
#[cfg(test)]
fn accepted() -> Vec<String> {
    command().get_arguments().filter_map(|arg| arg.get_long().map(ToOwned::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str]) -> Result<Config, String> {
        match parse("x", args.iter().map(ToString::to_string), |_| None)? {
            Ask::Serve(config) => Ok(config),
            Ask::Print(text) => Err(text),
        }
    }

    fn names(args: &[&str]) -> Vec<&'static str> {
        run(args).unwrap().collectors.iter().map(|spec| spec.name).collect()
    }

    #[test]
    fn collectors_are_switched() {
        assert!(names(&[]).contains(&"loadavg"));
        assert!(!names(&["--no-collector.loadavg"]).contains(&"loadavg"));
        assert_eq!(names(&["--collector.disable-defaults", "--collector.loadavg"]), ["loadavg"]);
    }

    #[test]
    fn mistakes_are_answered_with_a_sentence() {
        let error = |args: &[&str]| run(args).err().unwrap();
        assert!(error(&["--collector.loadavgs"]).contains("'--collector.loadavgs', did you mean"));
        assert!(error(&["--log.level", "loud"]).starts_with("--log.level: it is one of"));
        assert!(error(&["@/nonexistent"]).contains("/nonexistent"));
        for (args, said) in [
            (&["x"][..], "unexpected 'x': flags begin with two dashes; try --help"),
            (&["--log.level"], "expected argument for flag '--log.level', try --help"),
            (
                &["--path.procfs=a", "--path.procfs=b"],
                "flag '--path.procfs' cannot be repeated: give it once",
            ),
            (
                &["--collector.arp", "--collector.arp"],
                "flag '--collector.arp' cannot be repeated: give it once",
            ),
            (
                &["--collector.arp", "--no-collector.arp"],
                "flags '--collector.arp' and '--no-collector.arp' contradict each other: give one of them",
            ),
            (
                &["--collector.arp=false"],
                "flag '--collector.arp' takes no value: write --no-collector.arp",
            ),
            (
                &["--collector.arp", "false"],
                "flag '--collector.arp' takes no value: write --no-collector.arp",
            ),
            (
                &["--no-collector.arp=true"],
                "flag '--no-collector.arp' takes no value: write --no-collector.arp",
            ),
            (
                &["--no-collector.arp=0"],
                "flag '--no-collector.arp' takes no value: write --collector.arp",
            ),
            (
                &["--collector.arp=eth0"],
                "flag '--collector.arp' takes no value: write --collector.arp",
            ),
            (&["--help=x"], "flag '--help' takes no value: write --help"),
            (&["-collector.arp"], "unknown flag '-collector.arp': write --collector.arp"),
            (&["-path.procfs=/p"], "unknown flag '-path.procfs=/p': write --path.procfs=/p"),
            (
                &["--web.listen-address=9400"],
                "--web.listen-address=9400: a port is written behind a colon: :9400",
            ),
            (
                &["--web.telemetry-path=metrics"],
                "--web.telemetry-path=metrics: a path begins with a slash: write /metrics",
            ),
            (
                &["--collector.netdev.device-exclude=a**"],
                "--collector.netdev.device-exclude: invalid nested repetition operator: `**` at character 2 of the pattern `a**`",
            ),
        ] {
            assert_eq!(error(args), said);
        }
    }

    #[test]
    fn some_flags_print_and_ignore_all_others() {
        let printed = |args: &[&str]| run(args).err().unwrap();
        assert!(printed(&["--version"]).starts_with("bpf_node_exporter, version "));
        assert!(printed(&["--nonsense", "-h"]).starts_with("usage: x [<flags>]\n"));
        assert_eq!(printed(&["--help"]), printed(&["--help-long"]));
        assert!(printed(&["--help-man"]).starts_with(".TH x 1 "));
        assert!(printed(&["--completion-bash", "--col"]).contains("\n--no-collector.arp\n"));
        assert!(printed(&["--completion-script-bash"]).contains("\ncomplete -o default -F _x x\n"));
        assert!(printed(&["--completion-script-zsh"]).starts_with("#compdef x\n"));
        assert_eq!(printed(&["--completion-zsh"]), printed(&["--completion-script-zsh"]));
    }

    #[test]
    fn values_come_after_a_space_or_an_equals_sign_or_from_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("args");
        std::fs::write(&file, "# comment\n--path.procfs=/p\n--path.sysfs\n/s\n").unwrap();
        let config = run(&[&format!("@{}", file.display()), "--web.max-requests", "7"]).unwrap();
        let host = host::Host::new(&config.flags);
        assert_eq!(host.proc.root().to_str(), Some("/p"));
        assert_eq!(host.sys.root().to_str(), Some("/s"));
        assert_eq!(config.flags.get(&web::MAX_REQUESTS), 7);
    }

    #[test]
    fn the_environment_stands_in_for_a_flag() {
        let threads = |value: &str, args: &[&str]| {
            let args = args.iter().map(ToString::to_string);
            match parse("x", args, |name| (name == "GOMAXPROCS").then(|| value.into())) {
                Ok(Ask::Serve(config)) => Ok(config.flags.get(&scrape::THREADS)),
                Ok(Ask::Print(_)) => Ok(u64::MAX),
                Err(error) => Err(error),
            }
        };
        assert_eq!(threads("3", &[]), Ok(3));
        assert_eq!(threads("3", &["--runtime.gomaxprocs=2"]), Ok(2));
        // Go ignores these values; the engine takes 0 as 1.
        assert_eq!(
            [threads("", &[]), threads("1.5", &[]), threads("-1", &[])],
            [Ok(1), Ok(1), Ok(0)]
        );
        assert!(threads("x", &[]).is_err_and(|error| error.contains("gomaxprocs")));
    }
}
