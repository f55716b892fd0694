//! What is said on the control socket: one line asks, lines answer. Each is a JSON object (`docs/CONTROL.md`).

use serde::{Deserialize, Serialize};
use wildmatch::WildMatch;

use crate::monitor::Status;
use crate::stats::Event;

/// The version of the protocol. It counts up where something that was there goes or means something else; what is new and can
/// be left out does not count.
pub(in crate::cli) const VERSION: u32 = 1;

/// A line that asks.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::cli) struct Request {
    /// That of whoever asks.
    pub(in crate::cli) version: u32,
    #[serde(flatten)]
    pub(in crate::cli) ask: Ask,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub(in crate::cli) enum Ask {
    /// How the mount fares: once, or again and again.
    Status {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        every_ms: Option<u64>,
    },
    /// To publish what is not in the bucket, of all or of what is at and below a path.
    Sync {
        /// Below the mount, without a slash before it; empty for all.
        #[serde(default)]
        path: String,
    },
    /// To log at another level, until the mount opens its log anew.
    Log {
        /// As `--log-level` has it.
        level: String,
    },
    /// What happens from now on.
    Trace(TraceFilter),
    /// To publish everything, unmount and end.
    Unmount,
}

/// Which events somebody wants to hear of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::cli) struct TraceFilter {
    /// Only `request`s or `call`s; both if it is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) what: Option<String>,
    /// Only operations and calls of these names, with `*` and `?`, in any case; all if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::cli) names: Vec<String>,
    /// Only keys and paths that match, with `*` and `?`. Paths are without the slash before them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) key: Option<String>,
    /// Only calls of this process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) pid: Option<u32>,
    /// Only what took so long, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) slower_ms: Option<u64>,
    /// Only what failed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::cli) failed: bool,
}

/// A line that answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "tell", rename_all = "snake_case")]
pub(in crate::cli) enum Answer {
    /// How the mount fares.
    Status { status: Box<Status> },
    /// It began, and will have ended within so many seconds.
    Within { seconds: u64 },
    /// So many files are not published yet, and so many bytes of them have not landed.
    Progress { files: u64, bytes: u64 },
    /// Something could not be published, and why.
    Unpublished { what: String },
    /// An upload could not be aborted.
    Upload { what: String },
    /// A file is published that a program still had open for writing.
    CutOff { path: String },
    /// The mount is still in the tree of names, and why. Nothing answers there any more.
    Attached { why: String },
    /// From here on nothing that happens is missed.
    Listening,
    /// Something happened: the fields of a request or a call.
    Event { event: serde_json::Value },
    /// So many events were lost, because they were not read in time.
    Lost { events: u64 },
    /// What was asked is not done, and why.
    Refused { why: String },
    /// All was said.
    Done,
}

/// The same as [`Answer::Event`], for who has the event itself.
#[derive(Serialize)]
#[serde(tag = "tell", rename_all = "snake_case")]
enum Told<'a> {
    Event { event: &'a Event },
}

impl Request {
    /// The line of a request of this version.
    pub(in crate::cli) fn line(ask: &Ask) -> String {
        line(&Request { version: VERSION, ask: ask.clone() })
    }

    /// Reads a line, or says why it is not understood.
    pub(in crate::cli) fn read(text: &str) -> Result<Ask, String> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let unread = |error: serde_json::Error| {
            format!("the request is not understood: {error}; it is one line, such as {}", line(&STATUS).trim_end())
        };
        let head: Head = serde_json::from_str(text).map_err(unread)?;
        if head.version != VERSION {
            let asked = head.version;
            return Err(format!(
                "this mount speaks version {VERSION} of the protocol, and was asked in version {asked}"
            ));
        }
        serde_json::from_str(text).map(|request: Request| request.ask).map_err(unread)
    }
}

/// The simplest request, to show what one is like.
const STATUS: Request = Request { version: VERSION, ask: Ask::Status { every_ms: None } };

