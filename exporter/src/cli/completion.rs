//! Completion of flags in bash and zsh.
//!
//! The scripts ask the program itself for the words, with the same flag as node_exporter's scripts,
//! which therefore work with this program as well.

use super::list::{entries, is_single};
use crate::flag::Form;
use std::fmt::Write as _;

/// All flags with their dashes, one a line.
pub(super) fn words() -> String {
    let mut words = String::new();
    for entry in entries() {
        let _ = writeln!(words, "--{}", entry.name);
        if entry.form == Form::Switch && !is_single(&entry.name) {
            let _ = writeln!(words, "--no-{}", entry.name);
        }
    }
    words
}

/// The script that makes bash complete the flags of `program`; other words are completed as files.
pub(super) fn bash(program: &str) -> String {
    let function = function(program);
    format!(
        r#"{function}() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} words
    COMPREPLY=()
    case $word in
    -*)
        words=$("${{COMP_WORDS[0]/#\~/$HOME}}" --completion-bash 2> /dev/null) || return
        COMPREPLY=($(compgen -W "$words" -- "$word"))
        ;;
    esac
}}
complete -o default -F {function} {program}
"#
    )
}

/// The script that makes zsh complete the flags of `program`, sourced or as a file in `$fpath`.
pub(super) fn zsh(program: &str) -> String {
    let function = function(program);
    format!(
        r#"#compdef {program}
{function}() {{
    if [[ $PREFIX == -* ]] && ! compset -P '*='; then
        compadd -- ${{(f)"$(${{~words[1]}} --completion-bash 2> /dev/null)"}}
    else
        _files
    fi
}}
if [[ ${{funcstack[1]}} == {function} ]]; then
    {function} "$@"
else
    (( $+functions[compdef] )) || {{ autoload -U compinit && compinit; }}
    compdef {function} {program}
fi
"#
    )
}

fn function(program: &str) -> String {
    format!("_{}", program.replace(|c: char| !c.is_ascii_alphanumeric(), "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_is_a_word() {
        let words = words();
        let mut words: Vec<&str> =
            words.lines().map(|word| word.trim_start_matches("--")).collect();
        let mut accepted = super::super::accepted();
        words.sort_unstable();
        accepted.sort_unstable();
        assert_eq!(words, accepted);
    }
}
