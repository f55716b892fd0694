//! What SIGHUP lets a running mount read again: its log, its level, its credentials, how many requests and bytes there may be,
//! and how long its end may take.
//!
//! Everything else is part of the mount as it was made. What was changed of it is named in the log, and holds for the next
//! mount.

use std::path::PathBuf;
use std::sync::Arc;

use super::{daemon, logging};
use crate::config::{Environment, MountConfig, MountRequest, Service};
use crate::store::{HttpStore, Throttle};

/// Settings that a running mount follows.
const FOLLOWED: [&str; 8] = [
    "log_level",
    "secret_id",
    "credentials_file",
    "cam_role",
    "unmount_timeout",
    "requests_per_second",
    "bandwidth_up",
    "bandwidth_down",
];

/// What a mount was decided by, to decide it again.
pub(super) struct Rereading {
    request: MountRequest,
    environment: Environment,
    config: MountConfig,
    /// The log file that a daemon's standard error goes to as well.
    log_file: Option<PathBuf>,
}

impl Rereading {
    pub(super) fn new(
        request: MountRequest,
        environment: Environment,
        config: MountConfig,
        log_file: Option<PathBuf>,
    ) -> Rereading {
        Rereading { request, environment, config, log_file }
    }

    /// How long the end of the mount may take, as said last.
    pub(super) fn unmount_timeout(&self) -> std::time::Duration {
        self.config.unmount_timeout
    }

    /// Opens the log anew and takes over what can be changed. A configuration that is wrong changes nothing.
    pub(super) fn reread(&mut self, store: &Arc<HttpStore>, throttle: &Throttle) {
        let read = MountConfig::build(self.request.clone(), &self.environment);
        let level = read.as_ref().map_or_else(|_| self.config.log_level.clone(), |config| config.log_level.clone());
        match logging::reopen(level.as_ref()) {
            Ok(()) => log::info!("the log is open anew"),
            Err(error) => log::error!("the log could not be opened anew and goes on where it was: {error}"),
        }
        if self.log_file.is_some()
            && let Err(error) = daemon::keep_standard_error(self.log_file.as_deref())
        {
            log::warn!("standard error still goes to the old log: {error}");
        }
        match read {
            Ok(config) => {
                throttle.set(config.rates);
                self.take_over(config, store);
            }
            Err(error) => log::error!("the configuration is as it was, because it could not be read again: {error}"),
        }
    }

    fn take_over(&mut self, config: MountConfig, store: &Arc<HttpStore>) {
        if let (Service::Remote { keys, .. }, Service::Remote { keys: before, .. }) =
            (&config.service, &self.config.service)
        {
            match keys.provider(&self.config.network) {
                Ok(provider) if keys != before => store.credentials().replace_provider(provider),
                Ok(_) => store.credentials().renew_soon(),
                Err(error) => log::error!("keys come from where they came before: {error}"),
            }
        }
        let changed = config.settings.differences(&self.config.settings);
        let later: Vec<&str> = changed.into_iter().filter(|name| !FOLLOWED.contains(name)).collect();
        if !later.is_empty() {
            log::warn!("changed, and followed by the next mount alone: {}", later.join(", "));
        }
        self.config = config;
    }
}
