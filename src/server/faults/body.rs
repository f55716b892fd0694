//! The body of an answer that meets a fault on its way out.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, SizeHint};
use tokio::time::Sleep;

use super::super::answer_body::AnswerBody;
use super::super::connections::{Cutter, FLUSH_SPAN};

/// A body with something wrong at one of its bytes.
pub(in crate::server) struct FaultyBody {
    body: Pin<Box<AnswerBody>>,
    /// Bytes until then.
    left: u64,
    /// What was received of the body behind that.
    held: Option<Bytes>,
    fault: AtByte,
    /// Runs from when the byte is the next.
    pause: Option<Pin<Box<Sleep>>>,
}

/// What happens at a byte.
pub(super) enum AtByte {
    /// The bit of that number is another one.
    Flip(u8),
    /// Nothing comes after it, and the length of the body says nothing of what is missing.
    End,
    /// It is waited for.
    Wait(Duration),
    /// The connection is reset before it.
    Cut(Cutter),
    /// It was, and all is well.
    Passed,
}

impl FaultyBody {
    /// The same body with a fault before the byte at `offset`.
    pub(super) fn new(body: AnswerBody, offset: u64, fault: AtByte) -> FaultyBody {
        FaultyBody { body: Box::pin(body), left: offset, held: None, fault, pause: None }
    }

    /// The fault, once its byte is the next.
    fn strike(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        let span = match self.fault {
            AtByte::Wait(span) => span,
            AtByte::Cut(_) => FLUSH_SPAN,
            AtByte::End | AtByte::Flip(_) | AtByte::Passed => Duration::ZERO,
        };
        if !span.is_zero() {
            let pause = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(span)));
            ready!(pause.as_mut().poll(context));
        }
        match &self.fault {
            AtByte::End => return Poll::Ready(Next::End),
            AtByte::Cut(cutter) => {
                cutter.cut();
                return Poll::Pending;
            }
            AtByte::Wait(_) | AtByte::Flip(_) | AtByte::Passed => {}
        }
        match std::mem::replace(&mut self.fault, AtByte::Passed) {
            AtByte::Flip(bit) => Poll::Ready(Next::Flip(bit)),
            _ => Poll::Ready(Next::Nothing),
        }
    }

    fn next(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.left == 0 {
            match ready!(self.strike(context)) {
                Next::End => return Poll::Ready(None),
                Next::Flip(bit) => {
                    let next = ready!(self.take(context));
                    return Poll::Ready(next.map(|read| read.map(|bytes| flipped(&bytes, bit))));
                }
                Next::Nothing => return self.take(context),
            }
        }
        let next = ready!(self.take(context));
        Poll::Ready(next.map(|read| read.map(|bytes| self.up_to_fault(bytes))))
    }

    /// What comes next of the body behind this one.
    fn take(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if let Some(held) = self.held.take() {
            return Poll::Ready(Some(Ok(held)));
        }
        let frame = ready!(self.body.as_mut().poll_frame(context));
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.into_data().unwrap_or_default())))
    }

    fn up_to_fault(&mut self, mut bytes: Bytes) -> Bytes {
        let before = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let behind = bytes.split_off(before);
        self.left -= before as u64;
        self.held = (!behind.is_empty()).then_some(behind);
        bytes
    }

    pub(in crate::server) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        match self.fault {
            AtByte::Passed => self.take(context),
            _ => self.next(context),
        }
    }

    pub(in crate::server) fn is_end_stream(&self) -> bool {
        match self.fault {
            AtByte::End => self.left == 0,
            _ => self.held.is_none() && self.body.is_end_stream(),
        }
    }

    pub(in crate::server) fn size_hint(&self) -> SizeHint {
        match (&self.fault, self.body.size_hint().exact(), &self.held) {
            (AtByte::End, ..) => SizeHint::with_exact(self.left),
            (_, Some(bytes), held) => SizeHint::with_exact(bytes + held.as_ref().map_or(0, |held| held.len() as u64)),
            (_, None, _) => SizeHint::default(),
        }
    }
}

/// What the next byte is.
enum Next {
    End,
    Flip(u8),
    Nothing,
}

/// The same bytes with another first one.
pub(super) fn flipped(bytes: &Bytes, bit: u8) -> Bytes {
    let mut bytes = bytes.to_vec();
    if let Some(first) = bytes.first_mut() {
        *first ^= 1 << (bit % 8);
    }
    bytes.into()
}
