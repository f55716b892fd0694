//! Where log lines go: the terminal, a file, or syslog for a daemon without a file.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use env_logger::{Builder, Target};
use log::Level;

use super::failure::{Exit, Failure};

/// What is logged unless somebody says otherwise: one line for each published object, and whatever needs a look. fuser
/// warns of every call that a file system does not offer, which tells nobody anything.
const LEVEL_DEFAULT: &str = "warn,cosmount=info,fuser=error";

/// Where syslog listens on every system that has one.
const SYSLOG_SOCKET: &str = "/dev/log";

/// Where log lines go.
pub(super) enum Sink<'a> {
    /// Standard error.
    Terminal,
    /// The end of a file.
    File(&'a Path),
    /// syslog; nowhere on a machine without one.
    Syslog,
}

/// Starts the log. `level` is a level or a filter as `RUST_LOG` has it, and goes before `RUST_LOG`.
pub(super) fn start(sink: Sink<'_>, level: Option<&str>) -> Result<(), Failure> {
    let mut builder = Builder::new();
    let from_environment = std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    builder.parse_filters(level.or(from_environment.as_deref()).unwrap_or(LEVEL_DEFAULT));
    match sink {
        Sink::Terminal => {}
        Sink::File(path) => {
            let file = File::options().append(true).create(true).open(path).map_err(|error| {
                Failure::new(Exit::Usage, format!("log file {} cannot be written: {error}", path.display()))
            })?;
            builder.target(Target::Pipe(Box::new(file)));
        }
        Sink::Syslog => {
            builder.target(Target::Pipe(Box::new(Syslog::connect())));
            let process_id = std::process::id();
            builder.format(move |line, record| {
                write!(line, "<{}>cosmount[{process_id}]: {}", priority(record.level()), record.args())
            });
        }
    }
    builder.try_init().map_err(|error| Failure::new(Exit::Failed, format!("the log cannot be started: {error}")))
}

/// syslog's number for a line of a daemon (RFC 3164 4.1.1): facility 3 and the severity.
fn priority(level: Level) -> u8 {
    const DAEMON: u8 = 3 << 3;
    DAEMON
        + match level {
            Level::Error => 3,
            Level::Warn => 4,
            Level::Info => 6,
            Level::Debug | Level::Trace => 7,
        }
}

/// One datagram for each line. A line that cannot be delivered is dropped: a log must not stop a file system.
struct Syslog(Option<UnixDatagram>);

impl Syslog {
    fn connect() -> Syslog {
        let connected = UnixDatagram::unbound().and_then(|socket| {
            socket.connect(SYSLOG_SOCKET)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        Syslog(connected.ok())
    }
}

impl Write for Syslog {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(socket) = &self.0 {
            let _ = socket.send(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
