//! The daemon's end of the control socket.
//!
//! Whoever asks has a task of his own. One that does not read, or does not ask, ends by itself, and nobody waits for it. All of
//! them have a thread of their own: one that does little is run at once when it has something to do, however busy those are that
//! move bytes.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use rustix::process::setpriority_process;
use rustix::thread::gettid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout};

use super::protocol::{Answer, Ask, Request, Sieve, TraceFilter};
use crate::cli::logging;
use crate::cli::session::Left;
use crate::config::LogLevel;
use crate::fs::FsState;
use crate::monitor::{Observer, SocketFile};
use crate::stats::{Event, Listener};

/// How long somebody who connects may take to ask.
const ASKING_TIMEOUT: Duration = Duration::from_secs(5);

/// How long somebody may take to read what he asked for, when the socket is full.
const READING_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait after a connection that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// The longest line that is listened to, in bytes: a path has 4 KiB at most, and each of its bytes may be escaped.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// People who wait for an unmount at the same time; more of them wait in the socket's queue.
const ASKERS_MAX: usize = 16;

/// Connections at the same time; more of them wait in the socket's queue.
const CONNECTIONS_MAX: usize = 256;

/// The shortest span between two documents for one who watches.
const STATUS_EVERY_MIN: Duration = Duration::from_millis(100);

/// How often somebody who waits is told what for.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Where its thread stands among the mount's threads when all of them want a core, as `nice` has it.
const NICENESS: i32 = -15;

/// Events that are written at once, at most.
const EVENTS_AT_ONCE_MAX: usize = 4096;

/// How long events are gathered before they are written: nobody sees it, and to wake a reader for each would cost more than all
/// else.
const GATHER_FOR: Duration = Duration::from_millis(50);

/// An event, or how many were lost.
type Heard = Result<Arc<Event>, u64>;

/// Somebody who asked to unmount and waits for answers.
pub(in crate::cli) struct Asker(UnixStream);

/// The socket, removed when dropped unless the next mount has put its own there.
pub(in crate::cli) struct ControlListener {
    askers: mpsc::Receiver<Asker>,
    _thread: ControlThread,
    _file: SocketFile,
}

/// What conversations run on. It is let go of when dropped, wherever that is.
struct ControlThread(Option<Runtime>);

/// What a connection needs.
#[derive(Clone)]
struct Host {
    observer: Arc<Observer>,
    /// How long the end of the mount may take.
    deadline: Duration,
    unmounts: mpsc::Sender<Asker>,
    /// Where files are published.
    work: Handle,
}

impl ControlThread {
    fn start() -> io::Result<ControlThread> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("control").enable_all().on_thread_start(go_before_others);
        builder.build().map(Some).map(ControlThread)
    }
}

/// What this thread does is little, and somebody waits for it: it is run before the mount's other threads where the mount may
/// ask for that, which root may.
fn go_before_others() {
    let _ = setpriority_process(Some(gettid()), NICENESS);
}

impl Drop for ControlThread {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl ControlListener {
    /// Listens at `path`, where nothing may be, on a thread of its own. Whoever asks to unmount is told `deadline` at once. What is
    /// published is published by the runtime that this is called on.
    pub(in crate::cli) fn bind(
        path: PathBuf,
        deadline: Duration,
        observer: Arc<Observer>,
    ) -> io::Result<ControlListener> {
        let thread = ControlThread::start()?;
        let (unmounts, askers) = mpsc::channel(ASKERS_MAX);
        let host = Host { observer, deadline, unmounts, work: Handle::current() };
        if let Some(runtime) = &thread.0 {
            let _on_it = runtime.enter();
            runtime.spawn(accept(UnixListener::bind(&path)?, host));
        }
        Ok(ControlListener { askers, _thread: thread, _file: SocketFile::at(path) })
    }

    /// The next one who asks to unmount.
    pub(in crate::cli) async fn asked(&mut self) -> Asker {
        match self.askers.recv().await {
            Some(asker) => asker,
            // Nobody listens any more.
            None => std::future::pending().await,
        }
    }

    /// Those who asked meanwhile.
    pub(in crate::cli) fn others(&mut self) -> Vec<Asker> {
        std::iter::from_fn(|| self.askers.try_recv().ok()).collect()
    }
}

impl Asker {
    /// Tells what is waited for.
    pub(in crate::cli) async fn tell_progress(&mut self, state: &FsState) {
        let _ = say(&mut self.0, &progress(state, "").line()).await;
    }

