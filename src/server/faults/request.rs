//! Faults that strike a request before it is carried out, or in how it is.

use std::time::Duration;

use bytes::Bytes;

use super::super::answer::{Answer, Payload};
use super::super::refusal::Refusal;
use super::super::request_body::RequestBody;
use super::super::service::{Course, Head, Service, Target};
use super::body::flipped;
use super::{Fault, FixedAnswer, Moment, PageFault, Side, Struck};
use crate::wire::answer::ErrorBody;
use crate::wire::code::Code;
use crate::wire::operation::Operation;
use crate::wire::request::Headers;

/// The largest body that is kept to be carried out twice. Parts of clients are smaller.
const KEPT_BYTES_MAX: u64 = 256 << 20;

/// What is wrong with the body of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum BodyFault {
    /// A bit of the byte after so many is another one.
    Flip { left: u64, bit: u8 },
    /// Nothing comes after so many bytes.
    End { left: u64 },
    /// It was, and all is well.
    Passed,
}

impl BodyFault {
    /// How long a body of `length` bytes is with it.
    pub(in crate::server) fn length(self, length: u64) -> u64 {
        if let BodyFault::End { left } = self { left } else { length }
    }

    /// What becomes of the next bytes.
    pub(in crate::server) fn strike(&mut self, mut bytes: Bytes) -> Bytes {
        let received = bytes.len() as u64;
        match self {
            BodyFault::Flip { left, .. } if *left >= received => *left -= received,
            BodyFault::Flip { left, bit } => {
                let behind = bytes.split_off(usize::try_from(*left).unwrap_or(usize::MAX));
                let damaged = [bytes, flipped(&behind, *bit)].concat();
                *self = BodyFault::Passed;
                return damaged.into();
            }
            BodyFault::End { left } => {
                bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= bytes.len() as u64;
            }
            BodyFault::Passed => {}
        }
        bytes
    }
}

impl Service {
    /// Serves a request that meets a fault.
    pub(in crate::server) async fn serve_struck(
        &self,
        head: &Head,
        (target, operation): (Target, Operation),
        body: &mut RequestBody,
        course: &mut Course<'_>,
        struck: &mut Struck,
    ) -> Result<Answer, Refusal> {
        let name = struck.fault.name();
        if let Some(told) = instead(&struck.fault, course).await {
            course.exchange.struck(name);
            body.drain().await;
            return told;
        }
        if let Fault::FlipHeader(Side::Request, wanted) = &struck.fault {
            let mut headers = head.headers.clone();
            if flip_header(&mut headers, wanted.as_deref(), &mut struck.random) {
                course.exchange.struck(name);
            }
            let damaged = head.with_headers(headers);
            let lines = damaged.lines();
            let (target, decoded) = self.decode(&damaged, Headers(&lines), course.exchange)?;
            // As for any request: who asks comes before what is asked.
            self.authorize(&damaged, Headers(&lines), 0, body)?;
            return self.dispatch(decoded?, &target, body).await;
        }
        if strike_body(struck, body) {
            course.exchange.struck(name);
        }
        let skew = if let Fault::Clock(seconds) = struck.fault { seconds } else { 0 };
        self.authorize(head, Headers(&head.lines()), skew, body)?;
        course.serving.was_signed();
        match struck.fault {
            Fault::Twice if body.length.unwrap_or(0) <= KEPT_BYTES_MAX => {
                let kept = body.keep().await?;
                body.give(&kept);
                // What the first is answered nobody hears.
                if let Ok(mut first) = self.dispatch(operation.clone(), &target, body).await {
                    first.settle().await;
                }
                body.give(&kept);
                course.exchange.struck(name);
                self.dispatch(operation, &target, body).await
            }
            Fault::Listing(PageFault::Repeat) => {
                course.exchange.struck(name);
                self.dispatch(without_marker(operation), &target, body).await
            }
            _ => self.dispatch(operation, &target, body).await,
        }
    }
}

/// Damages the body of a request on its way in. False if that is not its fault, or if there is nothing to damage.
fn strike_body(struck: &mut Struck, body: &mut RequestBody) -> bool {
    let random = &mut struck.random;
    match struck.fault {
        Fault::Flip(Side::Request) => {
            body.meet(|length| BodyFault::Flip { left: random.u64(..length), bit: random.u8(..8) })
        }
        Fault::Truncate(Side::Request) => body.meet(|length| BodyFault::End { left: random.u64(..length) }),
        _ => false,
    }
}

