//! What the service said in the course of a call.
//!
//! An [`FsError`] is a meaning, compared and kept; who logs the failure of a call wants the whole story. It is noted where
//! the service's error becomes a meaning, in the task of the call, and given along with the outcome. What the service said
//! and the call got over is not given along.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::time::SystemTime;

use super::FsError;
use crate::stats::Failure;
use crate::store::StoreError;

tokio::task_local! {
    /// The last error of the service that became a meaning in this call. Boxed: most calls note nothing.
    static SAID: Cell<Option<Box<StoreError>>>;
}

tokio::task_local! {
    /// Whose call it is that is being answered.
    static CALLER: u32;
}

/// The caller by whatever number; all are one where nobody has said whose call it is.
pub(crate) fn caller() -> u32 {
    CALLER.try_with(|caller| *caller).unwrap_or_default()
}

/// Answers a call of this caller.
pub(crate) fn called_by<F: Future>(caller: u32, call: F) -> impl Future<Output = F::Output> {
    CALLER.scope(caller, call)
}

/// A call that failed, and what the service said if it failed of that.
#[derive(Debug)]
pub struct FailedCall {
    /// Why, as a meaning.
    pub error: FsError,
    /// The answer or accident behind it.
    pub cause: Option<Box<StoreError>>,
}

impl fmt::Display for FailedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Some(cause) => cause.fmt(f),
            None => self.error.fmt(f),
        }
    }
}

impl FailedCall {
    /// It, for those who look at what went wrong last.
    pub fn noted(&self, call: &'static str, path: String, errno: &'static str) -> Failure {
        let (key, code, request_id) = match &self.cause {
            Some(cause) => (cause.key.clone(), cause.code.clone(), cause.request_id.clone()),
            None => Default::default(),
        };
        Failure { at: SystemTime::now(), call, path, key, errno, code, request_id, message: self.to_string() }
    }

    fn new(error: FsError, said: Option<Box<StoreError>>) -> FailedCall {
        let cause = said.filter(|said| super::error::may_mean(said.kind, &error));
        FailedCall { error, cause }
    }
}

/// Runs a call to its end, and keeps what the service said if it fails.
pub async fn with_cause<T>(call: impl Future<Output = Result<T, FsError>>) -> Result<T, FailedCall> {
    let mut call = pin!(SAID.scope(Cell::new(None), call));
    let result = call.as_mut().await;
    result.map_err(|error| FailedCall::new(error, call.take_value().and_then(Cell::into_inner)))
}

/// The same for a call that does not wait.
pub fn with_cause_at_once<T>(call: impl FnOnce() -> Result<T, FsError>) -> Result<T, FailedCall> {
    SAID.sync_scope(Cell::new(None), || call().map_err(|error| FailedCall::new(error, SAID.with(Cell::take))))
}

/// Notes an error of the service. Returns whether there is a call to note it for.
pub(crate) fn note(error: &StoreError) -> bool {
    SAID.try_with(|said| said.set(Some(Box::new(error.clone())))).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Op, StoreErrorKind};

    fn denied() -> StoreError {
        let mut error = StoreError::new(StoreErrorKind::Denied, Op::DeleteObject, "a/b", "Access Denied.");
        error.request_id = "NTg3".into();
        error
    }

    #[tokio::test]
    async fn what_the_service_said_comes_with_the_failure_and_not_with_another_one() {
        let refused = async || -> Result<(), StoreError> { Err(denied()) };
        let failed = with_cause(async { Ok(refused().await?) }).await.unwrap_err();
        assert_eq!(failed.error, FsError::Remote(StoreErrorKind::Denied));
        assert_eq!(failed.cause.unwrap().request_id, "NTg3");

        let got_over = async {
            let _: FsError = denied().into();
            Err::<(), _>(FsError::NotEmpty)
        };
        assert!(with_cause(got_over).await.unwrap_err().cause.is_none());
        let at_once = with_cause_at_once(|| Err::<(), _>(denied().into())).unwrap_err();
        assert_eq!(at_once.cause.unwrap().op, Some(Op::DeleteObject));
        assert!(!note(&denied()), "there is no call");
    }
}
