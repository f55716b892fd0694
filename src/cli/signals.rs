//! The signals that end a mount or a service in order.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::failure::{Exit, Failure};

/// SIGTERM, SIGINT and SIGHUP, taken from their default of ending the process at once.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Takes the signals over. Needs a runtime.
    pub(super) fn new() -> Result<Signals, Failure> {
        let take = |kind| {
            signal(kind).map_err(|error| Failure::new(Exit::Failed, format!("signals cannot be heard: {error}")))
        };
        Ok(Signals {
            terminate: take(SignalKind::terminate())?,
            interrupt: take(SignalKind::interrupt())?,
            hang_up: take(SignalKind::hangup())?,
        })
    }

    /// Waits for the next of them.
    pub(super) async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}
