//! The `cosmount` binary; everything is in the library.

use std::process::ExitCode;

/// It gives back what is freed, if it is asked to now and then (`cli/allocator.rs`): a mount that has known a million names is
/// small again once the kernel has forgotten them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cosmount::cli::main()
}
