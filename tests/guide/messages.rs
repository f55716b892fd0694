//! What `troubleshooting.md` quotes is what the program says, and what the program says when it refuses is there.
//!
//! A message is a line of code in a quotation (`> `), with `…` for what is different each time. The program's sentences are the
//! texts in its source.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::document::{Page, root};

const PAGE: &str = "docs/guide/troubleshooting.md";

/// Where the sentences are that end a command; each must be on the page.
const REFUSALS: [&str; 6] = [
    "config/error.rs",
    "cli/diagnosis.rs",
    "cli/obstacles.rs",
    "cli/mount_point.rs",
    "cli/fuse_access.rs",
    "cli/unmount.rs",
];

/// Shorter texts are parts of sentences and names.
const SENTENCE_BYTES_MIN: usize = 24;

/// Texts there that nobody is shown as a sentence, by how they begin.
const NO_SENTENCES: [&str; 3] = ["qcs::cos:", "status ", "{code}, request"];

/// The texts of a source, without those of its tests, put together where they go over several lines.
fn texts_in(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]").next().unwrap_or(source);
    let mut texts = Vec::new();
    let mut rest = source.chars().peekable();
    while let Some(letter) = rest.next() {
        match letter {
            '/' if rest.peek() == Some(&'/') => drop(rest.by_ref().find(|letter| *letter == '\n')),
            // A letter in single quotes; a lifetime has no second one.
            '\'' if rest.peek() == Some(&'"') => drop(rest.next()),
            '"' => {
                let mut text = String::new();
                while let Some(letter) = rest.next() {
                    match letter {
                        '"' => break,
                        '\\' => match rest.next() {
                            Some('\n') => while rest.next_if(|letter| letter.is_whitespace()).is_some() {},
                            Some('n') => text.push(' '),
                            Some(escaped) => text.push(escaped),
                            None => break,
                        },
                        other => text.push(other),
                    }
                }
                texts.push(text);
            }
            _ => {}
        }
    }
    texts
}

/// Names of constants in texts, for which the page has their values.
const CONSTANTS: [(&str, &str); 5] = [
    ("{DEVICE}", "/dev/fuse"),
    ("{HELPER}", "fusermount3"),
    ("{HELPER_CONFIGURATION}", "/etc/fuse.conf"),
    ("{OTHERS_ALLOWED}", "user_allow_other"),
    ("{SEE_MOUNTS}", "see what is mounted with findmnt -t fuse.cosmount"),
];

/// What is always the same in a text with `{}` in it.
fn fixed(text: &str) -> Vec<String> {
    let text = CONSTANTS.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value));
    let mut pieces = vec![String::new()];
    let mut depth = 0;
    for letter in text.chars() {
        match letter {
            '{' => {
                depth += 1;
                pieces.push(String::new());
            }
            '}' => depth -= 1,
            other if depth <= 0 => pieces.last_mut().expect("it begins with one").push(other),
            _ => {}
        }
    }
    pieces.into_iter().map(|piece| piece.trim().to_owned()).filter(|piece| !piece.is_empty()).collect()
}