/// What a request is told that is not carried out, if that is its fault.
async fn instead(fault: &Fault, course: &mut Course<'_>) -> Option<Result<Answer, Refusal>> {
    match fault {
        Fault::Throttle(_) => Some(Err(Code::SlowDown.into())),
        // Its status is set when the answer is damaged.
        Fault::Status { code: Some(code), .. } => Some(Err((*code).into())),
        Fault::Status { status, code: None } => Some(Ok(Answer { status: *status, ..Answer::empty() })),
        Fault::Answer(answer) => Some(Ok(fixed(answer))),
        Fault::ErrorInside(code) => {
            let (code, message) = (code.name().to_owned(), code.message().to_owned());
            Some(Ok(Answer::xml(ErrorBody { code, message, ..ErrorBody::default() }.encode())))
        }
        Fault::Reset(Moment::Before) => {
            course.exchange.struck(fault.name());
            course.serving.cutter().cut();
            std::future::pending().await
        }
        _ => None,
    }
}

fn fixed(told: &FixedAnswer) -> Answer {
    let headers = told.headers.iter().map(|(name, value)| (name.clone().into(), value.clone())).collect();
    let payload = if told.body.is_empty() { Payload::Empty } else { Payload::Xml(told.body.clone()) };
    Answer { status: told.status, headers, payload }
}

fn without_marker(operation: Operation) -> Operation {
    match operation {
        Operation::ListObjects(mut list) => {
            list.marker.clear();
            Operation::ListObjects(list)
        }
        other => other,
    }
}

/// Flips a bit in the value of a header: of this one, or of any. False if there is none. The value stays one that HTTP
/// can carry.
pub(super) fn flip_header<N: AsRef<str>>(
    headers: &mut [(N, String)],
    wanted: Option<&str>,
    random: &mut fastrand::Rng,
) -> bool {
    let fits = |(name, value): &&mut (N, String)| {
        let name = name.as_ref();
        value.is_ascii() && !value.is_empty() && wanted.is_none_or(|wanted| wanted.eq_ignore_ascii_case(name))
    };
    let mut fitting: Vec<&mut (N, String)> = headers.iter_mut().filter(fits).collect();
    if fitting.is_empty() {
        return false;
    }
    let chosen = random.usize(..fitting.len());
    let value = &mut fitting[chosen].1;
    let at = random.usize(..value.len());
    let was = value.as_bytes()[at];
    // Of every printable byte there is a bit whose flip leaves it printable, and no blank, which HTTP would strip.
    let fine: Vec<u8> = (0..7).map(|bit| was ^ (1 << bit)).filter(u8::is_ascii_graphic).collect();
    let Some(byte) = random.choice(fine) else { return false };
    value.replace_range(at..=at, &char::from(byte).to_string());
    true
}

/// For how long a fault holds an answer back.
pub(super) fn hold_back(fault: &Fault) -> Duration {
    if let Fault::Stall { at: Moment::Before, span } = fault { *span } else { Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_damage_is_where_it_is_wanted_however_the_bytes_arrive() {
        let pieces = [&b"abc"[..], b"def", b"gh"];
        let through = |mut fault: BodyFault| pieces.map(|piece| fault.strike(Bytes::from(piece)).to_vec()).concat();
        for left in 0..8 {
            let mut expected = b"abcdefgh".to_vec();
            expected[left] ^= 1 << 3;
            assert_eq!(through(BodyFault::Flip { left: left as u64, bit: 3 }), expected);
            assert_eq!(through(BodyFault::End { left: left as u64 }), b"abcdefgh"[..left]);
        }
    }

    #[test]
    fn a_flipped_header_stays_one_that_can_be_sent() {
        for seed in 0..1000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut headers = [("etag".to_owned(), "\"0~z\"".to_owned()), ("date".to_owned(), "x".to_owned())];
            assert!(flip_header(&mut headers, Some("ETag"), &mut random));
            let (value, was) = (&headers[0].1, "\"0~z\"");
            assert!(value.bytes().all(|byte| byte.is_ascii_graphic()), "{value:?}");
            let bits: u32 = value.bytes().zip(was.bytes()).map(|(one, other)| (one ^ other).count_ones()).sum();
            assert_eq!((bits, headers[1].1.as_str()), (1, "x"));
            assert!(!flip_header(&mut headers, Some("x-none"), &mut random));
        }
    }
}
