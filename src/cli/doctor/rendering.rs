//! A report as text for people, and as JSON for programs. Values in, text out.

use serde_json::{Value, json};

use super::report::{Finding, Report, Status};
use crate::cli::terminal::{Terminal, harmless};
use crate::cli::topic::Topic;
use crate::config::redacted;

/// Where the names of checks begin, behind a sign, and where what was found begins, behind the longest name.
const NAME_COLUMN: usize = 8;
const DETAIL_COLUMN: usize = 22;
/// On anything narrower the sentences begin further left, below the name.
const NARROW_COLUMNS: usize = 60;
const NARROW_COLUMN: usize = 4;

const SKIPPED_SIGN: &str = "- ";

/// One line, or several where it is long.
pub(super) fn line(finding: &Finding, terminal: &Terminal) -> String {
    let Finding { topic, status, detail, fix } = finding;
    let (sign, word) = match status {
        Status::Ok => ("\u{2713} ", "OK"),
        Status::Warning => ("! ", "warning"),
        Status::Failure(_) => ("\u{2717} ", "FAILURE"),
        Status::Skipped => (SKIPPED_SIGN, "skipped"),
    };
    let painted = match status {
        Status::Ok => terminal.good(word),
        Status::Warning => terminal.warning(word),
        Status::Failure(_) => terminal.bad(word),
        Status::Skipped => terminal.dim(word),
    };
    // Signs are for a glance; the word says the same.
    let sign = if terminal.unicode { sign } else { "" };
    let name = topic.name();
    let is_narrow = terminal.columns < NARROW_COLUMNS;
    let (begins, hangs) = match is_narrow {
        true => (sign.chars().count() + NAME_COLUMN + name.len() + 1, NARROW_COLUMN),
        false => (sign.chars().count() + DETAIL_COLUMN, sign.chars().count() + DETAIL_COLUMN),
    };
    let gap = " ".repeat(NAME_COLUMN - word.len());
    let pad = if is_narrow { 1 } else { DETAIL_COLUMN - NAME_COLUMN - name.len() };
    let detail = terminal.wrapped(&shown(detail), begins, hangs);
    let mut line = format!("{sign}{painted}{gap}{name}{}{detail}", " ".repeat(pad));
    if let Some(fix) = fix {
        let fix = terminal.wrapped(&format!("fix: {}", shown(fix)), hangs, hangs + "fix: ".len());
        line.push_str(&format!("\n{}{fix}", " ".repeat(hangs)));
    }
    line
}

/// All that nobody has looked at for one reason.
pub(super) fn skipped(topics: &[Topic], because: &str, terminal: &Terminal) -> String {
    let names: Vec<&str> = topics.iter().map(|topic| topic.name()).collect();
    let sign = if terminal.unicode { SKIPPED_SIGN } else { "" };
    let begins = sign.chars().count() + NAME_COLUMN;
    let text = format!("{}: not tried, because {}", names.join(", "), shown(because));
    let word = terminal.dim("skipped");
    format!("{sign}{word} {}", terminal.wrapped(&text, begins, begins))
}

/// What stands below all lines.
pub(super) fn summary(report: &Report, terminal: &Terminal) -> String {
    let failures = report.count(|status| matches!(status, Status::Failure(_)));
    let warnings = report.count(|status| status == Status::Warning);
    let well = report.count(|status| status == Status::Ok);
    let skipped = report.count(|status| status == Status::Skipped);
    let plural = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let failures = match failures {
        0 => "no failure".to_owned(),
        count => terminal.bad(&plural(count, "failure")),
    };
    let warnings = match warnings {
        0 => "no warning".to_owned(),
        count => terminal.warning(&plural(count, "warning")),
    };
    let mut told = format!("{failures}, {warnings}, {well} OK");
    if skipped > 0 {
        told.push_str(&format!(", {skipped} not tried"));
    }
    if report.is_interrupted {
        told = format!("interrupted: {told}");
    }
    for key in &report.left_behind {
        told.push_str(&format!("\nleft behind in the bucket, because it could not be removed: {}", shown(key)));
    }
    told
}

/// One object. `source` is what was checked, if that is known.
pub(super) fn as_json(report: &Report, source: Option<&str>, origin: Option<&str>) -> Value {
    let check = |finding: &Finding| {
        json!({
            "name": finding.topic.name(),
            "status": finding.status.word(),
            "detail": redacted(&finding.detail),
            "fix": finding.fix.as_deref().map(redacted),
        })
    };
    json!({
        "source": source,
        "origin": origin,
        "status": report.worst().word(),
        "exit_code": report.exit().err().map_or(0, |exit| exit as u8),
        "checks": report.findings.iter().map(check).collect::<Vec<_>>(),
        "left_behind": report.left_behind,
        "interrupted": report.is_interrupted,
    })
}

