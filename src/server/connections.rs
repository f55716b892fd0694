//! The connections that are open: how many there may be, how long each may be without a request, and how much the heads
//! of requests that are not whole yet may hold.
//!
//! Who connects and says nothing, or says it byte by byte, takes a place that others need, and nobody knows yet who it
//! is. So such connections have a deadline, and where places or memory run out the oldest of them is closed; a
//! connection whose requests were signed comes after all that have shown nothing.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::answer_body::AnswerBody;

/// How long a connection whose requests were signed may be without one. Clients keep idle connections for up to 90 s,
/// and must be the ones who close them: a request sent into a connection that closes is lost.
const IDLE_DEADLINE: Duration = Duration::from_secs(120);

/// How long a client may take nothing of an answer. A mount that is stopped for a moment goes on afterwards.
const UNREAD_DEADLINE: Duration = Duration::from_secs(300);

/// The largest head of a request: a key of 850 bytes in the path and 4 KiB of metadata, each byte escaped, and as much
/// again for everything else.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// What all heads that are not whole may hold together. A head is mostly 1 KiB and here within one read.
const HEADS_BYTES_MAX: usize = 16 << 20;

/// What a client is told whose head is too large.
const HEAD_TOO_LARGE: &[u8] =
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// How long what was sent before a cut on purpose has to leave this process.
pub(super) const FLUSH_SPAN: Duration = Duration::from_millis(10);

/// How many connections there may be, and how long one may take to ask for something.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionLimits {
    pub connections_max: usize,
    pub head_deadline: Duration,
}

/// All connections.
pub(super) struct Connections {
    limits: ConnectionLimits,
    /// Std mutex: sections are a walk over the map at most. Level 8 in the order of locks.
    open: Mutex<Open>,
    /// Told when a connection has nothing to do any more.
    at_rest: Notify,
}

#[derive(Default)]
struct Open {
    next: u64,
    states: HashMap<u64, State>,
    /// Bytes of all heads that are not whole.
    head_bytes: usize,
}

/// What one connection is at.
struct State {
    phase: Phase,
    /// Since when.
    since: Instant,
    head_bytes: usize,
    /// Whether a request on it was signed.
    trusted: bool,
    /// Since when the client has taken nothing of what is there for it.
    unread_since: Option<Instant>,
    close: Arc<Notify>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No byte of a request has come since the last answer.
    Resting,
    /// A part of a head is there.
    Head,
    /// A request is answered.
    Serving,
}

/// One place among the connections, given back when dropped.
pub(super) struct Place {
    connections: Arc<Connections>,
    number: u64,
    close: Arc<Notify>,
    /// Whether the other side is to see a connection that broke.
    is_cut: AtomicBool,
    /// Whether it is to break after the present request.
    is_cut_afterwards: AtomicBool,
}

impl Connections {
    pub(super) fn new(limits: ConnectionLimits) -> Arc<Connections> {
        Arc::new(Connections { limits, open: Mutex::default(), at_rest: Notify::new() })
    }

    /// Whether one more may come. For that the oldest that has nothing to do is closed, if it must be.
    pub(super) fn make_room(&self) -> bool {
        let mut open = self.lock();
        open.states.len() < self.limits.connections_max || open.close_oldest(|_| true)
    }

    /// Closes the oldest that has nothing to do, since the system refuses to open more.
    pub(super) fn close_oldest(&self) {
        self.lock().close_oldest(|_| true);
    }

    /// Returns when a connection has nothing to do any more.
    pub(super) async fn wait_for_rest(&self) {
        self.at_rest.notified().await;
    }

    /// How often [`Connections::close_overdue`] is to be called.
    pub(super) fn tick(&self) -> Duration {
        // A second is nothing to a deadline of many; tests have shorter ones.
        Duration::from_secs(1).min(self.limits.head_deadline / 4)
    }

    /// Closes all whose deadline is over.
    pub(super) fn close_overdue(&self) {
        let (now, head_deadline) = (Instant::now(), self.limits.head_deadline);
        let mut open = self.lock();
        let overdue = open.states.iter().filter(|(_, state)| state.is_overdue(now, head_deadline));
        for number in overdue.map(|(number, _)| *number).collect::<Vec<_>>() {
            open.close(number);
        }
    }

