//! How a command fails: one sentence on stderr and a code that scripts can tell apart.

use std::process::ExitCode;

/// The meanings of exit codes, as `--help` and README.md list them. 2 is also what clap exits with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// Failed for a reason that has no code of its own.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// The service refused: credentials, bucket, region, or it cannot be reached.
    Service = 3,
    /// The mount point or FUSE on this machine.
    MountPoint = 4,
    /// Unmounted, but something could not be published.
    Unpublished = 5,
}

impl Exit {
    const ALL: [Exit; 5] = [Exit::Failed, Exit::Usage, Exit::Service, Exit::MountPoint, Exit::Unpublished];

    /// The meaning of a code that a daemon sent to the process that started it.
    pub(super) fn from_code(code: u8) -> Exit {
        Exit::ALL.into_iter().find(|exit| *exit as u8 == code).unwrap_or(Exit::Failed)
    }
}

/// Why a command ended without having done what it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// What the process exits with.
    pub(super) exit: Exit,
    /// What went wrong and what to do about it, without a trailing full stop.
    pub(super) sentence: String,
}

impl Failure {
    pub(super) fn new(exit: Exit, sentence: impl Into<String>) -> Failure {
        Failure { exit, sentence: sentence.into() }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

impl From<crate::config::ConfigError> for Failure {
    fn from(error: crate::config::ConfigError) -> Failure {
        Failure::new(Exit::Usage, error.to_string())
    }
}
