//! The sentences about mistakes on the command line.

use super::command;
use clap::error::{ContextKind, ErrorKind};

/// Refuses mistakes that clap would not see, or not explain: flags with one dash, and switches with
/// a value.
pub(super) fn check(args: &[String]) -> Result<(), String> {
    let command = command();
    let is_switch = |name: &str| {
        command
            .get_arguments()
            .any(|arg| arg.get_long() == Some(name) && !arg.get_action().takes_values())
    };
    let known = |name: &str| command.get_arguments().any(|arg| arg.get_long() == Some(name));
    for (i, arg) in args.iter().enumerate().take_while(|(_, arg)| *arg != "--") {
        let Some(flag) = arg.strip_prefix("--") else {
            let name = arg.trim_start_matches('-').split('=').next().unwrap_or_default();
            if arg.starts_with('-') && arg != "-h" && known(name) {
                return Err(format!("unknown flag '{arg}': write -{arg}"));
            }
            let before = i.checked_sub(1).and_then(|i| args.get(i));
            let before = before.and_then(|before| before.strip_prefix("--"));
            if let (Some(name), Some(on)) = (before.filter(|name| is_switch(name)), truth(arg)) {
                return Err(takes_no_value(name, on));
            }
            continue;
        };
        if let Some((name, value)) = flag.split_once('=').filter(|(name, _)| is_switch(name)) {
            return Err(match truth(value) {
                Some(on) => takes_no_value(name, on),
                None => format!("flag '--{name}' takes no value: write --{name}"),
            });
        }
    }
    Ok(())
}

fn truth(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// The sentence about a switch with a value, with the switch to write instead.
fn takes_no_value(name: &str, on: bool) -> String {
    let (plain, on) = match name.strip_prefix("no-") {
        Some(plain) => (plain, !on),
        None => (name, on),
    };
    let no = if on { "" } else { "no-" };
    format!("flag '--{name}' takes no value: write --{no}{plain}")
}

/// clap's message in one line, with a hint how to write it instead.
pub(super) fn of(error: &clap::Error) -> String {
    let context = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
    let arg = context(ContextKind::InvalidArg);
    let name = arg.split([' ', '=']).next().unwrap_or_default();
    match error.kind() {
        ErrorKind::UnknownArgument if !arg.starts_with('-') => {
            format!("unexpected '{arg}': flags begin with two dashes; try --help")
        }
        ErrorKind::UnknownArgument => {
            let near = context(ContextKind::SuggestedArg);
            let near = if near.is_empty() { near } else { format!(", did you mean '{near}'?") };
            format!("unknown flag '{arg}'{near}; try --help")
        }
        ErrorKind::InvalidValue => format!("expected argument for flag '{name}', try --help"),
        ErrorKind::ArgumentConflict => {
            let other = context(ContextKind::PriorArg);
            let other = other.split([' ', '=']).next().unwrap_or_default();
            if other.is_empty() || other == name {
                format!("flag '{name}' cannot be repeated: give it once")
            } else {
                format!("flags '{name}' and '{other}' contradict each other: give one of them")
            }
        }
        _ => error.to_string().lines().next().unwrap_or_default().replace("error: ", ""),
    }
}
