//! Faults that strike the answer to a request that was carried out.

use hyper::Response;

use super::super::access_log::Exchange;
use super::super::answer::{Answer, Payload};
use super::super::answer_body::AnswerBody;
use super::super::connections::Serving;
use super::super::object_calls::CRC64;
use super::body::{AtByte, FaultyBody};
use super::request::{flip_header, hold_back};
use super::{Fault, Moment, PageFault, Side, Struck};
use crate::wire::answer::ListBucketResult;
use crate::wire::dialect::Spoken;

/// What happens to the body of an answer, and before which of its bytes.
pub(in crate::server) struct BodyDamage(u64, AtByte);

impl BodyDamage {
    /// The answer whose body meets the fault.
    pub(in crate::server) fn strike(self, response: Response<AnswerBody>) -> Response<AnswerBody> {
        let BodyDamage(offset, fault) = self;
        response.map(|body| AnswerBody::Faulty(Box::new(FaultyBody::new(body, offset, fault))))
    }
}

impl Struck {
    /// Damages an answer that is about to leave, or ends its connection. Returns what is still to happen to the body.
    pub(in crate::server) async fn damage(
        mut self,
        answer: &mut Answer,
        spoken: &Spoken,
        exchange: &mut Exchange,
        serving: &Serving,
    ) -> Option<BodyDamage> {
        // A result that is still to come is waited for, so that there is a body to damage and the request is carried out.
        answer.settle().await;
        if !matches!(self.fault, Fault::Listing(_)) {
            answer.write_listing(spoken);
        }
        if self.alter(answer, serving) {
            exchange.struck(self.fault.name());
        }
        answer.put_in_words_of(spoken);
        tokio::time::sleep(hold_back(&self.fault)).await;
        let length = answer.payload.length();
        if self.ends_the_connection(length) {
            exchange.struck(self.fault.name());
            serving.cutter().cut();
            std::future::pending::<()>().await;
        }
        let damage = self.damage_body(length, serving);
        if damage.is_some() {
            exchange.struck(self.fault.name());
        } else if let Fault::Stall { at: Moment::During, span } = self.fault {
            // There is no body to stand still in.
            exchange.struck(self.fault.name());
            tokio::time::sleep(span).await;
        }
        damage
    }

    /// Changes what the answer says. False if it says nothing of the kind.
    fn alter(&mut self, answer: &mut Answer, serving: &Serving) -> bool {
        let random = &mut self.random;
        match &self.fault {
            Fault::FlipHeader(Side::Answer, wanted) => flip_header(&mut answer.headers, wanted.as_deref(), random),
            Fault::WrongEtag => answer.change("etag", "ETag", |etag| other_digits(etag, random)),
            Fault::WrongCrc64 => answer.change(CRC64, "CRC64", |_| random.u64(..).to_string()),
            Fault::Listing(PageFault::Disorder) => answer.change_page(|page| {
                page.contents.reverse();
                page.contents.len() > 1
            }),
            Fault::Listing(PageFault::Duplicate) => answer.change_page(|page| {
                page.contents.extend(page.contents.last().cloned());
                !page.contents.is_empty()
            }),
            Fault::Reset(Moment::After) => {
                serving.cut_afterwards();
                true
            }
            Fault::Status { status, .. } => {
                answer.status = *status;
                true
            }
            fault => !hold_back(fault).is_zero(),
        }
    }

    /// Whether the connection is to be cut before an answer of so many bytes begins.
    fn ends_the_connection(&self, length: u64) -> bool {
        // One byte has no middle.
        matches!(self.fault, Fault::LoseAnswer) || self.fault == Fault::Reset(Moment::During) && length < 2
    }

    fn damage_body(&mut self, length: u64, serving: &Serving) -> Option<BodyDamage> {
        let random = &mut self.random;
        match self.fault {
            Fault::Flip(Side::Answer) if length > 0 => {
                Some(BodyDamage(random.u64(..length), AtByte::Flip(random.u8(..8))))
            }
            Fault::Truncate(Side::Answer) if length > 0 => Some(BodyDamage(random.u64(..length), AtByte::End)),
            Fault::Reset(Moment::During) => Some(BodyDamage(random.u64(1..length), AtByte::Cut(serving.cutter()))),
            Fault::Stall { at: Moment::During, span } if length > 1 => {
                Some(BodyDamage(random.u64(1..length), AtByte::Wait(span)))
            }
            _ => None,
        }
    }
}

impl Answer {
    /// Waits for a result that is still to come.
    pub(super) async fn settle(&mut self) {
        if let Payload::Slow(task) = &mut self.payload {
            let xml = task.await.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            self.payload = xml.map_or(Payload::Empty, Payload::Xml);
        }
    }

    /// Changes a header, or the first element of a name where there is no such header. False if there is neither.
    fn change(&mut self, header: &str, element: &str, change: impl FnOnce(&str) -> String) -> bool {
        if let Some((_, value)) = self.headers.iter_mut().find(|(name, _)| name == header) {
            *value = change(value);
            return true;
        }
        let Payload::Xml(xml) = &mut self.payload else { return false };
        let (open, close) = (format!("<{element}>"), format!("</{element}>"));
        let Some(start) = xml.find(&open).map(|at| at + open.len()) else { return false };
        let Some(end) = xml[start..].find(&close).map(|at| at + start) else { return false };
        let changed = change(&xml[start..end]);
        xml.replace_range(start..end, &changed);
        true
    }

    /// Changes a page of a listing. False if the answer is none, or if `change` finds nothing to change.
    fn change_page(&mut self, change: impl FnOnce(&mut ListBucketResult) -> bool) -> bool {
        if let Payload::Listing(page) = &mut self.payload { change(page) } else { false }
    }
}

impl Payload {
    /// Bytes of the body, as far as they are known.
    fn length(&self) -> u64 {
        match self {
            Payload::Empty | Payload::Head { .. } | Payload::Slow(_) | Payload::Listing(_) => 0,
            Payload::Xml(xml) => xml.len() as u64,
            Payload::Object { bytes, .. } => *bytes,
        }
    }
}

/// A text of the same shape with other digits.
fn other_digits(text: &str, random: &mut fastrand::Rng) -> String {
    let other = |letter: char| match letter {
        letter if letter.is_ascii_hexdigit() => char::from_digit(random.u32(..16), 16).unwrap_or('0'),
        letter => letter,
    };
    // Entities keep their letters: `&quot;` must stay a quote.
    let (before, inner, after) = match text.strip_prefix("&quot;").and_then(|rest| rest.strip_suffix("&quot;")) {
        Some(inner) => ("&quot;", inner, "&quot;"),
        None => ("", text, ""),
    };
    format!("{before}{}{after}", inner.chars().map(other).collect::<String>())
}
