//! The end of the control socket that commands have.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::places::{self, Places};
use super::protocol::{Answer, Ask, Request};
use crate::cli::failure::{Exit, Failure};
use crate::cli::mount_point::MountEntry;
use crate::cli::session;

/// How long a daemon may take to answer at all: it only has to read a line.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A question to the daemon of a mount, and its answers.
pub(in crate::cli) struct Conversation {
    daemon: BufReader<UnixStream>,
    /// What it is about, for errors.
    subject: String,
}

impl Conversation {
    /// Asks. `subject` is the mount, for errors.
    pub(in crate::cli) fn begin(daemon: UnixStream, subject: &str, ask: &Ask) -> Result<Conversation, Failure> {
        let mut conversation = Conversation { daemon: BufReader::new(daemon), subject: subject.to_owned() };
        conversation.wait_for(ANSWER_TIMEOUT)?;
        let written = conversation.daemon.get_mut().write_all(Request::line(ask).as_bytes());
        written.map_err(|error| conversation.broken(&error))?;
        Ok(conversation)
    }

    /// How long the next answer may take from now on.
    pub(in crate::cli) fn wait_for(&self, longest: Duration) -> Result<(), Failure> {
        self.daemon.get_ref().set_read_timeout(Some(longest)).map_err(|error| self.broken(&error))
    }

    /// Ends the conversation, and with it the command, when somebody presses Ctrl-C or asks the process to end: what is drawn is
    /// left in order, and nothing has failed.
    pub(in crate::cli) fn hang_up_on_interrupt(&self) -> Result<(), Failure> {
        let connection = self.daemon.get_ref().try_clone().map_err(|error| self.broken(&error))?;
        let failed =
            |error: std::io::Error| Failure::new(Exit::Failed, format!("signals cannot be listened to: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
        // From here on and not from when the thread runs: somebody may be quick.
        let (mut interrupts, mut ends) = {
            let _runtime = runtime.enter();
            (signal(SignalKind::interrupt()).map_err(failed)?, signal(SignalKind::terminate()).map_err(failed)?)
        };
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupts.recv() => {}
                    _ = ends.recv() => {}
                }
            });
            let _ = connection.shutdown(Shutdown::Both);
        });
        Ok(())
    }

    /// The next answer; `None` when the daemon has said all, or has ended.
    pub(in crate::cli) fn next(&mut self) -> Result<Option<Answer>, Failure> {
        loop {
            let mut line = String::new();
            match self.daemon.read_line(&mut line) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(self.broken(&error)),
            }
            match Answer::read(&line) {
                Some(Answer::Refused { why }) => {
                    return Err(Failure::new(Exit::Failed, format!("the mount on {}: {why}", self.subject)));
                }
                Some(answer) => return Ok(Some(answer)),
                // Of a later version.
                None => {}
            }
        }
    }

    fn broken(&self, error: &io::Error) -> Failure {
        let shown = &self.subject;
        let sentence = match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                format!(
                    "the daemon of {shown} does not answer in time: its log says why; umount -l {shown} gives it up"
                )
            }
            _ => format!("the daemon of {shown} cannot be heard: {error}; look into its log"),
        };
        Failure::new(Exit::Failed, sentence)
    }
}

/// The daemon of a mount: this user's, or for root that of the user who mounted it.
pub(in crate::cli) fn daemon_of(mount_point: &Path, entry: Option<&MountEntry>) -> Option<UnixStream> {
    let user_id = rustix::process::geteuid().as_raw();
    let mut places = vec![(user_id, session::directories())];
    if let Some(owner) = entry.and_then(|entry| entry.user_id).filter(|owner| *owner != user_id) {
        let known = nix::unistd::User::from_uid(owner.into()).ok().flatten();
        let home = known.map(|user| user.dir);
        places.push((owner, places::directories(owner, &Places { home, ..Places::default() })));
    }
    places.into_iter().find_map(|(owner, directories)| {
        directories
            .into_iter()
            .filter(|directory| places::belongs_to(directory, owner))
            .find_map(|directory| UnixStream::connect(places::socket_path(&directory, mount_point)).ok())
    })
}

/// The daemons of all mounts of this user that live, each with the path of its socket.
pub(in crate::cli) fn daemons() -> Vec<(PathBuf, UnixStream)> {
    let user_id = rustix::process::geteuid().as_raw();
    let own = session::directories().into_iter().filter(|directory| places::belongs_to(directory, user_id));
    let entries = own.flat_map(|directory| std::fs::read_dir(directory).into_iter().flatten().flatten());
    let mut sockets: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    sockets.retain(|path| path.extension().is_some_and(|extension| extension == "sock"));
    sockets.sort();
    sockets.into_iter().filter_map(|path| UnixStream::connect(&path).ok().map(|daemon| (path, daemon))).collect()
}
