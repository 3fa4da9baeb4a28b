//! The command line: every [`Flag`] becomes an argument.

use crate::{
    collector::Spec,
    collectors::ALL,
    flag::{AnyFlag, Flag, Flags, Form, switch},
    host, log, scrape, upstream, web,
};
use clap::{Arg, ArgAction, ArgMatches, Command, error::ErrorKind, parser::ValueSource};
use std::fmt::Write as _;

const DISABLE_DEFAULTS: Flag<bool> =
    switch("collector.disable-defaults", false, "Set all collectors to disabled by default.");

/// All flags that belong to no collector, by module.
pub static GLOBAL: &[&[&dyn AnyFlag]] =
    &[host::FLAGS, host::bpf::FLAGS, &[&DISABLE_DEFAULTS], web::FLAGS, scrape::FLAGS, log::FLAGS];

/// What the command line asks for.
pub enum Ask {
    /// Print this and end with 0.
    Print(String),
    /// Serve.
    Serve(Config),
}

/// What to serve.
pub struct Config {
    /// All values.
    pub flags: Flags,
    /// The collectors to run, in alphabetical order.
    pub collectors: Vec<&'static Spec>,
    /// Collectors of node_exporter that are asked for and not built.
    pub missing: Vec<&'static str>,
}

/// Reads a command line without the program's name.
///
/// # Errors
/// A sentence that says what is wrong with which flag.
pub fn parse(
    args: impl IntoIterator<Item = String>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Ask, String> {
    let args = expand(args.into_iter().collect())?;
    let matches = match command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => return Err(sentence(&error)),
    };
    if matches.get_flag("help") {
        return Ok(Ask::Print(help()));
    }
    if matches.get_flag("version") {
        return Ok(Ask::Print(version()));
    }
    let mut flags = Flags::default();
    for flag in all() {
        let given = given(&matches, flag)
            .or_else(|| flag.environment().and_then(&variable).map(|text| vec![text]));
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
    let missing = upstream::COLLECTORS.iter().filter(|name| wanted(name, false)).copied().collect();
    web::check(&flags)?;
    Ok(Ask::Serve(Config { flags, collectors, missing }))
}

fn all() -> impl Iterator<Item = &'static dyn AnyFlag> {
    let own = ALL.iter().flat_map(|spec| spec.flags.iter());
    GLOBAL.iter().copied().flatten().chain(own).copied()
}

