//! The tables of `costs.md` are what the service counts.
//!
//! The page's first `sh` block makes the files; each row of a table is a command, what it costs where
//! nothing is known yet, and what it costs where its directory has just been listed. Each is run on files of its own, in a
//! mount of its own, and counted to the end of that mount, so that what is published a moment later counts, too.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::document::{Page, Row};
use crate::policies::assert_allowed;
use crate::stage::{BUCKET, Stage, is_possible};

/// The operations of the access log by the names of the page, in the order in which it names them.
const NAMES: [(&str, &str); 12] = [
    ("ListObjects", "LIST"),
    ("HeadBucket", "HEAD of the bucket"),
    ("HeadObject", "HEAD"),
    ("GetObject", "GET"),
    ("PutObject", "PUT"),
    ("CopyObject", "COPY"),
    ("InitiateMultipartUpload", "Initiate"),
    ("UploadPart", "part"),
    ("UploadPartCopy", "copied part"),
    ("CompleteMultipartUpload", "Complete"),
    ("DeleteObject", "DELETE"),
    ("DeleteMultipleObjects", "DELETE of many"),
];

/// What is counted: a row, and whether its directory is known.
struct Counted {
    row: Row,
    is_known: bool,
}

impl Counted {
    fn command(&self) -> String {
        self.row.cells[0].trim_matches('`').to_owned()
    }

    fn told(&self) -> &str {
        &self.row.cells[1 + usize::from(self.is_known)]
    }

    fn label(&self) -> String {
        format!("{}{}", self.row.line, if self.is_known { "known" } else { "new" })
    }
}

/// The rows of a table, each for both of its costs.
fn counted(page: &Page, section: &str) -> Vec<Counted> {
    let rows = page.rows_of(section);
    assert!(rows.len() > 5 && rows.iter().all(|row| row.cells.len() == 3), "{section}: {} rows", rows.len());
    let both = |row: Row| [false, true].map(|is_known| Counted { row: row.clone(), is_known });
    rows.into_iter().flat_map(both).collect()
}

