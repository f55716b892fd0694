//! One small question to a service that is not COS: the metadata of a machine, or STS.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::http::{Incoming, NetworkOptions, Outgoing, Timeouts, Transport, TransportError, Weight};
use super::pace::Patience;
use super::provider::ProviderError;
use super::watchdog::Watchdog;
use super::{Body, StoreError};
use crate::clock::Clock;
use crate::wire::date;
use crate::wire::issued::Issued;
use crate::wire::request::{HeaderPair, Method};

/// The largest answer that is read, in bytes: a token has some thousand.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// How long one question may take. Short enough that three of them fit into what somebody waits for a mount.
const QUESTION_DEADLINE: Duration = Duration::from_secs(5);

/// Asks one service.
#[derive(Debug)]
pub(super) struct Questions {
    transport: Transport,
    clock: Clock,
    deadline: Duration,
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Bytes,
    /// How far the clock of the service is ahead of this machine's, where it tells.
    pub(super) ahead: Ahead,
}

/// How far one clock is ahead of another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ahead {
    pub(super) seconds: i64,
}

impl Ahead {
    /// The key with its end by the clock of this machine.
    pub(super) fn undone(self, issued: Issued) -> Issued {
        let span = Duration::from_secs(self.seconds.unsigned_abs());
        let undone = |at: SystemTime| if self.seconds < 0 { at.checked_add(span) } else { at.checked_sub(span) };
        Issued { expires: issued.expires.and_then(undone), ..issued }
    }
}

impl Questions {
    pub(super) fn new(secure: bool, network: &NetworkOptions, clock: Clock) -> Result<Questions, StoreError> {
        let timeouts = Timeouts::default().within(QUESTION_DEADLINE);
        let watchdog = Arc::new(Watchdog::new(QUESTION_DEADLINE));
        let transport =
            Transport::new(timeouts, secure, network, None, (watchdog, Arc::default())).map_err(|error| {
                StoreError { obstacle: error.obstacle, ..StoreError::new(error.kind, None, "", error.message) }
            })?;
        Ok(Questions { transport, clock, deadline: QUESTION_DEADLINE })
    }

    /// The same with less time for each.
    pub(super) fn within(self, deadline: Duration) -> Questions {
        Questions { deadline: deadline.min(QUESTION_DEADLINE), ..self }
    }

    /// Asks once.
    pub(super) async fn ask(
        &self,
        method: Method,
        url: String,
        headers: Vec<HeaderPair>,
        body: Body,
    ) -> Result<Reply, ProviderError> {
        let patience = Patience { silence: self.deadline, whole: self.deadline };
        let (sent, weight) = (Arc::default(), Weight::Light);
        let failed = |error: TransportError| ProviderError::passing(error.message);
        let outgoing = Outgoing { method, url, headers, body, sent, stats: None, weight, patience };
        let sent = tokio::time::timeout(self.deadline, self.transport.send(outgoing)).await;
        let late = |_| ProviderError::passing(format!("no answer within {} s", self.deadline.as_secs()));
        let Incoming { status, headers, body } = sent.map_err(late)?.map_err(failed)?;
        let told = headers.get("date").and_then(date::parse);
        let body = body.read_all(ANSWER_BYTES_MAX).await.map_err(failed)?;
        Ok(Reply { status, body, ahead: told.map_or_else(Ahead::default, |told| self.ahead_by(told)) })
    }

    fn ahead_by(&self, told: SystemTime) -> Ahead {
        let now = self.clock.now();
        let whole = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        let seconds = told.duration_since(now).map_or_else(|error| -whole(error.duration()), whole);
        Ahead { seconds }
    }
}
