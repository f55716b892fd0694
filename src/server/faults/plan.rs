//! What a service does wrong on purpose: rules, each of which chooses requests and says what becomes of them.
//!
//! Values alone. `config` reads them from a file, whose format `docs/FAULTS.md` has; [`super::Faults`] counts and draws.

use std::time::Duration;

use crate::wire::Op;
use crate::wire::code::Code;

/// All that goes wrong at one service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FaultPlan {
    /// What chance begins with: the same requests in the same order meet the same faults.
    pub seed: u64,
    /// In the order in which they are asked. The first that strikes a request is the only one.
    pub rules: Vec<FaultRule>,
}

/// One thing that goes wrong, and with which requests.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultRule {
    /// The operations that it is about; none for all.
    pub ops: Vec<Op>,
    /// A pattern of keys, with `*` and `?`; of a listing it is the prefix that must fit.
    pub key: Option<String>,
    /// The number of the part that it is about.
    pub part: Option<u16>,
    /// A header, in lower case, that they do not have.
    pub without: Option<String>,
    /// Which of those requests it strikes.
    pub when: FaultWhen,
    /// How many it strikes at most.
    pub limit: Option<u64>,
    /// What becomes of them.
    pub fault: Fault,
}

/// Which of the requests that a rule is about it strikes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FaultWhen {
    /// Each of them.
    Always,
    /// One, counted from 1.
    Nth(u64),
    /// One and all after it, counted from 1.
    From(u64),
    /// As chance will have it, with this probability.
    Probability(f64),
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// The request is refused: with this code, or with a bare status, as a proxy does it.
    Status {
        /// The status of the answer.
        status: u16,
        /// What the body says; without one there is no body.
        code: Option<Code>,
    },
    /// The request is not carried out, and this is the answer.
    Answer(FixedAnswer),
    /// The connection is reset.
    Reset(Moment),
    /// The answer stands still.
    Stall {
        /// Before its first byte or in the middle of its body.
        at: Moment,
        /// For so long.
        span: Duration,
    },
    /// A body loses its end, and its length says nothing of it.
    Truncate(Side),
    /// A bit of a body is another one.
    Flip(Side),
    /// A bit in the value of a header is another one: of this header, or of any.
    FlipHeader(Side, Option<String>),
    /// The answer tells another ETag.
    WrongEtag,
    /// The answer tells another CRC64.
    WrongCrc64,
    /// Status 200, and a body that tells an error.
    ErrorInside(Code),
    /// The request is carried out, and the connection is reset in place of an answer.
    LoseAnswer,
    /// The request is carried out twice, and the second answer is told.
    Twice,
    /// The service's clock is off by so many seconds for this request.
    Clock(i64),
    /// What comes above so many requests a second is told to slow down.
    Throttle(f64),
    /// A page of a listing is not what was asked for.
    Listing(PageFault),
}

/// An answer that has nothing to do with what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedAnswer {
    /// Its status.
    pub status: u16,
    /// Headers, beside those that every answer has.
    pub headers: Vec<(String, String)>,
    /// The body, which is taken for XML; may be empty.
    pub body: String,
}

/// When something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the request is carried out, or before the first byte of the answer.
    Before,
    /// In the middle of the answer's body.
    During,
    /// When the answer is out.
    After,
}

/// Which of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// What the service receives.
    Request,
    /// What it sends.
    Answer,
}

/// What is wrong with a page of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageFault {
    /// It is the first page, whatever was asked for.
    Repeat,
    /// Its keys are in the wrong order.
    Disorder,
    /// Its last key is there twice.
    Duplicate,
}

impl Fault {
    /// What it is called in plans and in the access log.
    pub fn name(&self) -> &'static str {
        match self {
            Fault::Status { .. } => "status",
            Fault::Answer(_) => "answer",
            Fault::Reset(_) => "reset",
            Fault::Stall { .. } => "stall",
            Fault::Truncate(_) => "truncate",
            Fault::Flip(_) => "flip",
            Fault::FlipHeader(..) => "flip_header",
            Fault::WrongEtag => "wrong_etag",
            Fault::WrongCrc64 => "wrong_crc64",
            Fault::ErrorInside(_) => "error_inside",
            Fault::LoseAnswer => "lose_answer",
            Fault::Twice => "twice",
            Fault::Clock(_) => "clock",
            Fault::Throttle(_) => "throttle",
            Fault::Listing(_) => "listing",
        }
    }
}
