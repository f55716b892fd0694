//! `cosmount completions`: what shells need to complete a command line.

use clap_complete::Shell;

use super::failure::Failure;
use super::{arguments, terminal};

/// Writes it to standard output.
pub(super) fn run(shell: Shell) -> Result<(), Failure> {
    terminal::tell(script(shell).trim_end());
    Ok(())
}

fn script(shell: Shell) -> String {
    let (mut command, mut script) = (arguments::command(), Vec::new());
    clap_complete::generate(shell, &mut command, "cosmount", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    // For bash the generator offers options, too, that help does not show.
    let hidden =
        command.get_subcommands().flat_map(clap::Command::get_arguments).filter(|argument| argument.is_hide_set());
    hidden.filter_map(clap::Arg::get_long).fold(script, |script, name| script.replace(&format!(" --{name} "), " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_is_told_of_every_command_and_of_no_option_that_is_not_shown() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell);
            for command in arguments::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
            }
            assert!(script.contains("part-size") && !script.contains(" --by-mount "), "{shell}");
        }
    }
}
