//! The flags that the guide names are the program's, and none of a mount is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use crate::document::{Page, pages};

/// The flags of each command, and under the empty name those of all.
type Flags = BTreeMap<String, BTreeSet<String>>;

/// The commands that have commands below them.
const WITH_COMMANDS_BELOW: [&str; 1] = ["uploads"];

/// Options of other programs that the prose names.
const OF_OTHERS: [&str; 5] = ["--path", "--device", "--cap-add", "--preserve-env", "--vfs-cache-mode"];

/// Whether a flag is nobody's that the guide may name.
fn is_strange(flag: &str, known: &BTreeSet<String>) -> bool {
    !known.contains(flag) && !OF_OTHERS.contains(&flag) && !["--help", "--version"].contains(&flag)
}

fn help(words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cosmount"));
    let done = command.args(words).arg("--help").output().unwrap();
    String::from_utf8(done.stdout).unwrap()
}

/// The flags at the beginning of lines of a help.
fn flags_of(help: &str) -> BTreeSet<String> {
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    lines.flat_map(long_flags).collect()
}

/// What looks like a long flag in a text.
fn long_flags(text: &str) -> Vec<String> {
    let is_of_flag = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    let begins = |at: usize| text[..at].chars().next_back().is_none_or(|before| !is_of_flag(before) && before != '.');
    let starts = text.match_indices("--").filter(|(at, _)| begins(*at)).map(|(at, _)| at);
    let flags = starts.map(|at| text[at..].chars().take_while(|letter| is_of_flag(*letter)).collect::<String>());
    flags.filter(|flag| flag.len() > 3 && flag.as_bytes()[2].is_ascii_lowercase()).collect()
}

fn all_flags() -> Flags {
    let top = help(&[]);
    let commands = top.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
    let names: Vec<&str> = commands
        .take_while(|line| !line.starts_with("Options:"))
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(names.contains(&"mount") && names.contains(&"serve"), "{names:?}");
    let mut flags = Flags::new();
    for name in names {
        let mut found = flags_of(&help(&[name]));
        if WITH_COMMANDS_BELOW.contains(&name) {
            found.extend(["list", "abort"].iter().flat_map(|below| flags_of(&help(&[name, below]))));
        }
        flags.entry(String::new()).or_default().extend(found.clone());
        flags.insert(name.to_owned(), found);
    }
    flags.insert("umount".to_owned(), flags["unmount"].clone());
    flags
}

/// The lines of a block, each together with those that a backslash at its end continues it by.
fn whole_lines(text: &str) -> Vec<String> {
    text.replace("\\\n", " ").lines().map(str::to_owned).collect()
}

/// The commands of ours in a line of a shell, by name and flags.
fn commands_in(line: &str) -> Vec<(String, Vec<String>)> {
    let line = line.split(" #").next().unwrap_or(line);
    let parts = line.split(['|', ';', '&', '(']).filter_map(|part| part.split_once("cosmount "));
    parts
        .filter(|(before, _)| before.is_empty() || before.ends_with([' ', '/']))
        .map(|(_, rest)| (rest.split_whitespace().next().unwrap_or("").to_owned(), long_flags(rest)))
        .filter(|(name, _)| name.chars().all(|letter| letter.is_ascii_lowercase()))
        .collect()
}

/// What a page says of flags that is not so.
fn wrong_flags(page: &Page, flags: &Flags) -> Vec<String> {
    let mut wrong = Vec::new();
    for block in page.blocks_of("sh") {
        for (name, given) in whole_lines(&block.text).iter().flat_map(|line| commands_in(line)) {
            let Some(known) = flags.get(&name) else { continue };
            let strange = given.iter().filter(|flag| is_strange(flag, known));
            wrong.extend(strange.map(|flag| format!("{}:{}: cosmount {name} has no {flag}", page.name, block.line)));
        }
    }
    let theirs: BTreeSet<usize> = page.rows().iter().map(|row| row.line).collect();
    for (line, text) in page.prose() {
        // In the tables of migration.md the first cell is another program's.
        let ours = match theirs.contains(&line) && page.file_name() == "migration.md" {
            true => text.splitn(3, '|').nth(2).unwrap_or(""),
            false => text,
        };
        let code: String = ours.split('`').skip(1).step_by(2).collect::<Vec<_>>().join(" ");
        let strange = long_flags(&code).into_iter().filter(|flag| is_strange(flag, &flags[""]));
        wrong.extend(strange.map(|flag| format!("{}:{line}: cosmount has no {flag}", page.name)));
    }
    wrong
}

#[test]
fn every_flag_that_the_guide_names_is_one() {
    let flags = all_flags();
    let wrong: Vec<String> = pages().iter().flat_map(|page| wrong_flags(page, &flags)).collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn the_guide_names_every_flag_of_a_mount() {
    let text: String = pages().iter().map(Page::text).collect::<Vec<_>>().join("\n");
    let named: BTreeSet<String> = long_flags(&text).into_iter().collect();
    let missing: Vec<String> = all_flags()["mount"].iter().filter(|flag| !named.contains(*flag)).cloned().collect();
    let missing: Vec<&String> =
        missing.iter().filter(|flag| !["--help", "--version"].contains(&flag.as_str())).collect();
    assert!(missing.is_empty(), "the guide says nothing of {missing:?}");
}

#[test]
fn a_flag_that_is_none_is_found() {
    let flags = all_flags();
    let page =
        Page::of("docs/guide/p.md", "Use `--regoin x` or `--region`.\n\n```sh\ncosmount unmount --region /mnt\n```\n");
    let wrong = wrong_flags(&page, &flags);
    assert_eq!(wrong.len(), 2, "{wrong:?}");
}