    /// Tells what is left. Somebody who has gone away misses it.
    pub(in crate::cli) async fn tell(&mut self, left: &Left) {
        let unpublished = left.unpublished.iter().cloned().map(|what| Answer::Unpublished { what });
        let uploads = left.uploads.iter().cloned().map(|what| Answer::Upload { what });
        let cut_off = left.cut_off.iter().cloned().map(|path| Answer::CutOff { path });
        let attached = left.attached.iter().cloned().map(|why| Answer::Attached { why });
        let lines = unpublished.chain(uploads).chain(cut_off).chain(attached).chain([Answer::Done]);
        let text: String = lines.map(|answer| answer.line()).collect();
        let _ = say(&mut self.0, &text).await;
    }

    /// Keeps the connection open until the kernel closes it, which it does when this process has ended: that is what
    /// the one who asked waits for.
    pub(in crate::cli) fn hold_until_exit(self) {
        std::mem::forget(self);
    }
}

async fn accept(listener: UnixListener, host: Host) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while !host.unmounts.is_closed() {
        // The semaphore is never closed.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            // Out of descriptors, for example: who asks waits in the socket's queue.
            Err(error) => {
                log::warn!("nobody can ask this mount anything right now: {error}");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let host = host.clone();
        tokio::spawn(async move {
            // Who goes away in the middle has heard enough.
            let _ = host.converse(stream).await;
            drop(place);
        });
    }
}

impl Host {
    /// Answers one who asks.
    async fn converse(&self, mut stream: UnixStream) -> io::Result<()> {
        let mut line = String::new();
        let (reader, _) = stream.split();
        timeout(ASKING_TIMEOUT, BufReader::new(reader.take(LINE_BYTES_MAX)).read_line(&mut line)).await??;
        match Request::read(&line) {
            Ok(Ask::Status { every_ms }) => self.show_status(stream, every_ms.map(Duration::from_millis)).await,
            Ok(Ask::Trace(filter)) => self.show_events(stream, filter).await,
            Ok(Ask::Sync { path }) => self.sync(stream, path).await,
            Ok(Ask::Log { level }) => say(&mut stream, &log_at(&level).line()).await,
            Ok(Ask::Unmount) => {
                say(&mut stream, &Answer::Within { seconds: self.deadline.as_secs() + 1 }.line()).await?;
                // There is nobody to ask any more when the mount ends already; the connection ends with it.
                let _ = self.unmounts.send(Asker(stream)).await;
                Ok(())
            }
            Err(why) => say(&mut stream, &Answer::Refused { why }.line()).await,
        }
    }

    async fn show_status(&self, mut stream: UnixStream, every: Option<Duration>) -> io::Result<()> {
        loop {
            let answer = Answer::Status { status: Box::new(self.observer.status()) };
            say(&mut stream, &answer.line()).await?;
            match every {
                // Who has gone is noticed by the next line.
                Some(every) => sleep(every.max(STATUS_EVERY_MIN)).await,
                None => return Ok(()),
            }
        }
    }

    async fn show_events(&self, mut stream: UnixStream, filter: TraceFilter) -> io::Result<()> {
        let sieve = Sieve::new(filter, &self.observer.fs().options().prefix);
        let mut listener = self.observer.stats().trace.listen();
        say(&mut stream, &Answer::Listening.line()).await?;
        let (mut reader, mut writer) = stream.split();
        let mut nothing = [0];
        loop {
            let first = tokio::select! {
                next = listener.next() => next,
                // Who listens says nothing more, so this is the end.
                _ = reader.read(&mut nothing) => return Ok(()),
            };
            tokio::select! {
                () = sleep(GATHER_FOR) => {}
                () = listener.until_end() => {}
            }
            let (text, is_end) = gather(first, &mut listener, &sieve);
            timeout(READING_TIMEOUT, writer.write_all(text.as_bytes())).await??;
            if is_end {
                return Ok(());
            }
        }
    }

