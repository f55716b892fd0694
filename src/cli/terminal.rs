//! The two streams that a command talks to people on. The only place in the program that prints.

use std::io::{self, Write};

use super::failure::Failure;
use crate::config::redacted;

/// Writes a line to standard output. A reader that has gone away is no reason to fail.
pub(super) fn tell(line: &str) {
    let _ = writeln!(io::stdout(), "{line}").and_then(|()| io::stdout().flush());
}

/// Writes why a command failed to standard error.
pub(super) fn tell_failure(failure: &Failure) {
    let _ = writeln!(io::stderr(), "cosmount: {}", redacted(&failure.sentence));
}

/// Writes to standard error what somebody should know who goes on.
pub(super) fn warn(sentence: &str) {
    let _ = writeln!(io::stderr(), "cosmount: warning: {}", redacted(sentence));
}

/// Writes clap's answer to a command line: help and version to standard output, errors to standard error.
pub(super) fn tell_usage(error: &clap::Error) {
    let text = error.render().to_string();
    let shown = redacted(&text);
    // A terminal that has gone away is no reason to fail. What holds a password is shown without it, and without colours.
    let _ = if shown == text { error.print() } else { write!(io::stderr(), "{shown}") };
}
