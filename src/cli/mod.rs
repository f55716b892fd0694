//! Commands, logging, daemon and exit codes: the outermost layer, and the only one that prints, exits or reads the
//! environment of the process.

mod allocator;
mod arguments;
mod cache;
mod completions;
mod control;
mod daemon;
mod diagnosis;
mod doctor;
mod failure;
mod fuse_access;
mod given_mount;
mod local_service;
mod log_level;
mod log_limit;
mod logging;
mod mount;
mod mount_point;
mod objects;
mod obstacles;
mod progress;
mod rereading;
mod restore;
mod serve;
mod service_manager;
mod session;
mod signals;
mod status;
mod sync;
mod terminal;
mod topic;
mod trace;
mod unmount;
mod uploads;
mod versions;
mod warm;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use tokio::runtime::Runtime;

use crate::config::{ConfigError, Environment};
use arguments::{Arguments, Command};
use failure::{Exit, Failure};

/// Runs the program with the arguments and the environment of this process.
pub fn main() -> ExitCode {
    // Without it a core would hold keys, and bytes of files. It fails on kernels that do not know it, and nothing depends on it.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let arguments = arguments::from_mount_helper(std::env::args_os().collect());
    let arguments = arguments::with_the_last_behind_dashes(arguments);
    if let Some(flag) = arguments::secret_flag(&arguments) {
        let (origin, name) = ("command line".to_owned(), flag.to_owned());
        let failure = Failure::from(ConfigError::SecretAsOption { origin, name });
        terminal::tell_failure(&failure);
        return failure.exit.into();
    }
    let parsed = match Arguments::read(&arguments, &terminal::Terminal::of_stdout()) {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help and version come this way too.
            terminal::tell_usage(&error);
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1));
        }
    };
    match run(parsed.command, &arguments) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(exit)) => exit.into(),
        Err(failure) => {
            terminal::tell_failure(&failure);
            failure.exit.into()
        }
    }
}

/// The commands and options of the program, for manual pages.
pub fn command() -> clap::Command {
    arguments::command()
}

/// `Err` in the inner result is a failure that somebody else has told.
fn run(command: Command, arguments: &[OsString]) -> Result<Result<(), Exit>, Failure> {
    let (program, arguments) = arguments
        .split_first()
        .map_or(("cosmount".into(), arguments), |(program, rest)| (program.to_string_lossy(), rest));
    match command {
        Command::Mount(mount) => mount::run(*mount, arguments),
        Command::Serve(serve) => serve::run(serve, &program).map(Ok),
        Command::Doctor(doctor) => doctor::run(&doctor),
        Command::Warm(warm) => warm::run(&warm).map(Ok),
        Command::Cache(cache) => cache::run(&cache.action).map(Ok),
        Command::Uploads(uploads) => uploads::run(&uploads.action).map(Ok),
        Command::Restore(restore) => restore::run(&restore).map(Ok),
        Command::Versions(versions) => versions::run(&versions).map(Ok),
        Command::Status(status) => status::run(&status).map(Ok),
        Command::Sync(sync) => sync::run(sync.path.as_deref()).map(Ok),
        Command::Trace(trace) => trace::run(&trace).map(Ok),
        Command::Log(log) => log_level::run(&log).map(Ok),
        Command::Completions(completions) => completions::run(completions.shell).map(Ok),
        Command::Unmount(unmount) => unmount::run(&unmount).map(Ok),
    }
}

/// The environment of this process; variables that are not text say nothing to us.
fn process_environment() -> Environment {
    let text = |text: OsString| text.into_string().ok();
    let home = home().and_then(|home| text(home.into())).map(|home| ("HOME".to_owned(), home));
    let variables = std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?)));
    Environment::new(home.into_iter().chain(variables))
}

/// The home of this user. mount(8) takes the variable, and the search path, from what an ordinary user lets it run; the home is
/// known all the same. What runs for the system without the variable has no home.
fn home() -> Option<PathBuf> {
    let user_id = rustix::process::geteuid();
    let known = || nix::unistd::User::from_uid(user_id.as_raw().into()).ok().flatten().map(|user| user.dir);
    let said = std::env::var_os("HOME").map(PathBuf::from);
    said.or_else(|| known().filter(|_| !user_id.is_root()))
}

/// Where programs are looked for.
fn search_path() -> String {
    std::env::var("PATH").unwrap_or_else(|_| SEARCH_PATH_DEFAULT.to_owned())
}

/// Where programs of the system are.
const SEARCH_PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";

/// What everything that waits for the network runs on.
fn runtime() -> Result<Runtime, Failure> {
    let built = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    built.map_err(|error| Failure::new(Exit::Failed, format!("threads cannot be started: {error}")))
}
