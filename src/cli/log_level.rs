//! `cosmount log`: change what a mount logs while it runs.

use super::arguments::LogArguments;
use super::control::{Answer, Ask, Conversation};
use super::failure::{Exit, Failure};
use super::sync::{self, Place};

/// Asks the mount that a path is in to log at another level.
pub(super) fn run(arguments: &LogArguments) -> Result<(), Failure> {
    let Place { daemon, mount_point, .. } = sync::place(&arguments.path)?;
    let mount = mount_point.display().to_string();
    let mut conversation = Conversation::begin(daemon, &mount, &Ask::Log { level: arguments.level.0.clone() })?;
    while let Some(answer) = conversation.next()? {
        if answer == Answer::Done {
            return Ok(());
        }
    }
    Err(Failure::new(Exit::Failed, format!("the mount on {mount} has not answered; its log is what it was: try again")))
}