/// All texts of the program by file.
fn texts() -> BTreeMap<String, Vec<String>> {
    fn gather(directory: &Path, texts: &mut BTreeMap<String, Vec<String>>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                gather(&path, texts);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root().join("src")).unwrap().to_string_lossy().into_owned();
                texts.insert(name, texts_in(&fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut texts = BTreeMap::new();
    gather(&root().join("src"), &mut texts);
    texts
}

/// What stands between two texts that become one sentence.
const JOINTS: [&str; 5] = [":", ";", ", and", "not in", "not at"];

/// Everything that is always the same in the program's texts.
struct Said {
    pieces: BTreeSet<String>,
    together: String,
}

impl Said {
    /// A part of a text that is as long is no accident.
    const TELLING_BYTES: usize = 12;

    fn new() -> Said {
        let pieces = texts().into_values().flatten().flat_map(|text| fixed(&text));
        let pieces: BTreeSet<String> =
            pieces.flat_map(|piece| [piece.trim_end_matches(':').to_owned(), piece]).collect();
        let together = pieces.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
        Said { pieces, together }
    }

    /// Whether something is what a text has between two that differ, or is made of several texts.
    fn has(&self, words: &str) -> bool {
        let words = words.trim();
        let is_whole = words.len() <= 1 || self.pieces.contains(words) || self.has_in_order(words);
        is_whole || words.split_once(": ").is_some_and(|(cause, remedy)| self.has(cause) && self.has(remedy))
    }

    /// Whether something is made of parts that are long enough to tell, with what joins sentences between them.
    fn has_in_order(&self, words: &str) -> bool {
        let words = words.trim();
        let is_said = |words: &str| {
            JOINTS.contains(&words) || (words.len() >= Said::TELLING_BYTES && self.together.contains(words))
        };
        let mut ends = words.char_indices().map(|(at, _)| at).skip(1);
        words.is_empty()
            || is_said(words)
            || ends.any(|at| is_said(words[..at].trim_end()) && self.has_in_order(&words[at..]))
    }
}

/// The messages that a page quotes, by the line at which they begin.
fn quoted(page: &Page) -> Vec<(usize, String)> {
    let mut messages: Vec<(usize, String)> = Vec::new();
    let mut is_open = false;
    for (line, text) in page.prose() {
        let Some(text) = text.strip_prefix("> ") else {
            is_open = false;
            continue;
        };
        match messages.last_mut() {
            Some((_, message)) if is_open => {
                message.push(' ');
                message.push_str(text);
            }
            _ => messages.push((line, text.to_owned())),
        }
        is_open = !text.ends_with('`');
    }
    messages.into_iter().map(|(line, message)| (line, message.trim_matches('`').to_owned())).collect()
}

#[test]
fn every_message_that_is_quoted_is_one_of_the_programs() {
    let said = Said::new();
    let messages = quoted(&Page::read(PAGE));
    assert!(messages.len() > 50, "{} messages", messages.len());
    let mut strange = Vec::new();
    for (line, message) in messages {
        let pieces = message.split('…').map(str::trim);
        let unsaid: Vec<&str> = pieces.filter(|piece| !said.has(piece)).collect();
        if !unsaid.is_empty() {
            strange.push(format!("{PAGE}:{line}: the program does not say {unsaid:?}"));
        }
    }
    assert!(strange.is_empty(), "\n{}\n", strange.join("\n"));
}

#[test]
fn every_sentence_that_ends_a_command_is_explained() {
    let messages = quoted(&Page::read(PAGE));
    let page: String = messages.into_iter().map(|(_, message)| message).collect::<Vec<_>>().join("\n");
    let texts = texts();
    let mut missing = Vec::new();
    for file in REFUSALS {
        let sentences = texts[file].iter().filter(|text| text.len() >= SENTENCE_BYTES_MIN && text.contains(' '));
        for text in sentences.filter(|text| !NO_SENTENCES.iter().any(|beginning| text.starts_with(beginning))) {
            let longest = fixed(text).into_iter().max_by_key(String::len).unwrap_or_default();
            let pieces: Vec<&str> = longest.split(": ").map(str::trim).filter(|piece| piece.len() > 3).collect();
            if !pieces.iter().all(|piece| page.contains(piece)) {
                missing.push(format!("src/{file} says {text:?}"));
            }
        }
    }
    assert!(missing.is_empty(), "{PAGE} has no word of\n{}\n", missing.join("\n"));
}

/// What `SEMANTICS.md` says that a program gets, the page explains.
#[test]
fn every_errno_is_explained() {
    let errnos = |page: &str, section: &str, cell: usize| -> BTreeSet<String> {
        let rows = Page::read(page).rows_of(section).into_iter();
        rows.flat_map(|row| row.cells[cell].split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>())
            .collect()
    };
    let promised = errnos("docs/SEMANTICS.md", "Errors", 1);
    assert!(promised.len() > 10, "{promised:?}");
    let explained = errnos(PAGE, "When a program gets an error", 0);
    let missing: Vec<_> = promised.difference(&explained).collect();
    assert!(missing.is_empty(), "{PAGE} says nothing of {missing:?}");
}

#[test]
fn a_message_that_the_program_does_not_say_is_found() {
    let said = Said::new();
    let table = [
        ("is not a mount point: see what is mounted with findmnt -t fuse.cosmount", true),
        ("is no mount point: see what is mounted with findmnt -t fuse.cosmount", false),
        ("is not a mount point, as everybody sees", false),
        (", and not in", true),
    ];
    for (words, expected) in table {
        assert_eq!(said.has(words), expected, "{words}");
    }
}

#[test]
fn texts_are_found_in_a_source_and_what_is_fixed_in_them() {
    let source =
        "// \"no\"\nlet a = \"one {x} two \\\n        three\"; let b = '\"'; f(\"q \\\" q\");\n#[cfg(test)] \"no\"";
    assert_eq!(texts_in(source), ["one {x} two three", "q \" q"]);
    assert_eq!(fixed("one {x:?} two {} three"), ["one", "two", "three"]);
}
