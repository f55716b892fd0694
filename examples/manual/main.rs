//! Writes the manual pages into a directory: `cargo run --example manual DIR`.
//!
//! It is no part of the program, which would carry the pages and what makes them: packages have them as files.

use std::path::PathBuf;
use std::process::ExitCode;

mod pages;

#[allow(clippy::print_stderr, reason = "there is nobody else to say it")]
fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("manual: name the directory to write to");
        return ExitCode::from(2);
    };
    match pages::write_to(&directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("manual: {}: {error}", directory.display());
            ExitCode::FAILURE
        }
    }
}
