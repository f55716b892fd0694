//! `cosmount mount`: decide what to mount, then mount it here or in a daemon.

use std::ffi::OsString;

use super::arguments::MountArguments;
use super::failure::{Exit, Failure};
use super::logging::{self, Sink};
use super::{daemon, process_environment, runtime, session};
use crate::config::{MountConfig, MountRequest, Service};

/// Mounts; `arguments` are those of the process, without its name.
///
/// In the foreground it returns when the mount is gone. Otherwise it returns once the daemon's mount answers, and `Err`
/// in the inner result is the code of a daemon that has said itself why it failed.
pub(super) fn run(mount: MountArguments, arguments: &[OsString]) -> Result<Result<(), Exit>, Failure> {
    if !mount.foreground && !mount.daemon {
        return daemon::start(arguments);
    }
    let is_daemon = mount.daemon;
    let config = decide(mount.request(), is_daemon)?;
    if is_daemon {
        daemon::detach().map_err(|error| Failure::new(Exit::Failed, format!("cannot become a daemon: {error}")))?;
    }
    let log_file = config.log_file.clone();
    let ready = || if is_daemon { daemon::tell_ready(log_file.as_deref()) } else { Ok(()) };
    let search_path = std::env::var("PATH").unwrap_or_default();
    // Bytes of objects have a runtime of their own, so that names and attributes never wait for their turn behind them.
    let (requests, transfers) = (runtime()?, runtime()?);
    let outcome = requests.block_on(session::run(config, &search_path, transfers.handle().clone(), ready));
    // What still runs belongs to files that the mount has let go of; it must not keep the process.
    requests.shutdown_background();
    transfers.shutdown_background();
    outcome.map(Ok)
}

/// Decides the mount and starts the log.
fn decide(request: MountRequest, is_daemon: bool) -> Result<MountConfig, Failure> {
    let environment = process_environment();
    let mut config = MountConfig::build(request, &environment)?;
    // A daemon leaves the directory that relative paths are meant from.
    let local = match &mut config.service {
        Service::Local { directory, .. } => Some(directory),
        Service::Remote { .. } => None,
    };
    for path in [Some(&mut config.mount_point), config.log_file.as_mut(), local].into_iter().flatten() {
        *path = std::path::absolute(&path).map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    }
    let sink = match &config.log_file {
        Some(path) => Sink::File(path),
        None if is_daemon => Sink::Syslog,
        None => Sink::Terminal,
    };
    logging::start(sink, config.log_level.as_deref())?;
    for remark in &config.remarks {
        log::info!("{remark}");
    }
    Ok(config)
}
