//! `cosmount mount`: decide what to mount, then mount it here or in a daemon.

use std::ffi::OsString;

use clap::Parser;

use super::arguments::{Arguments, ByMount, Command, MountArguments};
use super::daemon::{self, Shown};
use super::failure::{Exit, Failure};
use super::logging::{self, Sink};
use super::rereading::Rereading;
use super::service_manager::ServiceManager;
use super::signals::Blocked;
use super::{control, mount_point, process_environment, runtime, search_path, session, terminal};
use crate::config::{MountConfig, MountRequest};

/// Mounts; `arguments` are those of the process, without its name.
///
/// In the foreground it returns when the mount is gone. Otherwise it returns once the daemon's mount answers, and `Err`
/// in the inner result is the code of a daemon that has said itself why it failed.
pub(super) fn run(mount: MountArguments, arguments: &[OsString]) -> Result<Result<(), Exit>, Failure> {
    if mount.by_mount == Some(ByMount::Fakes) {
        return Ok(Ok(()));
    }
    if let Some(read_only) = mount.remounts() {
        return mount_point::remount(&mount.mount_point, read_only).map(Ok);
    }
    if !mount.foreground && !mount.daemon {
        let shown = Shown { source: mount.source.as_deref(), mount_point: &mount.mount_point };
        return daemon::start(arguments, &shown);
    }
    let is_daemon = mount.daemon;
    let signals = Blocked::new(is_daemon)?;
    let mount = if is_daemon { from_parent()? } else { mount };
    let is_silent = mount.by_mount.is_some();
    let Decided { config, sink, rereading } = decide(mount.request(), is_daemon, is_silent)?;
    if is_daemon {
        daemon::detach().map_err(|error| Failure::new(Exit::Failed, format!("cannot become a daemon: {error}")))?;
    }
    let ready = || if is_daemon { daemon::tell_ready(sink.file()) } else { Ok(()) };
    let search_path = search_path();
    // Bytes of objects have a runtime of their own, so that names and attributes never wait for their turn behind them.
    let (requests, transfers) = (runtime()?, runtime()?);
    let (signals, transfer) = (signals.listen(), transfers.handle().clone());
    let manager = ServiceManager::of_process(is_daemon);
    let outcome = requests.block_on(session::run(config, &search_path, transfer, signals, rereading, manager, ready));
    logging::tell_left_out();
    // What still runs belongs to files that the mount has let go of; it must not keep the process.
    requests.shutdown_background();
    transfers.shutdown_background();
    outcome.map(Ok)
}

/// What the parent was started with; this process's own command line is made for people.
fn from_parent() -> Result<MountArguments, Failure> {
    let failed =
        |what: String| Failure::new(Exit::Failed, format!("the arguments of the mount cannot be read: {what}"));
    let arguments = daemon::arguments().map_err(|error| failed(error.to_string()))?;
    let typed = std::iter::once(OsString::from("cosmount")).chain(arguments);
    match Arguments::try_parse_from(typed).map_err(|error| failed(error.kind().to_string()))?.command {
        Command::Mount(mount) => Ok(*mount),
        _ => Err(failed("they are another command's".into())),
    }
}

/// A mount that is decided, with its log open.
struct Decided {
    config: MountConfig,
    sink: Sink,
    rereading: Rereading,
}

/// Decides the mount and starts the log. Where `is_silent`, nobody is told where that is.
fn decide(request: MountRequest, is_daemon: bool, is_silent: bool) -> Result<Decided, Failure> {
    let environment = process_environment();
    // A daemon leaves the directory that relative paths are meant from.
    let directory = std::env::current_dir().map_err(|error| {
        Failure::new(Exit::Usage, format!("the present directory cannot be used: {error}; go to another one"))
    })?;
    let request = MountRequest { directory, ..request };
    let config = MountConfig::build(request.clone(), &environment)?;
    let sink = match &config.log_file {
        Some(path) => Sink::File(path.clone()),
        None if !is_daemon => Sink::Terminal,
        None if logging::has_syslog() => Sink::Syslog,
        None => runtime_file(&config, is_silent)?,
    };
    logging::start(sink.clone(), config.log_level.as_ref(), config.log_format)?;
    for remark in &config.remarks {
        log::info!("{remark}");
    }
    for warning in &config.warnings {
        warn(&warning.sentence);
    }
    let log_file = sink.file().filter(|_| is_daemon).map(ToOwned::to_owned);
    let rereading = Rereading::new(request, environment, config.clone(), log_file);
    Ok(Decided { config, sink, rereading })
}

/// Says what whoever mounts should know, on the terminal and in the log.
pub(super) fn warn(warning: &str) {
    log::warn!("{warning}");
    if !logging::is_terminal() {
        terminal::warn(warning);
    }
}

/// A file for the log of a machine without syslog.
fn runtime_file(config: &MountConfig, is_silent: bool) -> Result<Sink, Failure> {
    let refused = |error| {
        let sentence = format!("there is no syslog here and no directory for a log: {error}; give --log-file FILE");
        Failure::new(Exit::Failed, sentence)
    };
    let directory = control::own_directory(&session::directories()).map_err(refused)?;
    control::remove_old_logs(&directory);
    let path = control::log_path(&directory, &config.mount_point);
    if !is_silent {
        daemon::tell_note(&format!("there is no syslog here: the log is {}", path.display()));
    }
    Ok(Sink::RuntimeFile(path))
}