    /// Publishes, in a task of its own: what has begun goes on when nobody waits for it any more.
    async fn sync(&self, mut stream: UnixStream, path: String) -> io::Result<()> {
        let fs = self.observer.fs().clone();
        let below = path.clone();
        let mut publishing = self.work.spawn(async move { fs.publish_below(&below).await });
        let mut next = Instant::now() + PROGRESS_EVERY;
        let failed = loop {
            tokio::select! {
                failed = &mut publishing => break failed.map_err(io::Error::other)?,
                () = tokio::time::sleep_until(next) => {
                    say(&mut stream, &progress(&self.observer.fs().state(), &path).line()).await?;
                    next = Instant::now() + PROGRESS_EVERY;
                }
            }
        };
        let failed = failed.into_iter().map(|(path, error)| Answer::Unpublished { what: format!("{path}: {error}") });
        let text: String = failed.chain([Answer::Done]).map(|answer| answer.line()).collect();
        say(&mut stream, &text).await
    }
}

/// The lines of what has happened by now, from `next` on, and whether it was the last. What is too much for once stays with the
/// listener.
fn gather(mut next: Option<Heard>, listener: &mut Listener, sieve: &Sieve) -> (String, bool) {
    let mut text = String::new();
    for count in 1.. {
        match &next {
            Some(Ok(event)) if sieve.lets_through(event) => text += &Answer::line_of(event),
            Some(Ok(_)) => {}
            Some(Err(events)) => text += &Answer::Lost { events: *events }.line(),
            None => return (text, true),
        }
        match (count < EVENTS_AT_ONCE_MAX).then(|| listener.next().now_or_never()).flatten() {
            Some(more) => next = more,
            None => break,
        }
    }
    (text, false)
}

/// Logs at another level from now on.
fn log_at(level: &str) -> Answer {
    match level.parse::<LogLevel>() {
        Ok(level) => {
            logging::set_level(&level);
            logging::write_always(&format!("the log has level {} until it is opened anew (SIGHUP)", level.0));
            Answer::Done
        }
        Err(why) => Answer::Refused { why },
    }
}

/// What is not in the bucket yet, at and below a path.
fn progress(state: &FsState, path: &str) -> Answer {
    let (files, bytes) = state.left_below(path);
    Answer::Progress { files, bytes }
}

/// Writes lines, unless whoever should read them does not.
async fn say(stream: &mut UnixStream, text: &str) -> io::Result<()> {
    timeout(READING_TIMEOUT, stream.write_all(text.as_bytes())).await?
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::time::SystemTime;

    use super::*;
    use crate::clock::Clock;
    use crate::fs::{FileSystem, FileSystemParts, FsOptions, Inheritance};
    use crate::memory::Memory;
    use crate::monitor::ObserverParts;
    use crate::read::ReadOptions;
    use crate::stats::{CallEvent, Trace};
    use crate::store::CredentialCache;
    use crate::store::testing::MemoryStore;
    use crate::upload::UploadOptions;
    use crate::wire::sign::Credentials;

    fn observer() -> Arc<Observer> {
        let fs = FileSystem::new(FileSystemParts {
            store: Arc::new(MemoryStore::default()),
            options: FsOptions::default(),
            upload: UploadOptions::default(),
            read: ReadOptions::default(),
            memory: Memory::new(64 << 20),
            clock: Clock::System,
            stats: Arc::default(),
            runtime: tokio::runtime::Handle::current(),
            others: None,
            inheritance: Inheritance::none(),
            copies: None,
        });
        let credentials = Credentials { secret_id: "AKIDtest".into(), secret_key: "the-secret".into(), token: None };
        Observer::new(ObserverParts {
            fs,
            credentials: CredentialCache::from(credentials),
            source: "photos-1250000000".into(),
            mount_point: "/mnt".into(),
            endpoint: "http://127.0.0.1".into(),
            options: BTreeMap::new(),
            metrics: None,
            prices: None,
        })
    }

    async fn heard(path: &Path, line: &str) -> String {
        let mut client = UnixStream::connect(path).await.unwrap();
        client.write_all(line.as_bytes()).await.unwrap();
        let mut heard = String::new();
        client.read_to_string(&mut heard).await.unwrap();
        heard
    }

    #[tokio::test]
    async fn whoever_asks_to_unmount_hears_what_could_not_be_published() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let mut listener = ControlListener::bind(path.clone(), Duration::from_secs(60), observer()).unwrap();
        let asking = tokio::spawn({
            let path = path.clone();
            async move { heard(&path, "{\"version\":1,\"ask\":\"unmount\"}\n").await }
        });
        let mut asker = listener.asked().await;
        asker.tell_progress(&FsState::default()).await;
        let left = Left {
            unpublished: vec!["a.bin: denied".into()],
            uploads: vec!["b (upload 1)".into()],
            cut_off: vec!["c".into()],
            attached: Some("/mnt cannot be unmounted: no".into()),
        };
        asker.tell(&left).await;
        drop(asker);
        let lines = [
            r#"{"tell":"within","seconds":61}"#,
            r#"{"tell":"progress","files":0,"bytes":0}"#,
            r#"{"tell":"unpublished","what":"a.bin: denied"}"#,
            r#"{"tell":"upload","what":"b (upload 1)"}"#,
            r#"{"tell":"cut_off","path":"c"}"#,
            r#"{"tell":"attached","why":"/mnt cannot be unmounted: no"}"#,
            r#"{"tell":"done"}"#,
        ];
        assert_eq!(asking.await.unwrap().lines().collect::<Vec<_>>(), lines);
        // The next mount on the same place.
        std::fs::remove_file(&path).unwrap();
        let next = ControlListener::bind(path.clone(), Duration::from_secs(60), observer()).unwrap();
        drop(listener);
        assert!(path.exists(), "it is the next one's");
        drop(next);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_status_is_one_line_without_a_secret_and_nonsense_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let _listener = ControlListener::bind(path.clone(), Duration::from_secs(60), observer()).unwrap();
        let status = heard(&path, "{\"version\":1,\"ask\":\"status\"}\n").await;
        assert_eq!(status.lines().count(), 1);
        assert!(status.contains("AKIDtest") && !status.contains("the-secret"), "{status}");
        for nonsense in ["hello\n", "\n", "{\"version\":9,\"ask\":\"status\"}\n"] {
            let refused = heard(&path, nonsense).await;
            assert!(refused.starts_with("{\"tell\":\"refused\",\"why\":"), "{nonsense:?}: {refused}");
        }
        assert_eq!(heard(&path, "{\"version\":1,\"ask\":\"sync\"}\n").await, "{\"tell\":\"done\"}\n");
    }

