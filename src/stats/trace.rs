//! What happens, for those who listen while it does.
//!
//! As long as nobody listens, nothing is gathered: who would tell asks first, which is one load of a counter. Whoever listens
//! and does not keep up loses events, and hears how many; nobody waits for a listener.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::sync::broadcast::{
    self,
    error::{RecvError, TryRecvError},
};
use tokio::sync::watch;

/// Events that may wait for a listener.
const WAITING_MAX: usize = 4096;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Event {
    /// A request to the service came to its end.
    Request(RequestEvent),
    /// A call of a program was answered.
    Call(CallEvent),
}

/// A request to the service, one attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RequestEvent {
    /// When it ended, by the clock of this machine.
    #[serde(serialize_with = "as_text")]
    pub at: SystemTime,
    /// The operation.
    pub operation: &'static str,
    /// The key, or the prefix of a listing.
    pub key: String,
    /// HTTP status; 0 where there was no answer.
    pub status: u16,
    /// `ok`, or what the failure means.
    pub result: &'static str,
    /// The service's code; empty where it gave none.
    pub code: String,
    /// The service's id of the request; empty where there is none.
    pub request_id: String,
    /// Payload bytes that went out.
    pub bytes_up: u64,
    /// Payload bytes that came in.
    pub bytes_down: u64,
    /// How long it took, from the request to the last byte of the answer.
    #[serde(rename = "micros", serialize_with = "as_micros")]
    pub took: Duration,
}

/// A call of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CallEvent {
    /// When it was answered.
    #[serde(serialize_with = "as_text")]
    pub at: SystemTime,
    /// The call.
    pub call: &'static str,
    /// The path below the mount, with a slash before it.
    pub path: String,
    /// The other path, of a rename or a link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Where in the file, of a read or a write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Bytes that were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The process.
    pub pid: u32,
    /// `ok`, or the errno that the program got, by name.
    pub result: &'static str,
    /// How long it waited.
    #[serde(rename = "micros", serialize_with = "as_micros")]
    pub took: Duration,
}

fn as_micros<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(took.as_micros()).unwrap_or(u64::MAX))
}

fn as_text<S: serde::Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text_of_time(*at))
}

/// A time as people and programs read it, in UTC with milliseconds.
pub fn text_of_time(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).map_or_else(|_| "never".to_owned(), |at| format!("{at:.3}"))
}

/// Where events go.
#[derive(Debug)]
pub struct Trace {
    listeners: Arc<AtomicUsize>,
    events: broadcast::Sender<Arc<Event>>,
    /// Whether nothing more happens. Each listener has a receiver.
    ended: watch::Sender<bool>,
}

impl Default for Trace {
    fn default() -> Trace {
        // The buffer is there from the start: some 100 KiB.
        Trace {
            listeners: Arc::default(),
            events: broadcast::Sender::new(WAITING_MAX),
            ended: watch::Sender::new(false),
        }
    }
}

/// Somebody who hears what happens from now on.
#[derive(Debug)]
pub struct Listener {
    listeners: Arc<AtomicUsize>,
    events: broadcast::Receiver<Arc<Event>>,
    ended: watch::Receiver<bool>,
}

impl Trace {
    /// Whether somebody listens.
    pub fn is_on(&self) -> bool {
        self.listeners.load(Ordering::Relaxed) > 0
    }

    /// Tells of something, if somebody listens.
    pub fn tell(&self, event: impl FnOnce() -> Event) {
        if self.is_on() {
            // Whoever listened has gone otherwise.
            let _ = self.events.send(Arc::new(event()));
        }
    }

    /// Begins to listen.
    pub fn listen(&self) -> Listener {
        let events = self.events.subscribe();
        self.listeners.fetch_add(1, Ordering::Relaxed);
        Listener { listeners: self.listeners.clone(), events, ended: self.ended.subscribe() }
    }

    /// Nothing more happens: returns when every listener has heard what did, and has gone.
    pub async fn end(&self) {
        self.ended.send_replace(true);
        self.ended.closed().await;
    }
}

impl Listener {
    /// Returns when nothing more happens.
    pub async fn until_end(&self) {
        let mut ended = self.ended.clone();
        // Who tells of events lives longer than who listens, or has ended.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// The next event, or how many were lost since the last because the listener was too slow. `None` when the mount is gone.
    pub async fn next(&mut self) -> Option<Result<Arc<Event>, u64>> {
        loop {
            match self.events.try_recv() {
                Ok(event) => return Some(Ok(event)),
                Err(TryRecvError::Lagged(lost)) => return Some(Err(lost)),
                Err(TryRecvError::Empty) if !*self.ended.borrow() => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
            }
            tokio::select! {
                received = self.events.recv() => match received {
                    Ok(event) => return Some(Ok(event)),
                    Err(RecvError::Lagged(lost)) => return Some(Err(lost)),
                    Err(RecvError::Closed) => return None,
                },
                // What had happened by then is still to be heard.
                _ = self.ended.changed() => {}
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.listeners.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(offset: u64) -> Event {
        Event::Call(CallEvent {
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(1500),
            call: "write",
            path: "/a".into(),
            to: None,
            offset: Some(offset),
            bytes: Some(7),
            pid: 3,
            result: "ok",
            took: Duration::from_micros(12),
        })
    }

    #[tokio::test]
    async fn who_listens_hears_what_happens_and_how_much_was_lost() {
        let trace = Trace::default();
        trace.tell(|| unreachable!("nobody listens"));
        let mut listener = trace.listen();
        trace.tell(|| call(1));
        assert_eq!(*listener.next().await.unwrap().unwrap(), call(1));
        (0..WAITING_MAX as u64 + 3).for_each(|offset| trace.tell(|| call(offset)));
        assert_eq!(listener.next().await.unwrap().unwrap_err(), 3);
        assert_eq!(*listener.next().await.unwrap().unwrap(), call(3));
        drop(listener);
        assert!(!trace.is_on());
    }

    #[tokio::test]
    async fn the_end_waits_until_all_was_heard() {
        let trace = Arc::new(Trace::default());
        trace.end().await;
        let trace = Arc::new(Trace::default());
        let mut listener = trace.listen();
        trace.tell(|| call(1));
        let ending = tokio::spawn({
            let trace = trace.clone();
            async move { trace.end().await }
        });
        while !*listener.ended.borrow() {
            tokio::task::yield_now().await;
        }
        assert!(!ending.is_finished());
        assert_eq!(*listener.next().await.unwrap().unwrap(), call(1));
        assert!(listener.next().await.is_none());
        drop(listener);
        ending.await.unwrap();
    }

    #[test]
    fn an_event_is_one_line_that_programs_read() {
        let expected = r#"{"what":"call","at":"1970-01-01T00:00:01.500Z","call":"write","path":"/a","offset":5,"bytes":7,"pid":3,"result":"ok","micros":12}"#;
        assert_eq!(serde_json::to_string(&call(5)).unwrap(), expected);
    }
}