impl Answer {
    /// The line, with its end.
    pub(in crate::cli) fn line(&self) -> String {
        line(self)
    }

    /// Reads a line; `None` is one that this version does not know.
    pub(in crate::cli) fn read(line: &str) -> Option<Answer> {
        serde_json::from_str(line).ok()
    }

    /// The line of an event.
    pub(in crate::cli) fn line_of(event: &Event) -> String {
        line(&Told::Event { event })
    }
}

/// What can be said is text, numbers and maps by text, all of which JSON can hold.
fn line(value: &impl Serialize) -> String {
    let mut line = serde_json::to_string(value).unwrap_or_default();
    line.push('\n');
    line
}

/// A filter that is ready to be asked of many events.
pub(in crate::cli) struct Sieve {
    filter: TraceFilter,
    names: Vec<WildMatch>,
    key: Option<WildMatch>,
    /// What keys begin with that paths of the mount do not.
    prefix: String,
}

impl Sieve {
    /// `prefix` is what keys begin with and paths of the mount do not.
    pub(in crate::cli) fn new(filter: TraceFilter, prefix: &str) -> Sieve {
        let names = filter.names.iter().map(|name| WildMatch::new_case_insensitive(name)).collect();
        let key = filter.key.as_deref().map(|key| WildMatch::new(key.strip_prefix('/').unwrap_or(key)));
        Sieve { filter, names, key, prefix: prefix.to_owned() }
    }