    /// Takes a place for a connection that has just come.
    pub(super) fn enter(self: &Arc<Connections>) -> Place {
        let close = Arc::new(Notify::new());
        let state = State {
            phase: Phase::Resting,
            since: Instant::now(),
            head_bytes: 0,
            trusted: false,
            unread_since: None,
            close: Arc::clone(&close),
        };
        let mut open = self.lock();
        open.next += 1;
        let number = open.next;
        open.states.insert(number, state);
        let connections = Arc::clone(self);
        Place { connections, number, close, is_cut: AtomicBool::new(false), is_cut_afterwards: AtomicBool::new(false) }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Closes the oldest without a request among `which`: one that nobody signed for, if there is one.
    fn close_oldest(&mut self, which: impl Fn(&State) -> bool) -> bool {
        let idle = self.states.iter().filter(|(_, state)| state.phase != Phase::Serving && which(state));
        let oldest =
            idle.min_by_key(|(number, state)| (state.trusted, state.since, **number)).map(|(number, _)| *number);
        oldest.inspect(|&number| self.close(number)).is_some()
    }

    fn close(&mut self, number: u64) {
        if let Some(state) = self.states.remove(&number) {
            self.head_bytes -= state.head_bytes;
            state.close.notify_one();
        }
    }
}

impl State {
    fn is_overdue(&self, now: Instant, head_deadline: Duration) -> bool {
        let deadline = if self.trusted && self.phase == Phase::Resting { IDLE_DEADLINE } else { head_deadline };
        match self.phase {
            Phase::Resting | Phase::Head => now.duration_since(self.since) > deadline,
            Phase::Serving => self.unread_since.is_some_and(|since| now.duration_since(since) > UNREAD_DEADLINE),
        }
    }
}

impl Place {
    /// Returns when the connection is to be closed.
    pub(super) async fn closed(&self) {
        self.close.notified().await;
    }

    /// A stream that says what goes over it.
    pub(super) fn watch(self: &Arc<Place>, stream: TcpStream) -> Watched {
        Watched { stream, place: Arc::clone(self) }
    }

    /// A request is whole and is answered until the result is dropped.
    pub(super) fn begin(self: &Arc<Place>) -> Serving {
        self.change(|open, number| {
            let Some(state) = open.states.get_mut(&number) else { return };
            open.head_bytes -= std::mem::take(&mut state.head_bytes);
            (state.phase, state.since) = (Phase::Serving, Instant::now());
        });
        Serving(Arc::clone(self))
    }

    /// Counts bytes that came. False if they are of a head that is too large.
    fn came(&self, bytes: usize) -> bool {
        self.change(|open, number| {
            let Some(state) = open.states.get_mut(&number) else { return true };
            if state.phase == Phase::Serving {
                return true;
            }
            if state.phase == Phase::Resting {
                (state.phase, state.since) = (Phase::Head, Instant::now());
            }
            // What was there before was not a whole head. The latest read may be one, with much of a body behind it.
            let fits = state.head_bytes < HEAD_BYTES_MAX;
            state.head_bytes += bytes;
            open.head_bytes += bytes;
            if open.head_bytes > HEADS_BYTES_MAX {
                open.close_oldest(|state| state.head_bytes > 0);
            }
            fits
        })
    }

    /// Notes whether the client takes what is there for it.
    fn takes(&self, takes: bool) {
        self.change(|open, number| {
            if let Some(state) = open.states.get_mut(&number) {
                state.unread_since = if takes { None } else { state.unread_since.or(Some(Instant::now())) };
            }
        });
    }

    fn change<T>(&self, change: impl FnOnce(&mut Open, u64) -> T) -> T {
        change(&mut self.connections.lock(), self.number)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.change(Open::close);
        self.connections.at_rest.notify_one();
    }
}

/// A request that is being answered.
pub(super) struct Serving(Arc<Place>);

impl Serving {
    /// Notes that the request was signed.
    pub(super) fn was_signed(&self) {
        self.0.change(|open, number| {
            if let Some(state) = open.states.get_mut(&number) {
                state.trusted = true;
            }
        });
    }

    /// What breaks the connection, for faults on purpose.
    pub(super) fn cutter(&self) -> Cutter {
        Cutter(Arc::clone(&self.0))
    }

    /// Breaks the connection once the request has been answered.
    pub(super) fn cut_afterwards(&self) {
        self.0.is_cut_afterwards.store(true, Ordering::Relaxed);
    }

