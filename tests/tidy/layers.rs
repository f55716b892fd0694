//! Layers import downward only, a third-party crate is named in its home only, every file says what it is, and only the
//! top layers touch the process around them.
//!
//! A small scanner reads `src` as tokens, so that comments and texts do not count. Code under `#[cfg(test)]` may use
//! any crate, but it keeps to the layers too.

use super::texts_below;

/// The layers by rank. An import goes to a lower rank, or stays inside the module; equal ranks are siblings that do
/// not name each other, except at the ground, where there is nothing to keep apart.
const RANKS: [(&str, u8); 17] = [
    ("clock", 0),
    ("memory", 0),
    ("stats", 0),
    ("object", 1),
    ("cache", 2),
    ("journal", 2),
    ("wire", 2),
    ("server", 3),
    ("store", 3),
    ("read", 4),
    ("upload", 4),
    ("fs", 5),
    ("fuse", 6),
    ("config", 7),
    ("monitor", 8),
    ("cli", 9),
    ("fuzzing", 10),
];

/// Below this rank nobody reads the environment.
const RANK_ENVIRONMENT: u8 = 7;
/// Below this rank nobody prints or exits.
const RANK_PROCESS: u8 = 9;

/// Crates that have a home, and the beginnings of the paths that are it.
const HOMES: [(&str, &[&str]); 34] = [
    ("aws_credential_types", &["wire/dialect/s3.rs"]),
    ("aws_sigv4", &["wire/dialect/s3.rs"]),
    ("sha1", &["wire/dialect/", "wire/digest.rs", "wire/sign", "server/"]),
    ("sha2", &["wire/dialect/", "wire/digest.rs", "wire/sign", "server/"]),
    ("hmac", &["wire/dialect/", "wire/sign"]),
    ("crc_fast", &["wire/digest.rs"]),
    ("md5", &["wire/digest.rs"]),
    ("jiff", &["object/time.rs", "stats/trace.rs", "wire/date.rs"]),
    ("cosmount_digests", &["object/checksum.rs", "server/"]),
    ("quick_xml", &["wire/xml.rs"]),
    // One file, so that the HTTP library can be changed without looking further.
    ("reqwest", &["store/http.rs"]),
    ("rustls", &["store/http.rs"]),
    ("hyper", &["monitor/listener.rs", "server/"]),
    ("hyper_util", &["monitor/listener.rs", "server/"]),
    ("tokio_io_timeout", &["monitor/listener.rs"]),
    ("axum", &["monitor/listener.rs", "monitor/web.rs"]),
    ("maud", &["monitor/page/"]),
    ("prometheus_client", &["monitor/metrics.rs"]),
    ("redb", &["server/"]),
    ("lru", &["read/", "fs/"]),
    ("memmap2", &["memory.rs"]),
    ("mimalloc", &["main.rs"]),
    ("parking_lot", &["fs/open/inode.rs"]),
    ("fuser", &["fuse/"]),
    ("clap", &["cli/"]),
    ("clap_complete", &["cli/"]),
    ("sd_notify", &["cli/service_manager.rs"]),
    ("close_fds", &["cli/"]),
    ("env_logger", &["cli/"]),
    ("unicode_width", &["cli/terminal.rs"]),
    ("toml", &["config/"]),
    ("hdrhistogram", &["stats/latency.rs"]),
    ("indicatif", &["cli/"]),
    // Where options are read, where data is stored, and what is told to programs.
    (
        "serde",
        &[
            "cache/description.rs",
            "cli/",
            "config/",
            "journal/",
            "monitor/",
            "object/metadata.rs",
            "server/",
            "stats/",
            "wire/digest.rs",
        ],
    ),
];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 7] = ["util", "utils", "common", "helper", "helpers", "misc", "manager"];

const PRINTING: [&str; 5] = ["print", "println", "eprint", "eprintln", "dbg"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Word(String),
    /// `::`.
    Path,
    Mark(char),
}

