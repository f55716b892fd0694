//! The body of an error (`cos-api.md` 6.3).

use std::fmt;
use std::time::SystemTime;

use super::AnswerError;
use crate::wire::code::{Failure, classify};
use crate::wire::date;
use crate::wire::xml::{Element, XmlWriter, parse};

/// What the service says of a failure. Every text may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorBody {
    /// `Code`.
    pub code: String,
    /// `Message`.
    pub message: String,
    /// `Resource`: host and key, or the URL.
    pub resource: String,
    /// `RequestId`.
    pub request_id: String,
    /// `TraceId`.
    pub trace_id: String,
    /// `ServerTime`, which `RequestTimeTooSkewed` may add.
    pub server_time: Option<SystemTime>,
}

impl ErrorBody {
    /// Writes the body.
    pub fn encode(&self) -> String {
        let mut xml = XmlWriter::with_capacity(512);
        xml.element("Error", |xml| {
            xml.leaf("Code", &self.code);
            xml.leaf("Message", &self.message);
            xml.leaf("Resource", &self.resource);
            xml.leaf("RequestId", &self.request_id);
            xml.leaf("TraceId", &self.trace_id);
            xml.leaf_if("ServerTime", self.server_time.map(date::iso_seconds));
        });
        xml.finish()
    }

    /// Reads the body of a failed answer.
    ///
    /// # Errors
    /// The body is not an `Error`; judge the answer by its status then.
    pub fn decode(body: &[u8]) -> Result<ErrorBody, AnswerError> {
        let root = parse(body)?;
        if root.name == "Error" { Ok(ErrorBody::of(&root)) } else { Err(AnswerError::UnexpectedRoot(root.name)) }
    }

    /// Judges the failure (`cos-api.md` 6.4).
    pub fn classify(&self, status: u16) -> Failure {
        classify(status, &self.code, &self.message)
    }

    pub(super) fn of(root: &Element) -> ErrorBody {
        let text = |name| root.text_or_empty(name).trim().to_owned();
        ErrorBody {
            code: text("Code"),
            message: text("Message"),
            resource: text("Resource"),
            request_id: text("RequestId"),
            trace_id: text("TraceId"),
            server_time: root.optional("ServerTime").and_then(date::parse),
        }
    }
}

impl fmt::Display for ErrorBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}
