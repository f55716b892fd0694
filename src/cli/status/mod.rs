//! `cosmount status`: how mounts fare, once or for as long as somebody watches.

mod report;
mod watch;

use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::arguments::StatusArguments;
use super::control::{self, Answer, Ask, Conversation};
use super::failure::{Exit, Failure};
use super::sync::place;
use super::terminal::{self, Terminal};
use crate::monitor::Status;

/// How often somebody who watches is shown something new.
const WATCH_EVERY: Duration = Duration::from_millis(500);

/// Shows the mount that a path is in, or all mounts of this user.
pub(super) fn run(arguments: &StatusArguments) -> Result<(), Failure> {
    let Some(path) = &arguments.mount_point else { return all(arguments) };
    let place = place(path)?;
    let subject = place.mount_point.display().to_string();
    if arguments.watch {
        return watch(place.daemon, &subject, arguments.json);
    }
    let status = ask(place.daemon, &subject)?;
    show(&status, arguments.json);
    Ok(())
}

fn all(arguments: &StatusArguments) -> Result<(), Failure> {
    let mut daemons = control::daemons();
    if arguments.watch {
        return match (daemons.pop(), daemons.is_empty()) {
            (Some((_, daemon)), true) => watch(daemon, "your mount", arguments.json),
            (None, _) => Err(Failure::new(Exit::MountPoint, NOTHING)),
            (Some(_), false) => {
                let sentence = "you have several mounts; say which to watch: cosmount status --watch DIR";
                Err(Failure::new(Exit::Usage, sentence))
            }
        };
    }
    // One that is just ending is no mount any more.
    let statuses: Vec<Status> =
        daemons.into_iter().filter_map(|(_, daemon)| ask(daemon, "a mount of yours").ok()).collect();
    if arguments.json {
        terminal::tell(&serde_json::to_string_pretty(&statuses).unwrap_or_default());
    } else if statuses.is_empty() {
        terminal::tell(NOTHING);
    }
    for (index, status) in statuses.iter().enumerate().filter(|_| !arguments.json) {
        if index > 0 {
            terminal::tell("");
        }
        show(status, false);
    }
    Ok(())
}

/// What is said where there is nothing to show.
const NOTHING: &str = "you have mounted nothing with cosmount; see `cosmount mount --help`";

/// Asks a mount how it fares.
pub(super) fn ask(daemon: UnixStream, subject: &str) -> Result<Status, Failure> {
    let mut conversation = Conversation::begin(daemon, subject, &Ask::Status { every_ms: None })?;
    while let Some(answer) = conversation.next()? {
        if let Answer::Status { status } = answer {
            return Ok(*status);
        }
    }
    let sentence = format!("the mount on {subject} ended before it answered; see `cosmount status`");
    Err(Failure::new(Exit::MountPoint, sentence))
}

fn show(status: &Status, json: bool) {
    if json {
        terminal::tell(&serde_json::to_string_pretty(status).unwrap_or_default());
    } else {
        terminal::tell(report::text(status, &Terminal::of_stdout()).trim_end());
    }
}

fn watch(daemon: UnixStream, subject: &str, json: bool) -> Result<(), Failure> {
    let every_ms = Some(u64::try_from(WATCH_EVERY.as_millis()).unwrap_or(u64::MAX));
    let mut conversation = Conversation::begin(daemon, subject, &Ask::Status { every_ms })?;
    conversation.hang_up_on_interrupt()?;
    let mut view = watch::View::new(Terminal::of_stdout());
    while let Some(answer) = conversation.next()? {
        let Answer::Status { status } = answer else { continue };
        let is_read = match json {
            true => terminal::tells(&serde_json::to_string(&status).unwrap_or_default()),
            false => view.show(&status),
        };
        if !is_read {
            break;
        }
    }
    view.end();
    Ok(())
}