/// One file under scrutiny.
struct Scanner<'a> {
    /// Path of the file below `src`, with `/`.
    file: &'a str,
    layer: Option<&'a str>,
    tokens: Vec<Token>,
    found: Vec<String>,
}

/// What is wrong with the file `file` (its path below `src`) of that text.
fn violations(file: &str, text: &str) -> Vec<String> {
    let layer = file.split('/').next().map(|first| first.trim_end_matches(".rs"));
    let layer = layer.filter(|layer| !["lib", "main"].contains(layer));
    let mut scanner = Scanner { file, layer, tokens: tokens(text), found: Vec::new() };
    scanner.check_header(text);
    scanner.check_names();
    scanner.check_tokens();
    scanner.found
}

fn rank(layer: &str) -> Option<u8> {
    RANKS.iter().find(|(name, _)| *name == layer).map(|(_, rank)| *rank)
}

impl Scanner<'_> {
    fn complain(&mut self, what: impl std::fmt::Display) {
        self.found.push(format!("{}: {what}", self.file));
    }

    fn check_header(&mut self, text: &str) {
        if !text.starts_with("//!") {
            self.complain("does not open with //! and what it is");
        }
    }

    fn check_names(&mut self) {
        let file = self.file;
        for part in file.trim_end_matches(".rs").split('/').filter(|part| EMPTY_NAMES.contains(part)) {
            self.complain(format_args!("the name {part} says nothing"));
        }
        if let Some(layer) = self.layer.filter(|layer| rank(layer).is_none()) {
            self.complain(format_args!("{layer} has no rank in tests/tidy/layers.rs"));
        }
    }

    /// The rank of the file; the crate's roots stand above all.
    fn own_rank(&self) -> u8 {
        self.layer.map_or(u8::MAX, |layer| rank(layer).unwrap_or(0))
    }

    fn check_tokens(&mut self) {
        let tokens = std::mem::take(&mut self.tokens);
        let test_code = test_code(self.file, &tokens);
        let depths = module_depths(self.file, &tokens);
        for at in 0..tokens.len() {
            let Token::Word(word) = &tokens[at] else { continue };
            let begins_path = begins_path(&tokens, at);
            if word == "crate" && begins_path && tokens.get(at + 1) == Some(&Token::Path) {
                self.check_imports(&tokens, at + 2);
            }
            if word == "super" && begins_path {
                self.check_climb(&tokens, at, depths[at]);
            }
            if test_code[at] {
                continue;
            }
            self.check_crate(&tokens, at, word, begins_path);
            self.check_process(&tokens, at, word);
        }
    }

    /// The modules that a path names at its top: one word, or several in braces.
    fn check_imports(&mut self, tokens: &[Token], at: usize) {
        match tokens.get(at) {
            Some(Token::Word(top)) => self.check_import(top),
            Some(Token::Mark('{')) => {
                let mut depth = 0;
                for (index, token) in tokens.iter().enumerate().skip(at) {
                    match token {
                        Token::Mark('{') => depth += 1,
                        Token::Mark('}') if depth == 1 => return,
                        Token::Mark('}') => depth -= 1,
                        Token::Word(top) if depth == 1 => {
                            let first = matches!(tokens[index - 1], Token::Mark('{' | ','));
                            if first {
                                self.check_import(top);
                            }
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    fn check_import(&mut self, top: &str) {
        let Some(own) = self.layer else { return };
        let Some(rank) = rank(top) else { return };
        let own_rank = self.own_rank();
        if top == own || rank < own_rank || (rank == own_rank && rank == 0) {
            return;
        }
        let how = if rank == own_rank { "sideways" } else { "upward" };
        self.complain(format_args!("{own} imports {top}, which is {how}"));
    }

    /// `super::super::x` that leaves the layer names a layer like `crate::x`.
    fn check_climb(&mut self, tokens: &[Token], mut at: usize, depth: usize) {
        let mut climbed = 0;
        while tokens.get(at) == Some(&Token::Word("super".into())) {
            climbed += 1;
            at += 2;
        }
        if climbed == depth {
            self.check_imports(tokens, at);
        }
    }

    fn check_crate(&mut self, tokens: &[Token], at: usize, word: &str, begins_path: bool) {
        let Some((name, homes)) = HOMES.iter().find(|(name, _)| *name == word) else { return };
        let before = at.checked_sub(1).map(|before| &tokens[before]);
        let used = before == Some(&Token::Word("use".into()));
        let is_crate = begins_path && (used || tokens.get(at + 1) == Some(&Token::Path));
        // A field or a module of our own can have the name too: `self.lru`, `mod lru`.
        let is_own = matches!(before, Some(Token::Mark('.'))) || before == Some(&Token::Word("mod".into()));
        if is_crate && !is_own && !homes.iter().any(|home| self.file.starts_with(home)) {
            self.complain(format_args!("names the crate {name}, whose home is {}", homes.join(" and ")));
        }
    }

    fn check_process(&mut self, tokens: &[Token], at: usize, word: &str) {
        let follows = |offset: usize, token: &Token| tokens.get(at + offset) == Some(token);
        let path_to = |names: &[&str]| match tokens.get(at + 2) {
            Some(Token::Word(next)) => follows(1, &Token::Path) && names.contains(&next.as_str()),
            _ => false,
        };
        if self.own_rank() < RANK_ENVIRONMENT && word == "std" && path_to(&["env"]) {
            self.complain("reads the environment");
        }
        if self.own_rank() < RANK_ENVIRONMENT && word == "env" && path_to(&["var", "vars", "var_os", "vars_os", "args"])
        {
            self.complain("reads the environment");
        }
        if self.own_rank() < RANK_PROCESS && PRINTING.contains(&word) && follows(1, &Token::Mark('!')) {
            self.complain(format_args!("prints with {word}!"));
        }
        if self.own_rank() < RANK_PROCESS && word == "process" && path_to(&["exit", "abort"]) {
            self.complain("ends the process");
        }
    }
}

/// Whether the word at `at` is the first of its path. A `::` after no word begins a path outside of the crate.
fn begins_path(tokens: &[Token], at: usize) -> bool {
    match at.checked_sub(1).map(|before| &tokens[before]) {
        Some(Token::Path) => {
            let outer = at.checked_sub(2).map(|before| &tokens[before]);
            let keyword = outer == Some(&Token::Word("use".into()));
            keyword || !matches!(outer, Some(Token::Word(_) | Token::Mark('>')))
        }
        _ => true,
    }
}

/// Which tokens are under `#[cfg(test)]`.
fn test_code(file: &str, tokens: &[Token]) -> Vec<bool> {
    if file.ends_with("/tests.rs") || file.contains("/tests/") {
        return vec![true; tokens.len()];
    }
    let mut is_test = vec![false; tokens.len()];
    let word = |text: &str| Token::Word(text.into());
    let attribute = [
        Token::Mark('#'),
        Token::Mark('['),
        word("cfg"),
        Token::Mark('('),
        word("test"),
        Token::Mark(')'),
        Token::Mark(']'),
    ];
    let mut at = 0;
    while at < tokens.len() {
        if !tokens[at..].starts_with(&attribute) {
            at += 1;
            continue;
        }
        // The item ends with its block, or with a semicolon before one.
        let mut depth = 0;
        while at < tokens.len() {
            is_test[at] = true;
            match tokens[at] {
                Token::Mark('{') => depth += 1,
                Token::Mark('}') => depth -= 1,
                _ => {}
            }
            let ended = matches!(tokens[at], Token::Mark('}' | ';')) && depth == 0;
            at += 1;
            if ended {
                break;
            }
        }
    }
    is_test
}

/// How many modules deep below the crate's root each token stands.
fn module_depths(file: &str, tokens: &[Token]) -> Vec<usize> {
    let stem = file.trim_end_matches(".rs").trim_end_matches("/mod");
    let of_file = if ["lib", "main"].contains(&stem) { 0 } else { stem.split('/').count() };
    let mut depths = Vec::with_capacity(tokens.len());
    // For each open brace, whether it is a module's.
    let mut open = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Mark('{') => open.push(at >= 2 && tokens[at - 2] == Token::Word("mod".into())),
            Token::Mark('}') => {
                open.pop();
            }
            _ => {}
        }
        depths.push(of_file + open.iter().filter(|is_module| **is_module).count());
    }
    depths
}

/// The words and marks of a source text, without comments and without what is in quotes.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if rest.starts_with("//") {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
        } else if rest.starts_with("/*") {
            rest = &rest[block_comment_end(rest)..];
        } else if let Some(end) = quoted_end(rest) {
            rest = &rest[end..];
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        } else if rest.starts_with("::") {
            tokens.push(Token::Path);
            rest = &rest[2..];
        } else {
            if !first.is_whitespace() {
                tokens.push(Token::Mark(first));
            }
            rest = &rest[first.len_utf8()..];
        }
    }
    tokens
}