fn command() -> Command {
    let mut command = Command::new("bpf_node_exporter")
        .no_binary_name(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .arg(Arg::new("help").long("help").short('h').action(ArgAction::SetTrue))
        .arg(Arg::new("version").long("version").action(ArgAction::SetTrue));
    for flag in all() {
        command = add(command, flag.name(), flag.form());
    }
    for &(name, form) in upstream::FLAGS {
        command = add(command, name, form);
    }
    let names = ALL.iter().map(|spec| spec.name).chain(upstream::COLLECTORS.iter().copied());
    for name in names {
        command = add(command, &format!("collector.{name}"), Form::Switch);
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

/// Replaces `@file` by the file's lines, those that begin with `#` left out; `--` ends it.
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

/// The first paragraph of clap's message and its suggestion, in one line.
fn sentence(error: &clap::Error) -> String {
    use clap::error::ContextKind;
    let context = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
    let arg = context(ContextKind::InvalidArg);
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let near = context(ContextKind::SuggestedArg);
            let near = if near.is_empty() { near } else { format!(", did you mean '{near}'?") };
            format!("unknown flag '{arg}'{near}; try --help")
        }
        ErrorKind::InvalidValue => format!("expected argument for flag '{arg}', try --help"),
        ErrorKind::ArgumentConflict => {
            format!("flag '{arg}' cannot be repeated or given together with its opposite")
        }
        _ => error.to_string().lines().next().unwrap_or_default().replace("error: ", ""),
    }
}

fn version() -> String {
    format!(
        "bpf_node_exporter, version {} (drop-in for node_exporter 1.12)\n  platform: {}/{}\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}

/// The text of `--help`, at most 80 columns wide where words allow.
fn help() -> String {
    let mut text = "usage: bpf_node_exporter [<flags>]\n\nFlags:\n".to_owned();
    entry(&mut text, "-h, --help", "Show this help.");
    entry(&mut text, "    --version", "Show the version.");
    for flag in GLOBAL.iter().copied().flatten() {
        describe(&mut text, *flag);
    }
    for spec in ALL {
        let state = if spec.enabled { "enabled" } else { "disabled" };
        let title = format!("    --[no-]collector.{}", spec.name);
        entry(
            &mut text,
            &title,
            &format!("Enable the {} collector (default: {state}).", spec.name),
        );
        for flag in spec.flags {
            describe(&mut text, *flag);
        }
    }
    text
}

fn describe(text: &mut String, flag: &dyn AnyFlag) {
    if flag.is_hidden() {
        return;
    }
    let name = flag.name();
    let mut title = match flag.form() {
        Form::Switch => format!("    --[no-]{name}"),
        Form::Once => format!("    --{name}=…"),
        Form::Repeated => format!("    --{name}=… ..."),
    };
    if flag.form() != Form::Switch && !flag.default().is_empty() {
        title = format!("    --{name}={:?}", flag.default().join(" "));
    }
    let mut help = flag.help().to_owned();
    if flag.form() == Form::Switch {
        let _ = write!(help, " (default: {})", flag.default().join(" "));
    }
    if let Some(variable) = flag.environment() {
        let _ = write!(help, " (${variable})");
    }
    entry(text, &title, &help);
}

fn entry(text: &mut String, title: &str, help: &str) {
    const INDENT: usize = 33;
    const WIDTH: usize = 80;
    let _ = write!(text, "  {title}");
    let mut column = title.chars().count() + 2;
    if column + 2 > INDENT {
        text.push('\n');
        column = 0;
    }
    let mut first = true;
    for word in help.split_whitespace() {
        let len = word.chars().count();
        if !first && column + 1 + len > WIDTH {
            text.push('\n');
            column = 0;
            first = true;
        }
        if first {
            (column..INDENT).for_each(|_| text.push(' '));
            column = INDENT + len;
        } else {
            text.push(' ');
            column += 1 + len;
        }
        text.push_str(word);
        first = false;
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str]) -> Result<Config, String> {
        match parse(args.iter().map(ToString::to_string), |_| None)? {
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
        assert_eq!(run(&["--collector.wifi"]).unwrap().missing, ["wifi"]);
        assert!(run(&[]).unwrap().missing.is_empty());
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |args: &[&str]| run(args).err().unwrap();
        assert!(error(&["--collector.loadavgs"]).contains("'--collector.loadavgs', did you mean"));
        assert!(error(&["x"]).contains("unknown flag 'x'"));
        assert!(error(&["--log.level"]).contains("--log.level"));
        assert!(error(&["--log.level", "loud"]).starts_with("--log.level: it is one of"));
        assert!(error(&["--path.procfs=a", "--path.procfs=b"]).contains("--path.procfs"));
        assert!(error(&["--collector.loadavg", "--no-collector.loadavg"]).contains("loadavg"));
        assert!(error(&["--web.config.file=x"]).contains("--web.config.file"));
        assert!(error(&["@/nonexistent"]).contains("/nonexistent"));
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
        let threads = |args: &[&str]| {
            let args = args.iter().map(ToString::to_string);
            match parse(args, |name| (name == "GOMAXPROCS").then(|| "3".into())) {
                Ok(Ask::Serve(config)) => config.flags.get(&scrape::THREADS),
                _ => 0,
            }
        };
        assert_eq!(threads(&[]), 3);
        assert_eq!(threads(&["--runtime.gomaxprocs=2"]), 2);
    }

    #[test]
    fn help_names_every_flag_and_stays_narrow() {
        let text = help();
        for flag in all().filter(|flag| !flag.is_hidden()) {
            assert!(text.contains(flag.name()), "{}", flag.name());
        }
        assert!(
            text.lines()
                .filter(|line| line.starts_with("    ") && !line.trim_start().starts_with("--"))
                .all(|line| line.chars().count() <= 81)
        );
    }
}
