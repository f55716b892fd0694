//! The two streams that a command talks to people on. The only place in the program that prints.

use std::io::{self, Write};

use super::failure::Failure;

/// Writes a line to standard output. A reader that has gone away is no reason to fail.
pub(super) fn tell(line: &str) {
    let _ = writeln!(io::stdout(), "{line}").and_then(|()| io::stdout().flush());
}

/// Writes why a command failed to standard error.
pub(super) fn tell_failure(failure: &Failure) {
    let _ = writeln!(io::stderr(), "cosmount: {}", failure.sentence);
}

/// Writes to standard error what somebody should know who goes on.
pub(super) fn warn(sentence: &str) {
    let _ = writeln!(io::stderr(), "cosmount: warning: {sentence}");
}
