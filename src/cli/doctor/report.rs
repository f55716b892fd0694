//! What was found, line by line, and what it amounts to.

use std::time::Duration;

use crate::cli::diagnosis::Diagnosis;
use crate::cli::failure::Exit;
use crate::cli::topic::Topic;

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// As it should be.
    Ok,
    /// A mount works, and something about it deserves a look.
    Warning,
    /// A mount does not work, or not for everything. A command that it keeps from working ends with this.
    Failure(Exit),
    /// Nobody looked.
    Skipped,
}

impl Status {
    /// The word, as JSON has it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Warning => "warning",
            Status::Failure(_) => "failure",
            Status::Skipped => "skipped",
        }
    }
}

/// What was found of one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) topic: Topic,
    pub(super) status: Status,
    /// What was seen, in a sentence without a full stop.
    pub(super) detail: String,
    /// What to do about it, as a command where there is one.
    pub(super) fix: Option<String>,
}

impl Finding {
    pub(super) fn ok(topic: Topic, detail: impl Into<String>) -> Finding {
        Finding { topic, status: Status::Ok, detail: detail.into(), fix: None }
    }

    pub(super) fn warning(topic: Topic, detail: impl Into<String>) -> Finding {
        Finding { topic, status: Status::Warning, detail: detail.into(), fix: None }
    }

    pub(super) fn skipped(topic: Topic, because: &str) -> Finding {
        Finding { topic, status: Status::Skipped, detail: format!("not tried, because {because}"), fix: None }
    }

    /// The same with what to do.
    pub(super) fn fixed_by(self, fix: impl Into<String>) -> Finding {
        Finding { fix: Some(fix.into()), ..self }
    }

    /// A diagnosis that keeps nothing from working.
    pub(super) fn warning_of(diagnosis: Diagnosis) -> Finding {
        Finding { status: Status::Warning, ..Finding::from(diagnosis) }
    }

    pub(super) fn is_failure(&self) -> bool {
        matches!(self.status, Status::Failure(_))
    }

    /// One finding of the two, which are about the same: what is worse of each, and both sentences.
    pub(super) fn and(self, other: Finding) -> Finding {
        let rank = |status: Status| match status {
            Status::Skipped => 0,
            Status::Ok => 1,
            Status::Warning => 2,
            Status::Failure(_) => 3,
        };
        let status = if rank(other.status) > rank(self.status) { other.status } else { self.status };
        let fix = match (self.fix, other.fix) {
            (Some(one), Some(more)) => Some(format!("{one}; {more}")),
            (one, more) => one.or(more),
        };
        Finding { topic: self.topic, status, detail: format!("{}; {}", self.detail, other.detail), fix }
    }
}

impl From<Diagnosis> for Finding {
    fn from(diagnosis: Diagnosis) -> Finding {
        let Diagnosis { topic, cause, remedy, evidence, exit } = diagnosis;
        let evidence = evidence.map(|evidence| format!(" ({evidence})")).unwrap_or_default();
        let detail = format!("{cause}{evidence}");
        Finding { topic, status: Status::Failure(exit), detail, fix: Some(remedy) }
    }
}

/// Everything that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) findings: Vec<Finding>,
    /// Keys that could not be removed again.
    pub(super) left_behind: Vec<String>,
    /// Whether somebody wanted the end before it came.
    pub(super) is_interrupted: bool,
}

impl Report {
    /// How many are so.
    pub(super) fn count(&self, is: impl Fn(Status) -> bool) -> usize {
        self.findings.iter().filter(|finding| is(finding.status)).count()
    }

    /// What the command ends with: the code of the first failure. Warnings alone are none: a mount works.
    pub(super) fn exit(&self) -> Result<(), Exit> {
        if self.is_interrupted {
            return Err(Exit::Failed);
        }
        let first = self.findings.iter().find_map(|finding| match finding.status {
            Status::Failure(exit) => Some(exit),
            _ => None,
        });
        first.map_or(Ok(()), Err)
    }

    /// The worst of all.
    pub(super) fn worst(&self) -> Status {
        match self.exit() {
            Err(exit) => Status::Failure(exit),
            Ok(()) if self.count(|status| status == Status::Warning) > 0 => Status::Warning,
            Ok(()) => Status::Ok,
        }
    }

    pub(super) fn has(&self, topic: Topic) -> bool {
        self.findings.iter().any(|finding| finding.topic == topic)
    }
}

/// A time in the unit that suits it.
pub(super) fn shown_time(time: Duration) -> String {
    match time.as_micros() {
        0..1_000 => format!("{:.1} ms", time.as_secs_f64() * 1e3),
        1_000..2_000_000 => format!("{:.0} ms", time.as_secs_f64() * 1e3),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_that_of_the_first_failure_and_warnings_have_none() {
        let failing = |topic, exit| Finding::from(Diagnosis::new(topic, "c", "r").ending(exit));
        let ok = Finding::ok(Topic::Dns, "d");
        let warning = Finding::warning(Topic::Lifecycle, "d");
        let report = |findings: &[Finding]| Report { findings: findings.to_vec(), ..Report::default() };
        let calm = report(&[ok.clone(), Finding::skipped(Topic::Put, "of it")]);
        assert_eq!((calm.exit(), calm.worst()), (Ok(()), Status::Ok));
        let interrupted = Report { is_interrupted: true, ..calm };
        assert_eq!(interrupted.exit(), Err(Exit::Failed), "nobody knows how it would have ended");
        let warned = report(&[ok.clone(), warning.clone()]);
        assert_eq!((warned.exit(), warned.worst()), (Ok(()), Status::Warning));
        let failed = report(&[ok, failing(Topic::Fuse, Exit::MountPoint), warning, failing(Topic::Put, Exit::Service)]);
        assert_eq!((failed.exit(), failed.worst()), (Err(Exit::MountPoint), Status::Failure(Exit::MountPoint)));
    }

    #[test]
    fn two_findings_about_the_same_are_one() {
        let one = Finding::ok(Topic::Leftovers, "no uploads");
        let other = Finding::warning(Topic::Leftovers, "a dead mount").fixed_by("cosmount unmount /mnt");
        let both = one.clone().and(other.clone());
        assert_eq!((both.status, both.detail.as_str()), (Status::Warning, "no uploads; a dead mount"));
        assert_eq!(other.clone().and(other).fix.as_deref(), Some("cosmount unmount /mnt; cosmount unmount /mnt"));
    }

    #[test]
    fn times_have_a_unit_that_suits_them() {
        for (micros, expected) in [(250, "0.2 ms"), (3_400, "3 ms"), (1_500_000, "1500 ms"), (2_500_000, "2.5 s")] {
            assert_eq!(shown_time(Duration::from_micros(micros)), expected);
        }
    }
}
