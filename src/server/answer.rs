//! An answer in the making: status, headers and body, before it meets the transport.

use bytes::Bytes;
use hyper::Response;
use hyper::header::{HeaderName, HeaderValue};
use tokio::task::JoinHandle;

use crate::wire::answer::ListBucketResult;
use crate::wire::dialect::Spoken;
use crate::wire::request::HeaderPair;

use super::access_log::Exchange;
use super::answer_body::AnswerBody;
use super::storage::Reading;

/// What one request is answered.
pub(super) struct Answer {
    pub status: u16,
    pub headers: Vec<HeaderPair>,
    pub payload: Payload,
}

/// The body of an answer.
pub(super) enum Payload {
    Empty,
    /// No body, but the length of the one that a GET would have.
    Head {
        bytes: u64,
    },
    Xml(String),
    /// A listing, which is written in more than one way.
    Listing(Box<ListBucketResult>),
    /// `bytes` bytes of an object.
    Object {
        reading: Reading,
        bytes: u64,
    },
    /// XML that takes its time; the status is out before it is known.
    Slow(JoinHandle<Bytes>),
}

impl Answer {
    /// 200 without a body.
    pub(super) fn empty() -> Answer {
        Answer { status: 200, headers: Vec::new(), payload: Payload::Empty }
    }

    /// 204.
    pub(super) fn no_content() -> Answer {
        Answer { status: 204, ..Answer::empty() }
    }

    /// 200 with an XML body.
    pub(super) fn xml(xml: String) -> Answer {
        Answer { payload: Payload::Xml(xml), ..Answer::empty() }
    }

    /// Adds a header.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Answer {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets a header, in place of one that is there.
    pub(super) fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.headers.retain(|(present, _)| present != name);
        self.headers.push((name.into(), value.into()));
    }

    /// Writes a listing as it was asked for.
    pub(super) fn write_listing(&mut self, spoken: &Spoken) {
        if let Payload::Listing(listing) = &mut self.payload {
            self.payload = Payload::Xml(spoken.listing(std::mem::take(listing)));
        }
    }

    /// Puts the answer in the words of who has asked. Once.
    pub(super) fn put_in_words_of(&mut self, spoken: &Spoken) {
        self.write_listing(spoken);
        spoken.headers_of_answer(&mut self.headers);
        if let Payload::Xml(xml) = &mut self.payload {
            *xml = spoken.document(std::mem::take(xml));
        }
    }

    /// The answer as it goes out. The exchange is over with the last byte: at once, unless the body is still to come.
    pub(super) fn send(mut self, mut exchange: Exchange) -> Response<AnswerBody> {
        exchange.answered(self.status);
        let body = match self.payload {
            Payload::Empty => AnswerBody::empty(),
            Payload::Head { bytes } => {
                self.headers.push(("content-length".into(), bytes.to_string()));
                AnswerBody::empty()
            }
            // Was written before.
            Payload::Listing(_) => AnswerBody::empty(),
            Payload::Xml(xml) => {
                self.headers.push(("content-type".into(), "application/xml".to_owned()));
                exchange.sent(xml.len() as u64);
                AnswerBody::Fixed(xml.into())
            }
            Payload::Object { reading, bytes } => {
                // An object without bytes has no last one to wait for.
                let exchange = (bytes > 0).then_some(exchange);
                return respond(self.status, &self.headers, AnswerBody::Object { reading, left: bytes, exchange });
            }
            Payload::Slow(task) => {
                self.headers.push(("content-type".into(), "application/xml".to_owned()));
                return respond(self.status, &self.headers, AnswerBody::slow(task, exchange));
            }
        };
        drop(exchange);
        respond(self.status, &self.headers, body)
    }
}

fn respond(status: u16, headers: &[HeaderPair], body: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in headers {
        let parsed = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value.as_bytes()));
        match parsed {
            (Ok(name), Ok(value)) => {
                response.headers_mut().append(name, value);
            }
            // What was stored long ago is no reason to fail a request.
            _ => log::warn!("the header {name:?} was left out of an answer, since HTTP cannot carry it"),
        }
    }
    response
}