    /// The body of the answer, with which the request ends.
    pub(super) fn ends_with(self, body: AnswerBody) -> WatchedBody {
        WatchedBody { body, _serving: self }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.change(|open, number| {
            if let Some(state) = open.states.get_mut(&number) {
                (state.phase, state.since, state.unread_since) = (Phase::Resting, Instant::now(), None);
            }
        });
        self.0.connections.at_rest.notify_one();
        if self.0.is_cut_afterwards.load(Ordering::Relaxed) {
            let cutter = self.cutter();
            tokio::spawn(async move {
                tokio::time::sleep(FLUSH_SPAN).await;
                cutter.cut();
            });
        }
    }
}

/// Breaks a connection.
pub(super) struct Cutter(Arc<Place>);

impl Cutter {
    /// Resets the connection.
    pub(super) fn cut(&self) {
        self.0.is_cut.store(true, Ordering::Relaxed);
        self.0.close.notify_one();
    }
}

/// The body of an answer, with whose end its request ends.
pub(super) struct WatchedBody {
    body: AnswerBody,
    _serving: Serving,
}

impl Body for WatchedBody {
    type Data = <AnswerBody as Body>::Data;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, io::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The stream of a connection, which says what goes over it.
pub(super) struct Watched {
    stream: TcpStream,
    place: Arc<Place>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.place.is_cut.load(Ordering::Relaxed) {
            // What is not sent by now is lost, as on a line that breaks.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        let bytes = buffer.filled().len() - before;
        if bytes > 0 && !this.place.came(bytes) {
            // Nobody else writes now, since no request has begun. Whether it is heard is the client's affair.
            let _ = this.stream.try_write(HEAD_TOO_LARGE);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the head of a request is too large")));
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.place.takes(written.is_ready());
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.place.takes(written.is_ready());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(connections_max: usize) -> Arc<Connections> {
        Connections::new(ConnectionLimits { connections_max, head_deadline: Duration::from_secs(15) })
    }

    fn is_open(place: &Place) -> bool {
        place.change(|open, number| open.states.contains_key(&number))
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_that_has_shown_nothing_makes_room_first() {
        let all = connections(4);
        let places: Vec<Arc<Place>> = (0..4).map(|_| Arc::new(all.enter())).collect();
        let signed = places[0].begin();
        signed.was_signed();
        drop(signed);
        let _served = places[1].begin();
        assert!(places[3].came(10));
        let open = || places.iter().map(|place| is_open(place)).collect::<Vec<_>>();
        for expected in [[true, true, false, true], [true, true, false, false], [false, true, false, false]] {
            // As many new ones, so that it stays full.
            while all.lock().states.len() < 4 {
                std::mem::forget(all.enter().begin_forever());
            }
            assert!(all.make_room());
            assert_eq!(open(), expected);
        }
        while all.lock().states.len() < 4 {
            std::mem::forget(all.enter().begin_forever());
        }
        assert!(!all.make_room(), "who is served stays");
    }

    impl Place {
        fn begin_forever(self) -> (Arc<Place>, Serving) {
            let place = Arc::new(self);
            let serving = place.begin();
            (place, serving)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_too_long_for_a_head_is_closed_and_who_rests_after_a_signed_request_is_not() {
        let all = connections(10);
        let (silent, trickling, signed, served) =
            (Arc::new(all.enter()), Arc::new(all.enter()), Arc::new(all.enter()), Arc::new(all.enter()));
        let serving = signed.begin();
        serving.was_signed();
        drop(serving);
        let _served = served.begin();
        for _ in 0..16 {
            assert!(trickling.came(1));
            tokio::time::advance(Duration::from_secs(1)).await;
            all.close_overdue();
        }
        let open = [&silent, &trickling, &signed, &served].map(|place| is_open(place));
        assert_eq!(open, [false, false, true, true]);
        tokio::time::advance(IDLE_DEADLINE).await;
        all.close_overdue();
        assert!(!is_open(&signed) && is_open(&served));
    }

    #[tokio::test(start_paused = true)]
    async fn heads_hold_a_bounded_amount_of_memory_each_and_together() {
        let all = connections(10_000);
        let large = all.enter();
        assert!(large.came(HEAD_BYTES_MAX));
        assert!(!large.came(1));
        let places: Vec<Place> = (0..1000).map(|_| all.enter()).collect();
        for place in &places {
            assert!(place.came(HEAD_BYTES_MAX));
            assert!(all.lock().head_bytes <= HEADS_BYTES_MAX);
        }
        assert!(!is_open(&places[0]) && is_open(&places[999]), "the oldest go");
        drop((large, places));
        assert_eq!(all.lock().head_bytes, 0);
    }
}