    /// Whether somebody wants to hear of it.
    pub(in crate::cli) fn lets_through(&self, event: &Event) -> bool {
        let (what, name, keys, pid, took, result) = match event {
            Event::Request(request) => {
                ("request", request.operation, [Some(&request.key), None], None, request.took, request.result)
            }
            Event::Call(call) => {
                ("call", call.call, [Some(&call.path), call.to.as_ref()], Some(call.pid), call.took, call.result)
            }
        };
        let TraceFilter { what: wanted, pid: of, slower_ms, failed, .. } = &self.filter;
        let fits = |pattern: &WildMatch| {
            let bare = |key: &String| pattern.matches(key.strip_prefix('/').unwrap_or(key));
            let below = |key: &String| key.strip_prefix(&self.prefix).is_some_and(|key| pattern.matches(key));
            keys.into_iter().flatten().any(|key| bare(key) || below(key))
        };
        wanted.as_deref().is_none_or(|wanted| wanted == what)
            && (self.names.is_empty() || self.names.iter().any(|pattern| pattern.matches(name)))
            && self.key.as_ref().is_none_or(fits)
            && of.is_none_or(|of| pid == Some(of))
            && slower_ms.is_none_or(|millis| took.as_millis() >= millis.into())
            && (!failed || result != "ok")
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::stats::{CallEvent, RequestEvent};

    #[test]
    fn requests_are_lines_that_people_can_write() {
        let table = [
            (Ask::Status { every_ms: None }, r#"{"version":1,"ask":"status"}"#),
            (Ask::Status { every_ms: Some(500) }, r#"{"version":1,"ask":"status","every_ms":500}"#),
            (Ask::Sync { path: "a/b".into() }, r#"{"version":1,"ask":"sync","path":"a/b"}"#),
            (Ask::Unmount, r#"{"version":1,"ask":"unmount"}"#),
            (
                Ask::Trace(TraceFilter { names: vec!["Put*".into()], failed: true, ..TraceFilter::default() }),
                r#"{"version":1,"ask":"trace","names":["Put*"],"failed":true}"#,
            ),
        ];
        for (ask, text) in table {
            assert_eq!(Request::line(&ask), format!("{text}\n"));
            assert_eq!(Request::read(text), Ok(ask));
        }
        assert_eq!(Request::read(r#"{"version":1,"ask":"sync","new":7}"#), Ok(Ask::Sync { path: String::new() }));
    }

    #[test]
    fn what_is_not_understood_is_refused_with_a_reason() {
        for text in ["", "unmount", "{}", r#"{"version":1,"ask":"dance"}"#, r#"{"version":"1","ask":"status"}"#, "[1]"]
        {
            let why = Request::read(text).unwrap_err();
            assert!(why.contains(r#"{"version":1,"ask":"status"}"#), "{text}: {why}");
        }
        let why = Request::read(r#"{"version":2,"ask":"dance"}"#).unwrap_err();
        assert!(why.contains("version 1") && why.contains("version 2"), "{why}");
    }

    #[test]
    fn answers_are_read_back_as_they_were_written() {
        let answers = [
            Answer::Within { seconds: 60 },
            Answer::Progress { files: 3, bytes: 1 << 40 },
            Answer::Unpublished { what: "a\nb.txt: no such bucket".into() },
            Answer::Upload { what: "a (upload 17)".into() },
            Answer::CutOff { path: "a b.txt".into() },
            Answer::Attached { why: "/mnt cannot be unmounted: no".into() },
            Answer::Listening,
            Answer::Lost { events: 7 },
            Answer::Refused { why: "no".into() },
            Answer::Done,
        ];
        for answer in answers {
            let line = answer.line();
            assert_eq!((line.matches('\n').count(), line.ends_with('\n')), (1, true), "{line:?}");
            assert_eq!(Answer::read(&line), Some(answer));
        }
        assert_eq!(Answer::read(r#"{"tell":"something new"}"#), None);
    }

    fn request(operation: &'static str, key: &str, result: &'static str, millis: u64) -> Event {
        Event::Request(RequestEvent {
            at: SystemTime::UNIX_EPOCH,
            operation,
            key: key.into(),
            status: 200,
            result,
            code: String::new(),
            request_id: String::new(),
            bytes_up: 0,
            bytes_down: 0,
            took: Duration::from_millis(millis),
        })
    }

    fn call(call: &'static str, path: &str, to: Option<&str>, pid: u32, result: &'static str) -> Event {
        Event::Call(CallEvent {
            at: SystemTime::UNIX_EPOCH,
            call,
            path: path.into(),
            to: to.map(str::to_owned),
            offset: None,
            bytes: None,
            pid,
            result,
            took: Duration::from_millis(1),
        })
    }

    #[test]
    fn a_filter_lets_through_what_fits_in_every_respect() {
        let events = [
            request("PutObject", "mine/a/x.txt", "ok", 20),
            request("UploadPart", "a/y.bin", "throttled", 300),
            call("write", "/a/y.bin", None, 7, "ok"),
            call("rename", "/b", Some("/a/c.txt"), 8, "EACCES"),
        ];
        let none = TraceFilter::default;
        let table = [
            (none(), vec![0, 1, 2, 3]),
            (TraceFilter { what: Some("call".into()), ..none() }, vec![2, 3]),
            (TraceFilter { names: vec!["uploadpart".into(), "ren*".into()], ..none() }, vec![1, 3]),
            (TraceFilter { key: Some("a/*.txt".into()), ..none() }, vec![0, 3]),
            (TraceFilter { key: Some("/a/y.bin".into()), ..none() }, vec![1, 2]),
            (TraceFilter { pid: Some(7), ..none() }, vec![2]),
            (TraceFilter { slower_ms: Some(20), ..none() }, vec![0, 1]),
            (TraceFilter { failed: true, ..none() }, vec![1, 3]),
            (TraceFilter { failed: true, what: Some("request".into()), ..none() }, vec![1]),
        ];
        for (filter, expected) in table {
            let sieve = Sieve::new(filter.clone(), "mine/");
            let through: Vec<usize> =
                events.iter().enumerate().filter(|(_, event)| sieve.lets_through(event)).map(|(at, _)| at).collect();
            assert_eq!(through, expected, "{filter:?}");
        }
    }
}