    /// More than is written at once comes with the next lines.
    #[tokio::test]
    async fn no_event_is_left_out_where_many_wait() {
        let (trace, sieve) = (Trace::default(), Sieve::new(TraceFilter::default(), ""));
        let call = |pid: usize| {
            Event::Call(CallEvent {
                at: SystemTime::UNIX_EPOCH,
                call: "write",
                path: "/a".into(),
                to: None,
                offset: None,
                bytes: None,
                pid: pid as u32,
                result: "ok",
                took: Duration::ZERO,
            })
        };
        let mut listener = trace.listen();
        trace.tell(|| call(0));
        let mut first = listener.next().await;
        (1..=EVENTS_AT_ONCE_MAX).for_each(|pid| trace.tell(|| call(pid)));
        let mut told = String::new();
        for expected in [EVENTS_AT_ONCE_MAX, EVENTS_AT_ONCE_MAX + 1] {
            let (text, is_end) = gather(first.take(), &mut listener, &sieve);
            told += &text;
            assert_eq!((told.lines().count(), is_end), (expected, false));
            first = listener.next().now_or_never().flatten();
        }
        assert!(first.is_none());
        let last = told.lines().last().unwrap();
        assert!(last.contains(&format!("\"pid\":{EVENTS_AT_ONCE_MAX},")), "{last}");
    }

    /// The client of this test blocks the only thread that everything else has.
    #[tokio::test]
    async fn a_status_is_answered_while_all_other_threads_are_busy() {
        use std::io::{Read, Write};

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let _listener = ControlListener::bind(path.clone(), Duration::from_secs(60), observer()).unwrap();
        let mut client = std::os::unix::net::UnixStream::connect(&path).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        client.write_all(b"{\"version\":1,\"ask\":\"status\"}\n").unwrap();
        let mut status = String::new();
        client.read_to_string(&mut status).unwrap();
        assert!(status.starts_with("{\"tell\":\"status\""), "{status}");
    }

    #[tokio::test]
    async fn who_does_not_read_keeps_nobody_from_an_answer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let _listener = ControlListener::bind(path.clone(), Duration::from_secs(60), observer()).unwrap();
        let mut silent = Vec::new();
        for index in 0..100 {
            let mut client = UnixStream::connect(&path).await.unwrap();
            let ask: &[u8] = match index % 3 {
                0 => b"{\"version\":1,\"ask\":\"status\",\"every_ms\":1}\n",
                1 => b"{\"version\":1,\"ask\":\"trace\"}\n",
                _ => b"{\"version\":1,",
            };
            client.write_all(ask).await.unwrap();
            silent.push(client);
        }
        let status = heard(&path, "{\"version\":1,\"ask\":\"status\"}\n").await;
        assert!(status.starts_with("{\"tell\":\"status\""), "{status}");
    }
}
