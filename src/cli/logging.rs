//! Where log lines go, which are written, and how many: the terminal, a file, or syslog for a daemon without a file.
//!
//! There is one log for the process. It can be opened anew and its level changed while everybody writes to it, lines about
//! failures are limited in rate, no line shows a password, and a panic is a line too.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use env_logger::{Builder, Logger, Target};
use log::{Level, LevelFilter, Log, Metadata, Record};

use super::failure::{Exit, Failure};
use super::log_limit::LogLimit;
use crate::config::{LogFormat, LogLevel, redacted};
use crate::object::time;

/// What is logged unless somebody says otherwise.
const LEVEL_DEFAULT: &str = "info";

/// Where syslog listens on every system that has one.
const SYSLOG_SOCKET: &str = "/dev/log";

/// The largest file in a runtime directory, in bytes, which may be memory. The one before it is kept beside it.
const RUNTIME_FILE_BYTES_MAX: u64 = 4 << 20;

/// How often it is told what was left out.
const LEFT_OUT_EVERY: Duration = Duration::from_secs(60);

/// Where log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sink {
    /// Standard error.
    Terminal,
    /// The end of a file.
    File(PathBuf),
    /// The end of a file in a runtime directory, which is kept small.
    RuntimeFile(PathBuf),
    /// syslog.
    Syslog,
}

impl Sink {
    /// The file, if it is one.
    pub(super) fn file(&self) -> Option<&Path> {
        match self {
            Sink::File(path) | Sink::RuntimeFile(path) => Some(path),
            Sink::Terminal | Sink::Syslog => None,
        }
    }
}

/// Whether somebody listens to syslog here; in containers nobody does.
pub(super) fn has_syslog() -> bool {
    connect_syslog().is_ok()
}

/// Whether log lines go to the terminal.
pub(super) fn is_terminal() -> bool {
    LOG.get().is_none_or(|log| log.sink == Sink::Terminal)
}

/// The log of this process.
struct ProcessLog {
    sink: Sink,
    format: LogFormat,
    /// What has been chosen, and what it is raised to for a while. Std lock, 9 in the order of locks: read by every line, held
    /// for a match.
    levels: RwLock<Levels>,
    /// Std lock, 9 in the order of locks: replaced when the log is opened anew.
    writer: RwLock<Logger>,
    /// Std mutex, 9 in the order of locks: a few map operations.
    limit: Mutex<LogLimit>,
}

struct Levels {
    filter: Logger,
    chosen: String,
    /// Until when everything of this program is written, and nothing left out.
    raised_until: Option<Instant>,
}

static LOG: OnceLock<ProcessLog> = OnceLock::new();

/// Starts the log. `level` goes before `RUST_LOG`.
pub(super) fn start(sink: Sink, level: Option<&LogLevel>, format: LogFormat) -> Result<(), Failure> {
    let chosen = chosen_filter(level);
    let writer = writer(&sink, format).map_err(|error| {
        let path = sink.file().unwrap_or(Path::new("")).display();
        Failure::new(Exit::Usage, format!("log file {path} cannot be written: {error}; name another with --log-file"))
    })?;
    let levels = Levels { filter: filter(&chosen), chosen, raised_until: None };
    let max_level = levels.filter.filter();
    let (levels, writer) = (RwLock::new(levels), RwLock::new(writer));
    let new = ProcessLog { sink, format, levels, writer, limit: Mutex::new(LogLimit::new(Instant::now())) };
    let is_first = LOG.set(new).is_ok();
    let set = LOG.get().filter(|_| is_first).map(|log| log::set_logger(log));
    if !matches!(set, Some(Ok(()))) {
        return Err(Failure::new(Exit::Failed, "the log cannot be started twice"));
    }
    log::set_max_level(max_level);
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("without a name");
        let trace = std::backtrace::Backtrace::capture();
        log::error!(target: "cosmount::panic", "thread {name} {panic}");
        if trace.status() == std::backtrace::BacktraceStatus::Captured {
            log::error!(target: "cosmount::panic", "{trace}");
        }
    }));
    // It stays for as long as the process and holds nothing.
    std::thread::spawn(|| {
        loop {
            std::thread::sleep(LEFT_OUT_EVERY);
            tell_left_out();
        }
    });
    Ok(())
}

/// Says what was left out so far. Called every minute and at the end.
pub(super) fn tell_left_out() {
    let Some(log) = LOG.get() else { return };
    if let Some(told) = log.limit.lock().unwrap_or_else(PoisonError::into_inner).take_left_out() {
        log.write(&Record::builder().level(Level::Warn).target("cosmount").args(format_args!("{told}")).build());
    }
    log.lower_when_over();
}

/// Opens the log anew, for those who have moved the file away, and takes a new level if there is one.
pub(super) fn reopen(level: Option<&LogLevel>) -> io::Result<()> {
    let Some(log) = LOG.get() else { return Ok(()) };
    log.set_level(chosen_filter(level));
    let writer = writer(&log.sink, log.format)?;
    *log.writer.write().unwrap_or_else(PoisonError::into_inner) = writer;
    Ok(())
}

