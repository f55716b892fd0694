//! `cosmount trace`: one line for each request to the service and each call of a program, as they happen.

use std::time::Duration;

use indicatif::BinaryBytes;
use serde_json::Value;

use super::arguments::{TraceArguments, TraceOnly};
use super::control::{Answer, Ask, Conversation, TraceFilter};
use super::failure::Failure;
use super::sync::{Place, place};
use super::terminal::{self, Terminal, harmless};
use crate::stats::is_failure;

/// How long there may be nothing to tell.
const SILENCE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Shows what happens until it is interrupted or the mount ends.
pub(super) fn run(arguments: &TraceArguments) -> Result<(), Failure> {
    let Place { daemon, mount_point, below } = place(&arguments.path)?;
    let ask = Ask::Trace(filter(arguments, &below));
    let mut conversation = Conversation::begin(daemon, &mount_point.display().to_string(), &ask)?;
    conversation.hang_up_on_interrupt()?;
    let terminal = Terminal::of_stdout();
    while let Some(answer) = conversation.next()? {
        match answer {
            Answer::Listening => {
                conversation.wait_for(SILENCE_MAX)?;
                terminal::note(&format!("listening to the mount on {}; end with Ctrl-C", mount_point.display()));
            }
            Answer::Event { event } => {
                let line = if arguments.json { event.to_string() } else { line(&event, &terminal) };
                if !terminal::tells(&line) {
                    // Who reads has seen enough.
                    return Ok(());
                }
            }
            Answer::Lost { events } => {
                terminal::warn(&format!("{events} events are left out, because they were not read in time"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn filter(arguments: &TraceArguments, below: &str) -> TraceFilter {
    let what = arguments.only.map(|only| match only {
        TraceOnly::Requests => "request".to_owned(),
        TraceOnly::Calls => "call".to_owned(),
    });
    // Who names something in the mount wants to see what happens there.
    let inside = match below {
        "" => None,
        below if arguments.path.is_dir() => Some(format!("{below}/*")),
        below => Some(below.to_owned()),
    };
    TraceFilter {
        what,
        names: arguments.operation.clone(),
        key: arguments.key.clone().or(inside),
        pid: arguments.pid,
        slower_ms: arguments.slower_than.map(|span| span.0.as_millis().try_into().unwrap_or(u64::MAX)),
        failed: arguments.failed,
    }
}

/// One event as a line for people: when, how long it took, what, how it ended, on what.
fn line(event: &Value, terminal: &Terminal) -> String {
    let text = |name: &str| event[name].as_str().unwrap_or_default();
    let number = |name: &str| event[name].as_u64();
    let time = text("at").split('T').nth(1).unwrap_or_default().trim_end_matches('Z');
    let millis = number("micros").unwrap_or_default() as f64 / 1e3;
    let result = text("result");
    let ended = match result {
        "ok" => terminal.good("ok"),
        other if is_failure(other) => terminal.bad(other),
        other => other.to_owned(),
    };
    let (arrow, name, on, facts) = if text("what") == "request" {
        let mut facts: Vec<String> = Vec::new();
        facts.extend(number("status").filter(|status| *status != 0).map(|status| status.to_string()));
        facts.extend(number("bytes_up").filter(|up| *up > 0).map(|up| format!("{} up", BinaryBytes(up))));
        facts.extend(number("bytes_down").filter(|down| *down > 0).map(|down| format!("{} down", BinaryBytes(down))));
        facts.extend(Some(text("code")).filter(|code| !code.is_empty()).map(str::to_owned));
        facts.extend(Some(text("request_id")).filter(|id| !id.is_empty()).map(|id| format!("request {id}")));
        (if terminal.unicode { "→" } else { ">" }, text("operation"), format!("{:?}", text("key")), facts)
    } else {
        let mut facts = vec![format!("pid {}", number("pid").unwrap_or_default())];
        facts.extend(number("bytes").filter(|bytes| *bytes > 0).map(|bytes| format!("{bytes} bytes")));
        facts.extend(number("offset").map(|offset| format!("at {offset}")));
        let to = event["to"].as_str().map_or_else(String::new, |to| format!(" to {}", harmless(to)));
        (" ", text("call"), format!("{}{to}", harmless(text("path"))), facts)
    };
    let facts = if facts.is_empty() { String::new() } else { format!(" ({})", facts.join(", ")) };
    format!("{time} {millis:>9.3} ms {arrow} {name} {on}: {ended}{}", terminal.dim(&harmless(&facts)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line_that_people_read() {
        let piped = Terminal { is_terminal: false, columns: usize::MAX, colour: false, unicode: false };
        let request = serde_json::json!({
            "what": "request", "at": "2026-11-29T20:00:01.500Z", "operation": "UploadPart", "key": "a\u{1b}b", "status": 403,
            "result": "denied", "code": "AccessDenied", "request_id": "NTg3", "bytes_up": 8 << 20, "bytes_down": 0,
            "micros": 21_500,
        });
        let expected = "20:00:01.500    21.500 ms > UploadPart \"a\\u{1b}b\": denied (403, 8.00 MiB up, AccessDenied, request NTg3)";
        assert_eq!(line(&request, &piped), expected);
        let call = serde_json::json!({
            "what": "call", "at": "2026-11-29T20:00:01.500Z", "call": "rename", "path": "/a\n", "to": "/b", "pid": 7,
            "result": "ok", "micros": 12,
        });
        assert_eq!(line(&call, &piped), "20:00:01.500     0.012 ms   rename /a\\n to /b: ok (pid 7)");
        let colourful = Terminal { is_terminal: true, columns: 80, colour: true, unicode: true };
        assert!(line(&call, &colourful).contains("\u{1b}["));
    }
}