/// Where the block comment that begins the text ends; they nest.
fn block_comment_end(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Where the quoted text or character that begins the text ends, if there is one.
fn quoted_end(text: &str) -> Option<usize> {
    let unprefixed = ["br", "cr", "b", "c", "r", ""].into_iter().find_map(|prefix| {
        let rest = text.strip_prefix(prefix)?;
        let raw = prefix.ends_with('r');
        (rest.starts_with('"') || (raw && rest.trim_start_matches('#').starts_with('"'))).then_some((prefix, rest))
    });
    if let Some((prefix, rest)) = unprefixed {
        if prefix.ends_with('r') {
            let hashes = rest.len() - rest.trim_start_matches('#').len();
            let close = format!("\"{}", "#".repeat(hashes));
            let from = prefix.len() + hashes + 1;
            return Some(text[from..].find(&close).map_or(text.len(), |end| from + end + close.len()));
        }
        return Some(prefix.len() + escaped_end(rest, '"'));
    }
    let (prefix, rest) = match text.strip_prefix('b') {
        Some(rest) if rest.starts_with('\'') => (1, rest),
        _ => (0, text),
    };
    let mut characters = rest.strip_prefix('\'')?.chars();
    let (first, second) = (characters.next()?, characters.next()?);
    // Otherwise it is a lifetime.
    (first == '\\' || second == '\'').then(|| prefix + escaped_end(rest, '\''))
}

/// Where a text that begins with `quote` has its closing one.
fn escaped_end(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return at + quote.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

#[test]
fn the_source_keeps_its_shape() {
    let texts = texts_below("src", "rs");
    assert!(texts.len() > 20, "only {} files were found", texts.len());
    let found: Vec<String> = texts.iter().flat_map(|(file, text)| violations(file, text)).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn what_breaks_the_shape_is_found() {
    let table = [
        ("wire/key.rs", "use crate::store::Body;", "wire imports store, which is upward"),
        ("store/mod.rs", "use crate::server::Server;", "store imports server, which is sideways"),
        ("read/mod.rs", "fn f() { crate::upload::go() }", "read imports upload, which is sideways"),
        ("store/a.rs", "use crate::{wire::ETag, fs::{self, Fs}};", "store imports fs, which is upward"),
        ("store/a.rs", "use crate::{\n clock, stats::Stats,\n upload };", "store imports upload, which is upward"),
        ("store/mod.rs", "use super::fs::Fs;", "store imports fs, which is upward"),
        ("store/http.rs", "use super::super::fs::Fs;", "store imports fs, which is upward"),
        ("store/http.rs", "mod tests { use super::super::super::fs::Fs; }", "store imports fs, which is upward"),
        ("clock.rs", "use super::wire::ETag;", "clock imports wire, which is upward"),
        ("wire/a.rs", "#[cfg(test)] mod tests { use crate::store::Body; }", "wire imports store, which is upward"),
        (
            "wire/key.rs",
            "use sha1::Sha1;",
            "names the crate sha1, whose home is wire/dialect/ and wire/digest.rs and wire/sign and server/",
        ),
        ("store/retry.rs", "fn f(e: reqwest::Error) {}", "names the crate reqwest, whose home is store/http.rs"),
        ("fs/mod.rs", "use fuser;", "names the crate fuser, whose home is fuse/"),
        ("fs/mod.rs", "use ::fuser::Reply;", "names the crate fuser, whose home is fuse/"),
        (
            "wire/answer/mod.rs",
            "use {std::fmt, quick_xml::Reader};",
            "names the crate quick_xml, whose home is wire/xml.rs",
        ),
        ("upload/util.rs", "", "the name util says nothing"),
        ("fs/helpers/mod.rs", "", "the name helpers says nothing"),
        ("gadgets/mod.rs", "", "gadgets has no rank in tests/tidy/layers.rs"),
        ("fuse/mod.rs", "let home = std::env::var(\"HOME\");", "reads the environment"),
        ("fuse/mod.rs", "let home = env::var_os(\"HOME\");", "reads the environment"),
        ("config/mod.rs", "println!(\"hello\");", "prints with println!"),
        ("config/mod.rs", "std::process::exit(1)", "ends the process"),
    ];
    for (file, text, expected) in table {
        let found = violations(file, &format!("//! A sample.\n{text}"));
        let lines: Vec<&str> = found.iter().filter_map(|line| Some(line.split_once(": ")?.1)).collect();
        assert!(lines.contains(&expected), "{file}: {text}: {lines:?}");
    }
    assert_eq!(violations("fs/mod.rs", "use std::fmt;").len(), 1, "a file without //!");
}

#[test]
fn what_keeps_the_shape_is_let_alone() {
    let table = [
        ("store/http.rs", "use crate::wire::ETag; use reqwest::Client; use super::Body; use super::super::wire::Code;"),
        ("upload/mod.rs", "use crate::{clock::Clock, memory, store::{fs_like, Body}, wire::{self, upload::X}};"),
        ("memory.rs", "use crate::clock::Clock; use super::stats::Stats;"),
        ("fs/a.rs", "mod tests { use super::super::read_ahead; use super::super::fuse_like::x; }"),
        ("wire/sign/verify.rs", "use sha1::Sha1; use hmac::Hmac;"),
        (
            "wire/mod.rs",
            "//! See [`crate::store`].\n// use crate::fs;\n/* use crate::fs; /* nested */ use crate::cli; */",
        ),
        ("wire/mod.rs", "let text = \"use crate::store; println!()\"; let raw = r#\"crate::fs \" std::env\"#;"),
        ("wire/mod.rs", "let quote = '\"'; fn f<'a>(x: &'a str) {} let b = b'\\''; let other = \"crate::fs\";"),
        ("fs/mod.rs", "struct A { lru: u8 } fn f(a: A) { a.lru; } mod toml; fn println() {}"),
        ("wire/a.rs", "#[cfg(test)] mod tests { use serde::Serialize; fn f() { println!(); std::env::temp_dir(); } }"),
        ("wire/a.rs", "#[cfg(test)]\nmod tests;\nuse std::fmt;"),
        ("config/mod.rs", "use std::env; let x = env::var(\"X\"); use serde::Deserialize;"),
        ("cli/mod.rs", "println!(); std::process::exit(1); use crate::{fuse, config}; use clap::Parser;"),
        ("main.rs", "fn main() { std::process::exit(cosmount::cli::run()) }"),
        ("fs/mod.rs", "let root = env!(\"CARGO_PKG_VERSION\");"),
    ];
    for (file, text) in table {
        let found = violations(file, &format!("//! A sample.\n{text}"));
        assert!(found.is_empty(), "{text}: {found:?}");
    }
    let after_tests = "//! A sample.\n#[cfg(test)]\nmod tests;\nuse sha1::Sha1;";
    assert_eq!(violations("fs/mod.rs", after_tests).len(), 1, "what follows test code is no test code");
}