/// Takes another level until the log is opened anew.
pub(super) fn set_level(level: &LogLevel) {
    if let Some(log) = LOG.get() {
        log.set_level(whole_filter(&level.0));
    }
}

/// Writes everything of this program for so long.
pub(super) fn raise(span: Duration) {
    let Some(log) = LOG.get() else { return };
    log.levels.write().unwrap_or_else(PoisonError::into_inner).raised_until = Some(Instant::now() + span);
    log::set_max_level(LevelFilter::Debug);
}

/// Writes lines that somebody has asked for just now, whatever the level is.
pub(super) fn write_always(line: &str) {
    match LOG.get() {
        Some(log) => {
            log.write(&Record::builder().level(Level::Info).target("cosmount").args(format_args!("{line}")).build());
        }
        None => log::info!("{line}"),
    }
}

impl ProcessLog {
    /// Writes without asking whether.
    fn write(&self, record: &Record<'_>) {
        let writer = self.writer.read().unwrap_or_else(PoisonError::into_inner);
        let text = record.args().to_string();
        let shown = redacted(&text);
        writer.log(
            &Record::builder().level(record.level()).target(record.target()).args(format_args!("{shown}")).build(),
        );
    }

    /// Whether the log has room for a line.
    fn admits(&self, record: &Record<'_>) -> bool {
        let site = (record.target().to_owned(), record.line().unwrap_or_default());
        let mut limit = self.limit.lock().unwrap_or_else(PoisonError::into_inner);
        match record.level() {
            Level::Error | Level::Warn => limit.admit(site, Instant::now()),
            Level::Info if comes_with_files(&site.0) => limit.admit_news(site, Instant::now()),
            _ => true,
        }
    }

    fn set_level(&self, chosen: String) {
        let mut levels = self.levels.write().unwrap_or_else(PoisonError::into_inner);
        if levels.chosen != chosen {
            (levels.filter, levels.chosen) = (filter(&chosen), chosen);
            log::set_max_level(levels.max_level());
        }
    }

    /// The end of a while in which more was written.
    fn lower_when_over(&self) {
        let mut levels = self.levels.write().unwrap_or_else(PoisonError::into_inner);
        if levels.raised_until.is_some_and(|until| until <= Instant::now()) {
            levels.raised_until = None;
            log::set_max_level(levels.max_level());
            drop(levels);
            write_always("the log has its usual level again");
        }
    }
}

impl Levels {
    fn is_raised(&self) -> bool {
        self.raised_until.is_some_and(|until| until > Instant::now())
    }

    fn max_level(&self) -> LevelFilter {
        let chosen = self.filter.filter();
        if self.is_raised() { chosen.max(LevelFilter::Debug) } else { chosen }
    }
}

impl Log for ProcessLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let levels = self.levels.read().unwrap_or_else(PoisonError::into_inner);
        levels.filter.enabled(metadata) || levels.is_raised() && is_own(metadata.target())
    }

    fn log(&self, record: &Record<'_>) {
        let follows_closely = {
            let levels = self.levels.read().unwrap_or_else(PoisonError::into_inner);
            let is_raised = levels.is_raised();
            let is_wanted = levels.filter.matches(record) || is_raised && is_own(record.target());
            if !is_wanted {
                return;
            }
            is_raised || levels.filter.filter() >= LevelFilter::Debug
        };
        // Who has asked for every detail gets it.
        if follows_closely || self.admits(record) {
            self.write(record);
        }
    }

    fn flush(&self) {}
}

/// Whether lines of this kind come with every file.
fn comes_with_files(target: &str) -> bool {
    ["cosmount::upload", "cosmount::store"].into_iter().any(|module| target.starts_with(module))
}

/// Whether a line is this program's own.
fn is_own(target: &str) -> bool {
    target == "cosmount" || target.starts_with("cosmount::")
}

/// The filter that somebody has chosen, in `RUST_LOG`'s language.
fn chosen_filter(level: Option<&LogLevel>) -> String {
    let from_environment = std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    let chosen = level.map(|level| level.0.clone()).or(from_environment);
    whole_filter(chosen.as_deref().unwrap_or(LEVEL_DEFAULT))
}

/// A level alone is about this program: of the libraries below it, warnings. fuser warns of every call that a file system
/// does not offer, and calls it an error when a reply comes too late for its caller; neither tells anybody anything.
fn whole_filter(chosen: &str) -> String {
    match chosen.trim().parse::<LevelFilter>() {
        Ok(LevelFilter::Off) => "off".to_owned(),
        Ok(LevelFilter::Error) => "error".to_owned(),
        Ok(level) => format!("warn,cosmount={level},fuser=error,fuser::reply=off").to_lowercase(),
        Err(_) => chosen.to_owned(),
    }
}