/// A text without passwords, and without what a terminal would obey.
fn shown(text: &str) -> String {
    harmless(&redacted(text)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::diagnosis::Diagnosis;

    const PLAIN: Terminal = Terminal { is_terminal: false, columns: usize::MAX, colour: false, unicode: false };
    const SCREEN: Terminal = Terminal { is_terminal: true, columns: 80, colour: false, unicode: true };

    fn long() -> Finding {
        let cause =
            "the certificate of https://photos-125.cos.ap-beijing.myqcloud.com is signed by no authority that is known";
        Diagnosis::new(Topic::Tls, cause, "name a file with the authority's certificate with --ca-bundle").into()
    }

    #[test]
    fn a_pipe_gets_words_in_ascii_and_a_line_for_each_sentence() {
        assert_eq!(line(&Finding::ok(Topic::Dns, "2 addresses"), &PLAIN), "OK      dns           2 addresses");
        let told = line(&long(), &PLAIN);
        assert!(told.is_ascii() && told.starts_with("FAILURE tls           the certificate of"), "{told}");
        assert_eq!(told.lines().count(), 2);
        assert!(told.lines().nth(1).unwrap().trim_start().starts_with("fix: name a file"), "{told}");
    }

    #[test]
    fn a_terminal_gets_signs_beside_the_words_and_lines_that_fit() {
        assert_eq!(line(&Finding::ok(Topic::Dns, "found"), &SCREEN), "\u{2713} OK      dns           found");
        for columns in [40, 80, 120] {
            let told = line(&long(), &Terminal { columns, ..SCREEN });
            // A URL is never broken.
            let is_wide = |line: &&str| line.chars().count() > columns && line.trim().contains(' ');
            assert!(!told.lines().any(|line| is_wide(&line)), "{columns}\n{told}");
            assert!(told.starts_with("\u{2717} FAILURE tls"), "{told}");
        }
    }

    #[test]
    fn what_is_skipped_for_one_reason_is_one_sentence() {
        let topics = [Topic::Put, Topic::Copy, Topic::Multipart, Topic::Delete, Topic::Throughput];
        let told = skipped(&topics, "put failed", &PLAIN);
        assert_eq!(told, "skipped put, copy, multipart, delete, throughput: not tried, because put failed");
        let narrow = skipped(&topics, "put failed", &Terminal { columns: 50, ..SCREEN });
        assert!(narrow.lines().count() > 1 && narrow.lines().all(|line| line.chars().count() <= 50), "{narrow}");
    }

    #[test]
    fn colour_adds_nothing_but_colour() {
        let coloured = Terminal { colour: true, ..SCREEN };
        for finding in [long(), Finding::ok(Topic::Dns, "found"), Finding::skipped(Topic::Put, "dns failed")] {
            let told = line(&finding, &coloured);
            assert!(told.contains('\u{1b}'));
            let mut plain = String::new();
            let mut rest = told.as_str();
            while let Some(at) = rest.find('\u{1b}') {
                plain.push_str(&rest[..at]);
                rest = &rest[at + rest[at..].find('m').unwrap() + 1..];
            }
            plain.push_str(rest);
            assert_eq!(plain, line(&finding, &SCREEN));
        }
    }

    #[test]
    fn neither_passwords_nor_commands_for_the_terminal_are_shown() {
        let finding =
            Finding::warning(Topic::Proxy, "http://me:hunter2@proxy is \u{1b}[2Jdown").fixed_by("x://a:hunter2@b");
        let told = line(&finding, &PLAIN);
        assert!(!told.contains("hunter2") && !told.contains('\u{1b}'), "{told}");
        let report = Report { findings: vec![finding], ..Report::default() };
        assert!(!as_json(&report, None, None).to_string().contains("hunter2"));
    }

    #[test]
    fn the_summary_counts_and_names_what_is_left() {
        let report = Report {
            findings: vec![long(), Finding::ok(Topic::Dns, "d"), Finding::skipped(Topic::Put, "tls failed")],
            left_behind: vec!["a/.cosmount-doctor-1".into()],
            is_interrupted: false,
        };
        let expected = "1 failure, no warning, 1 OK, 1 not tried\n\
                        left behind in the bucket, because it could not be removed: a/.cosmount-doctor-1";
        assert_eq!(summary(&report, &PLAIN), expected);
    }

    #[test]
    fn json_has_one_object_for_each_check() {
        let report = Report { findings: vec![long()], ..Report::default() };
        let value = as_json(&report, Some("photos-125"), Some("https://x"));
        assert_eq!((value["status"].as_str(), value["exit_code"].as_u64()), (Some("failure"), Some(3)));
        let check = &value["checks"][0];
        assert_eq!((check["name"].as_str(), check["status"].as_str()), (Some("tls"), Some("failure")));
        assert!(check["fix"].as_str().unwrap().contains("--ca-bundle") && check["detail"].is_string());
    }
}