/// Counts of operations as the page writes them.
fn told(counts: &BTreeMap<String, usize>) -> String {
    let strange: Vec<_> = counts.keys().filter(|op| !NAMES.iter().any(|(known, _)| known == op)).collect();
    assert!(strange.is_empty(), "the page has no name for {strange:?}");
    let parts = NAMES.iter().filter_map(|(operation, name)| {
        let count = *counts.get(*operation)?;
        let plural = count > 1 && name.ends_with("part");
        Some(format!("{count} {name}{}", if plural { "s" } else { "" }))
    });
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

/// Whether counts are as many as a text says, of which a number may be a range: `2-3 LIST, 1 PUT`.
fn is_as_told(said: &str, counted: &str) -> bool {
    let parts = |text: &str| -> Vec<(String, String)> {
        let split = text.split(", ").map(|part| part.split_once(' ').unwrap_or((part, "")));
        split
            .map(|(count, name)| (count.to_owned(), name.trim_end_matches("parts").trim_end_matches("part").to_owned()))
            .collect()
    };
    let (said, counted) = (parts(said), parts(counted));
    let fits = |range: &str, count: &str| match range.split_once('-') {
        Some((least, most)) => {
            let number = |text: &str| text.parse::<usize>().ok();
            number(count).is_some_and(|count| number(least) <= Some(count) && Some(count) <= number(most))
        }
        None => range == count,
    };
    said.len() == counted.len()
        && said.iter().zip(&counted).all(|((range, name), (count, of))| name == of && fits(range, count))
}

/// Runs every row; the service's log is marked where a command begins, and where its mount has ended.
fn script(page: &Page, counted: &[Counted]) -> String {
    let blocks = page.blocks_of("sh");
    let files = &blocks[0].text;
    let mut script = format!(
        "set -e
         count() {{ if [ -e \"$ACCESS_LOG\" ]; then wc -l < \"$ACCESS_LOG\"; else echo 0; fi; }}
         mkdir $HOME/here $HOME/there; cd $HOME/here
         {files}
         tar cf tree.tar docs
         (mkdir repository; cd repository; git init -q .; cp ../docs/* .; git add .; git commit -qm one)
         export HERE=$PWD
         # What is believed or waits for seconds does so for as long as a busy machine takes.
         export COSMOUNT_METADATA_TTL=1m COSMOUNT_HOLD_SECONDS=1m
         cosmount mount {BUCKET} $HOME/there; cd $HOME/there\n"
    );
    for (at, one) in counted.iter().enumerate() {
        let label = one.label();
        let make = if at == 0 { files.clone() } else { format!("cp -r ../{}/. .", counted[0].label()) };
        let _ = writeln!(script, "mkdir {label}; (cd {label}; {make})");
    }
    script.push_str("cd; cosmount unmount $HOME/there\n");
    for one in counted {
        let label = one.label();
        let look = if one.is_known { "ls -lR > /dev/null" } else { "true" };
        let _ = writeln!(
            script,
            "cosmount mount {BUCKET}:/{label} $HOME/there; cd $HOME/there; {look}
             before=$(count)
             {{ {}\n}} > /dev/null || {{ echo {label} fails; exit 1; }}
             cd; cosmount unmount $HOME/there; echo {label} $before $(count)",
            one.command()
        );
    }
    script
}

/// Runs the commands of a table and compares. A table that differs is counted once more: where a machine is so busy that a mount
/// cannot look into a process in time, a redirection of a shell is published at each of its closes.
fn check(section: &str) {
    if !is_possible() {
        return;
    }
    let page = Page::read("docs/guide/costs.md");
    let rows = counted(&page, section);
    if !differences(&page, &rows).is_empty() {
        let wrong = differences(&page, &rows);
        assert!(wrong.is_empty(), "\n{wrong}");
    }
}

/// What the commands of a table cost that is not what the page says.
fn differences(page: &Page, rows: &[Counted]) -> String {
    let stage = Stage::new();
    let done = stage.run(&script(page, rows));
    let output = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{output}{}\n{}", String::from_utf8_lossy(&done.stderr), stage.log());
    let requests = stage.requests();
    let mut wrong = String::new();
    for (one, line) in rows.iter().zip(output.lines()) {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[0], one.label());
        let range = words[1].parse::<usize>().unwrap()..words[2].parse::<usize>().unwrap();
        let mut counts = BTreeMap::<String, usize>::new();
        let requests = &requests[range];
        requests.iter().for_each(|request| *counts.entry(request.operation.clone()).or_default() += 1);
        let counted = told(&counts);
        if !is_as_told(one.told(), &counted) {
            let place = if one.is_known { "in a directory that is known" } else { "in a fresh mount" };
            let _ = writeln!(
                wrong,
                "{}:{}: {} costs {counted} {place}, and not {}: {requests:?}",
                page.name,
                one.row.line,
                one.command(),
                one.told()
            );
        }
    }
    assert_eq!(output.lines().count(), rows.len());
    // All of it is what usual programs do, but for the first, by which the stage was set.
    assert_allowed("read-write", &requests[1..]);
    wrong
}

#[test]
fn looking_and_reading_cost_what_the_table_says() {
    check("Looking and reading");
}

#[test]
fn writing_costs_what_the_table_says() {
    check("Writing");
}

#[test]
fn copying_moving_and_removing_cost_what_the_table_says() {
    check("Copying, moving and removing inside the bucket");
}

#[test]
fn edits_cost_what_the_table_says() {
    check("Edits");
}

#[test]
fn counts_are_compared_with_what_is_written() {
    let table = [
        ("none", "none", true),
        ("1 LIST, 2 PUT", "1 LIST, 2 PUT", true),
        ("1 LIST, 2-4 PUT", "1 LIST, 3 PUT", true),
        ("1 LIST, 2-4 PUT", "1 LIST, 5 PUT", false),
        ("1 LIST", "1 LIST, 1 PUT", false),
        ("1-5 copied parts", "1 copied part", true),
        ("1 part", "1 copied part", false),
    ];
    for (said, counted, expected) in table {
        assert_eq!(is_as_told(said, counted), expected, "{said} {counted}");
    }
}