/// Decides which lines are written, and writes none.
fn filter(chosen: &str) -> Logger {
    Builder::new().parse_filters(chosen).target(Target::Pipe(Box::new(io::sink()))).build()
}

/// Writes every line that it is given.
fn writer(sink: &Sink, format: LogFormat) -> io::Result<Logger> {
    let mut builder = Builder::new();
    builder.filter_level(LevelFilter::Trace);
    if format == LogFormat::Json {
        builder.format(|line, record| writeln!(line, "{}", json_line(SystemTime::now(), record)));
    }
    match sink {
        Sink::Terminal => {}
        Sink::File(path) => {
            builder.target(Target::Pipe(Box::new(open_file(path)?)));
        }
        Sink::RuntimeFile(path) => {
            builder.target(Target::Pipe(Box::new(RuntimeFile::open(path)?)));
        }
        Sink::Syslog => {
            builder.target(Target::Pipe(Box::new(Syslog(connect_syslog().ok()))));
            let process_id = std::process::id();
            builder.format(move |line, record| {
                let text = match format {
                    LogFormat::Text => record.args().to_string(),
                    LogFormat::Json => json_line(SystemTime::now(), record),
                };
                write!(line, "<{}>cosmount[{process_id}]: {text}", priority(record.level()))
            });
        }
    }
    Ok(builder.build())
}

/// A line as a JSON object, without its end.
fn json_line(now: SystemTime, record: &Record<'_>) -> String {
    let level = record.level().as_str().to_lowercase();
    let line = serde_json::json!({
        "time": time::rfc3339(now),
        "level": level,
        "target": record.target(),
        "message": record.args().to_string(),
    });
    line.to_string()
}

/// Opens a log file at its end.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).open(path)
}

/// A file that is put aside when it has grown.
struct RuntimeFile {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl RuntimeFile {
    fn open(path: &Path) -> io::Result<RuntimeFile> {
        let file = open_file(path)?;
        let bytes = file.metadata()?.len();
        Ok(RuntimeFile { path: path.to_owned(), file, bytes })
    }
}

impl Write for RuntimeFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.bytes >= RUNTIME_FILE_BYTES_MAX {
            std::fs::rename(&self.path, self.path.with_extension("log.1"))?;
            *self = RuntimeFile::open(&self.path)?;
        }
        let written = self.file.write(line)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
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

fn connect_syslog() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(SYSLOG_SOCKET)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// One datagram for each line. A line that cannot be delivered is dropped: a log must not stop a file system.
struct Syslog(Option<UnixDatagram>);

impl Write for Syslog {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // A full queue drops the line; any other failure is of the connection.
        let may_stay = |error: io::Error| error.kind() == io::ErrorKind::WouldBlock;
        let is_sent = self.0.as_ref().is_some_and(|socket| socket.send(line).map_or_else(may_stay, |_| true));
        if !is_sent {
            // The one who listened was started anew, perhaps.
            self.0 = connect_syslog().ok();
            if let Some(socket) = &self.0 {
                let _ = socket.send(line);
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_alone_is_about_this_program() {
        let table = [
            ("info", "warn,cosmount=info,fuser=error,fuser::reply=off"),
            ("DEBUG", "warn,cosmount=debug,fuser=error,fuser::reply=off"),
            ("error", "error"),
            ("off", "off"),
            ("info,hyper=debug", "info,hyper=debug"),
        ];
        for (chosen, expected) in table {
            assert_eq!(whole_filter(chosen), expected, "{chosen}");
        }
        let enabled = |target: &str, level: Level| {
            filter(&whole_filter("debug")).enabled(&Metadata::builder().target(target).level(level).build())
        };
        assert!(enabled("cosmount::store::session", Level::Debug));
        assert!(!enabled("hyper_util::client", Level::Debug) && !enabled("fuser::session", Level::Info));
        assert!(enabled("fuser::session", Level::Error) && !enabled("fuser::reply", Level::Error));
        assert!(enabled("reqwest", Level::Warn));
    }

    #[test]
    fn a_line_of_json_is_one_object_whatever_it_says() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250);
        let record =
            |text| json_line(now, &Record::builder().level(Level::Warn).target("cosmount::x").args(text).build());
        let line = record(format_args!("a \"b\"\nc"));
        let expected =
            r#"{"level":"warn","message":"a \"b\"\nc","target":"cosmount::x","time":"2023-11-14T22:13:20.250Z"}"#;
        assert_eq!(line, expected);
    }

    #[test]
    fn a_log_in_a_runtime_directory_stays_small() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mnt.log");
        let mut file = RuntimeFile::open(&path).unwrap();
        let line = vec![b'x'; 1 << 20];
        for _ in 0..11 {
            file.write_all(&line).unwrap();
        }
        let mut sizes: Vec<_> = std::fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [3 << 20, 4 << 20]);
    }
}
