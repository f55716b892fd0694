//! The body of an answer: fixed bytes, the bytes of an object, or blanks until a slow result is there.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::access_log::Exchange;
use super::faults::FaultyBody;
use super::storage::Reading;

/// How often a blank tells the client that its slow request is still at work.
const BLANK_EVERY: Duration = Duration::from_secs(1);

/// What goes before the XML of a slow answer, as the service has it, so that no client gets used to a body that begins
/// with its root (`cos-api.md` 4.4).
const LEADING_BLANKS: &[u8] = b"\n\n\n";

/// The body of one answer.
pub(super) enum AnswerBody {
    /// Bytes that are all there.
    Fixed(Bytes),
    /// Bytes of an object. The exchange is over with the last of them.
    Object { reading: Reading, left: u64, exchange: Option<Exchange> },
    /// Blanks, then what the task answers.
    Slow(SlowBody),
    /// One of these that meets a fault on purpose.
    Faulty(Box<FaultyBody>),
}

/// The result of a task, with blanks before it.
pub(super) struct SlowBody {
    /// `None` once its result was handed out.
    task: Option<JoinHandle<Bytes>>,
    blanks: Interval,
    begun: bool,
    exchange: Option<Exchange>,
}

impl AnswerBody {
    /// No body.
    pub(super) fn empty() -> AnswerBody {
        AnswerBody::Fixed(Bytes::new())
    }

    /// Blanks until `task` ends, then its result.
    pub(super) fn slow(task: JoinHandle<Bytes>, exchange: Exchange) -> AnswerBody {
        let mut blanks = interval(BLANK_EVERY);
        blanks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is over at once; the leading blanks take its place.
        blanks.reset();
        AnswerBody::Slow(SlowBody { task: Some(task), blanks, begun: false, exchange: Some(exchange) })
    }
}

impl SlowBody {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let Some(task) = &mut self.task else { return Poll::Ready(None) };
        if !self.begun {
            self.begun = true;
            return self.send(Bytes::from_static(LEADING_BLANKS));
        }
        if let Poll::Ready(ended) = Pin::new(task).poll(context) {
            self.task = None;
            let sent = ended.map_err(io::Error::other);
            let Ok(bytes) = sent else { return Poll::Ready(Some(sent)) };
            let last = self.send(bytes);
            self.exchange = None;
            return last;
        }
        ready!(self.blanks.poll_tick(context));
        self.send(Bytes::from_static(b"\n"))
    }

    fn send(&mut self, bytes: Bytes) -> Poll<Option<io::Result<Bytes>>> {
        if let Some(exchange) = &mut self.exchange {
            exchange.sent(bytes.len() as u64);
        }
        Poll::Ready(Some(Ok(bytes)))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let next = match self.get_mut() {
            AnswerBody::Fixed(bytes) if bytes.is_empty() => None,
            AnswerBody::Fixed(bytes) => Some(Ok(std::mem::take(bytes))),
            AnswerBody::Object { reading, left, exchange } => {
                let next = ready!(reading.poll_next(context));
                let bytes = next.as_ref().map_or(0, |read| read.as_ref().map_or(0, |bytes| bytes.len() as u64));
                *left = left.saturating_sub(bytes);
                if let Some(open) = exchange {
                    open.sent(bytes);
                    if *left == 0 {
                        *exchange = None;
                    }
                }
                next
            }
            AnswerBody::Slow(slow) => ready!(slow.poll_next(context)),
            AnswerBody::Faulty(faulty) => ready!(faulty.poll_next(context)),
        };
        Poll::Ready(next.map(|read| read.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            AnswerBody::Fixed(bytes) => bytes.is_empty(),
            AnswerBody::Object { left, .. } => *left == 0,
            AnswerBody::Slow(slow) => slow.task.is_none(),
            AnswerBody::Faulty(faulty) => faulty.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            AnswerBody::Fixed(bytes) => SizeHint::with_exact(bytes.len() as u64),
            AnswerBody::Object { left, .. } => SizeHint::with_exact(*left),
            AnswerBody::Slow(_) => SizeHint::default(),
            AnswerBody::Faulty(faulty) => faulty.size_hint(),
        }
    }
}
