//! The `cosmount` binary; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    cosmount::cli::main()
}
