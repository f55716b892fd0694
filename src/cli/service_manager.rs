//! What systemd, or whoever else has started this process in its manner, is told of a mount: sd_notify(3).
//!
//! A mount in the foreground alone speaks: a daemon has inherited the socket from somebody whose process it is not. Nobody waits
//! for what is said here, and a manager that cannot be reached fails nothing.

use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;
use sd_notify::NotifyState;

/// Who has started this process and wants to hear of it, if anybody does.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServiceManager {
    listens: bool,
}

impl ServiceManager {
    /// The one that the environment of the process names.
    pub(super) fn of_process(is_daemon: bool) -> ServiceManager {
        ServiceManager { listens: !is_daemon && std::env::var_os("NOTIFY_SOCKET").is_some() }
    }

    /// The mount answers. From now on the manager is told so again as often as it wants to be, until it does not answer any more:
    /// `mount_point` is asked for its statistics, which it gives without the service.
    pub(super) fn ready(self, status: &str, mount_point: Option<PathBuf>) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(status)]);
        // A daemon's environment may have this, too, and mean somebody else.
        let Some(within) = sd_notify::watchdog_enabled().filter(|_| self.listens) else { return };
        // As sd_watchdog_enabled(3) advises.
        let every = within / 2;
        // A thread, because a mount that does not answer holds whoever asks it.
        std::thread::spawn(move || self.keep_telling(every, mount_point));
    }

    fn keep_telling(self, every: Duration, mount_point: Option<PathBuf>) {
        loop {
            match mount_point.as_ref().map(rustix::fs::statfs) {
                // Who may not look there cannot say that it is dead.
                None | Some(Ok(_) | Err(Errno::ACCESS | Errno::NOENT)) => self.tell(&[NotifyState::Watchdog]),
                Some(Err(error)) => log::error!("the mount does not answer: {error}"),
            }
            std::thread::sleep(every);
        }
    }

    /// The configuration is read again until [`ServiceManager::reloaded`].
    pub(super) fn reloading(self) {
        // Managers of today want to know when, too.
        let now = NotifyState::monotonic_usec_now();
        let states: Vec<NotifyState<'_>> = [NotifyState::Reloading].into_iter().chain(now).collect();
        self.tell(&states);
    }

    pub(super) fn reloaded(self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// The mount ends.
    pub(super) fn stopping(self) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status("publishing what is open")]);
    }

    /// What people are shown beside the state of the service.
    pub(super) fn status(self, status: &str) {
        self.tell(&[NotifyState::Status(status)]);
    }

    fn tell(self, states: &[NotifyState<'_>]) {
        if !self.listens {
            return;
        }
        if let Err(error) = sd_notify::notify(states) {
            log::debug!("the service manager is not told {states:?}: {error}");
        }
    }
}
