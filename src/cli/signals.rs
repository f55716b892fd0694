//! Signals: what each of them asks of a mount or a service. None of those that can be caught ends the process before
//! everything is published.
//!
//! They are blocked in every thread and read from a descriptor (signalfd(2)), so that nothing runs in a handler and no
//! default action remains. A fault of this program itself (SIGSEGV, SIGBUS, ...) ends it all the same: the kernel does not
//! let a thread go on that blocks what its own instruction raised. Only SIGKILL, SIGSTOP and the two that the C library
//! keeps for itself (32 and 33) cannot be taken over.

use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use tokio::sync::mpsc;

use super::failure::{Exit, Failure};
use super::logging;
use crate::config::LogLevel;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Publish what is open, and end.
    End,
    /// Open the log anew, and read again what may have changed.
    Reread,
    /// Write to the log what there is.
    ShowState,
    /// Log more for a while.
    RaiseLevel,
    /// Nothing.
    Nothing,
}

/// How long SIGUSR2 makes the log tell everything: long enough to try something out, short enough to forget.
pub(super) const RAISED_FOR: Duration = Duration::from_secs(300);

/// Those that stop and continue a process belong to the shell that it was started from. A window's size and a child's end
/// are nothing to anybody, and are left alone because programs that this one starts expect them.
const LEFT_ALONE: [Signal; 5] = [Signal::SIGCONT, Signal::SIGCHLD, Signal::SIGURG, Signal::SIGWINCH, Signal::SIGPIPE];

/// The terminal's way to stop a process; a daemon has no terminal.
const JOB_CONTROL: [Signal; 3] = [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU];

/// All signals, blocked and waiting for somebody to read them.
pub(super) struct Blocked(SignalFd);

impl Blocked {
    /// Takes all signals over. To be called before any other thread is there, because threads inherit it.
    pub(super) fn new(is_daemon: bool) -> Result<Blocked, Failure> {
        let failed = |error| Failure::new(Exit::Failed, format!("signals cannot be taken over: {error}"));
        let mut signals = SigSet::all();
        let stays = |signal: &Signal| !is_daemon || !JOB_CONTROL.contains(signal);
        for signal in LEFT_ALONE.into_iter().chain(JOB_CONTROL).filter(stays) {
            signals.remove(signal);
        }
        signals.thread_block().map_err(failed)?;
        SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC).map(Blocked).map_err(failed)
    }

    /// Begins to read them.
    pub(super) fn listen(self) -> Signals {
        let (heard, wishes) = mpsc::channel(WAITING_MAX);
        // A thread and not a task: it waits in a read, for as long as the process lives.
        std::thread::spawn(move || {
            loop {
                match self.0.read_signal() {
                    Ok(Some(signal)) if heard.blocking_send(wish_of(&signal)).is_ok() => {}
                    Ok(None) | Err(nix::errno::Errno::EINTR) => {}
                    Ok(Some(_)) => return,
                    Err(error) => return log::error!("signals cannot be read any more: {error}"),
                }
            }
        });
        Signals(wishes)
    }
}

/// Signals that were read and that nobody has had time for; more of them wait in the kernel.
const WAITING_MAX: usize = 16;

/// The signals of this process.
pub(super) struct Signals(mpsc::Receiver<Wish>);

impl Signals {
    /// Waits for the next one and gives what it asks for. Loses none if the waiting is given up.
    pub(super) async fn next(&mut self) -> Wish {
        match self.0.recv().await {
            Some(wish) => wish,
            None => std::future::pending().await,
        }
    }

    /// Waits until the process is asked to end.
    pub(super) async fn end(&mut self) {
        while self.next().await != Wish::End {}
    }

    /// The same for a service, which has logs that can be moved away and nothing else to tell. Its own keeps the level that
    /// it was started with.
    pub(super) async fn end_minding_the_logs(
        &mut self,
        level: Option<&LogLevel>,
        reopen_other: impl Fn() -> std::io::Result<()>,
    ) {
        loop {
            match self.next().await {
                Wish::End => return,
                Wish::Reread => {
                    if let Err(error) = logging::reopen(level).and_then(|()| reopen_other()) {
                        log::error!("a log could not be opened anew and goes on where it was: {error}");
                    }
                }
                Wish::RaiseLevel => logging::raise(RAISED_FOR),
                Wish::ShowState | Wish::Nothing => {}
            }
        }
    }
}

fn wish_of(signal: &siginfo) -> Wish {
    let number = i32::try_from(signal.ssi_signo).unwrap_or_default();
    let wish = wish(number);
    let (name, sender) = (name(number), signal.ssi_pid);
    match wish {
        Wish::Nothing => log::info!("{name} from process {sender} means nothing here and is ignored"),
        _ => log::info!("{name} from process {sender}"),
    }
    wish
}

fn name(number: i32) -> String {
    Signal::try_from(number).map_or_else(|_| format!("signal {number}"), |signal| signal.as_str().to_owned())
}

fn wish(number: i32) -> Wish {
    let Ok(signal) = Signal::try_from(number) else {
        // Real-time signals, which are what programs agree on between them; nobody has agreed on any with this one.
        return Wish::Nothing;
    };
    match signal {
        Signal::SIGHUP => Wish::Reread,
        Signal::SIGUSR1 => Wish::ShowState,
        Signal::SIGUSR2 => Wish::RaiseLevel,
        Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT => Wish::End,
        // A watchdog's way to end a program, and what somebody sends who wants to see it crash.
        Signal::SIGABRT
        | Signal::SIGSEGV
        | Signal::SIGBUS
        | Signal::SIGILL
        | Signal::SIGFPE
        | Signal::SIGTRAP
        | Signal::SIGSYS => Wish::End,
        // Power fails, or the kernel is about to kill for time that was spent: now or never.
        Signal::SIGPWR | Signal::SIGXCPU => Wish::End,
        // Timers and input that this program has not asked for; a file that may not grow, which its write tells.
        Signal::SIGALRM | Signal::SIGVTALRM | Signal::SIGPROF | Signal::SIGIO | Signal::SIGXFSZ | Signal::SIGSTKFLT => {
            Wish::Nothing
        }
        _ => Wish::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_that_can_be_caught_ends_in_order_or_does_nothing() {
        for signal in Signal::iterator() {
            let expected = match signal {
                Signal::SIGHUP => Wish::Reread,
                Signal::SIGUSR1 => Wish::ShowState,
                Signal::SIGUSR2 => Wish::RaiseLevel,
                Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT | Signal::SIGABRT | Signal::SIGPWR => Wish::End,
                Signal::SIGXCPU | Signal::SIGTRAP | Signal::SIGSYS => Wish::End,
                Signal::SIGSEGV | Signal::SIGBUS | Signal::SIGILL | Signal::SIGFPE => Wish::End,
                _ => Wish::Nothing,
            };
            assert_eq!(wish(signal as i32), expected, "{signal}");
        }
        assert_eq!((wish(34), wish(64)), (Wish::Nothing, Wish::Nothing));
        assert_eq!((name(1), name(40)), ("SIGHUP".to_owned(), "signal 40".to_owned()));
    }
}
