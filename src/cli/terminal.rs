//! The two streams that a command talks to people on, and what they can show. The only place in the program that prints.
//!
//! What a stream can show is a [`Terminal`]: a value, so that whoever lays out a text can be tested without one. Colours and signs
//! only ever come beside words, because they are not everywhere and not everybody sees them.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

use clap::builder::styling::{AnsiColor, Effects, Style};
use unicode_width::UnicodeWidthStr;

use super::failure::Failure;
use crate::config::redacted;

/// The width of a terminal that does not tell its own.
const COLUMNS_DEFAULT: usize = 80;

/// Writes a line to standard output. A reader that has gone away is no reason to fail.
pub(super) fn tell(line: &str) {
    let _ = writeln!(io::stdout(), "{line}").and_then(|()| io::stdout().flush());
}

/// Writes why a command failed to standard error.
pub(super) fn tell_failure(failure: &Failure) {
    let _ = writeln!(io::stderr(), "cosmount: {}", redacted(&failure.sentence));
}

/// Writes to standard error what somebody should know who goes on.
pub(super) fn warn(sentence: &str) {
    let _ = writeln!(io::stderr(), "cosmount: warning: {}", redacted(sentence));
}

/// Writes clap's answer to a command line: help and version to standard output, errors to standard error.
pub(super) fn tell_usage(error: &clap::Error) {
    let text = error.render().to_string();
    let shown = redacted(&text);
    // A terminal that has gone away is no reason to fail. What holds a password is shown without it, and without colours.
    let _ = if shown == text { error.print() } else { write!(io::stderr(), "{shown}") };
}

/// What a stream can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terminal {
    /// Whether somebody looks at it. Otherwise it is a file, a pipe or a log, which a program may read.
    pub(super) is_terminal: bool,
    /// Where lines are wrapped; `usize::MAX` where they are not.
    pub(super) columns: usize,
    /// Whether it takes colours.
    pub(super) colour: bool,
    /// Whether signs beyond ASCII are of use: it is a terminal, and the locale is one of UTF-8.
    pub(super) unicode: bool,
}

impl Terminal {
    /// What standard output can show.
    pub(super) fn of_stdout() -> Terminal {
        Terminal::of_stream(&io::stdout())
    }

    /// What standard error can show.
    #[allow(dead_code, reason = "for commands that tell their progress")]
    pub(super) fn of_stderr() -> Terminal {
        Terminal::of_stream(&io::stderr())
    }

    fn of_stream(stream: &(impl AsFd + IsTerminal)) -> Terminal {
        // One that was never told its size, as on a serial line, says 0.
        let columns = rustix::termios::tcgetwinsize(stream).ok().map(|size| usize::from(size.ws_col));
        Terminal::of(stream.is_terminal(), columns.filter(|columns| *columns > 0), |name| std::env::var(name).ok())
    }

    /// Decides by what the kernel says of a stream, and by the environment.
    fn of(is_terminal: bool, columns: Option<usize>, variable: impl Fn(&str) -> Option<String>) -> Terminal {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let is = |name: &str, value: &str| set(name).is_some_and(|set| set == value);
        // As no-color.org and bixense.com/clicolors have it, and as clap does for what it prints.
        let colour = if set("NO_COLOR").is_some() {
            false
        } else if set("CLICOLOR_FORCE").is_some_and(|value| value != "0") {
            true
        } else {
            let is_able = set("TERM").is_some_and(|term| term != "dumb");
            is_terminal && is_able && !is("CLICOLOR", "0")
        };
        // The first that is set counts (setlocale(3)).
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default().to_ascii_lowercase();
        let named = set("COLUMNS").and_then(|columns| columns.parse().ok()).filter(|columns| *columns > 0);
        let usual = if is_terminal { columns.unwrap_or(COLUMNS_DEFAULT) } else { usize::MAX };
        Terminal {
            is_terminal,
            columns: named.unwrap_or(usual),
            colour,
            unicode: is_terminal && (locale.ends_with("utf-8") || locale.ends_with("utf8")),
        }
    }

    /// A text that says that something is well.
    pub(super) fn good(&self, text: &str) -> String {
        self.painted(text, AnsiColor::Green.on_default())
    }

    /// A text that says that something deserves a look.
    pub(super) fn warning(&self, text: &str) -> String {
        self.painted(text, AnsiColor::Yellow.on_default())
    }

    /// A text that says that something is wrong.
    pub(super) fn bad(&self, text: &str) -> String {
        self.painted(text, AnsiColor::Red.on_default().effects(Effects::BOLD))
    }

    /// A text that is beside the point.
    pub(super) fn dim(&self, text: &str) -> String {
        self.painted(text, Style::new().effects(Effects::DIMMED))
    }

    fn painted(&self, text: &str, style: Style) -> String {
        if self.colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// A text in lines that fit, broken at blanks, of which the first begins at the column `begins` and all others at `hangs`.
    ///
    /// A word is never broken: it may be a command or a path that somebody copies. The text is one without colours.
    pub(super) fn wrapped(&self, text: &str, begins: usize, hangs: usize) -> String {
        let mut wrapped = String::with_capacity(text.len());
        let mut column = begins;
        let mut is_at_start = true;
        for word in text.split(' ') {
            let width = word.width();
            if !is_at_start && column.saturating_add(1 + width) > self.columns {
                wrapped.push('\n');
                wrapped.extend(std::iter::repeat_n(' ', hangs));
                column = hangs;
            } else if !is_at_start {
                wrapped.push(' ');
                column += 1;
            }
            wrapped.push_str(word);
            column += width;
            is_at_start = false;
        }
        wrapped
    }
}

/// A text without what a terminal would obey or break a line at: names and answers of others may hold any byte.
pub(super) fn harmless(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let escaped = |c: char| if c.is_control() { c.escape_default().collect() } else { String::from(c) };
    Cow::Owned(text.chars().map(escaped).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal(is_terminal: bool, columns: Option<usize>, variables: &[(&str, &str)]) -> Terminal {
        let find =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Terminal::of(is_terminal, columns, find)
    }

    /// Whether it is a terminal, what the environment says, and what follows.
    type Row = (bool, &'static [(&'static str, &'static str)], bool);

    #[test]
    fn colours_are_for_terminals_that_take_them_unless_somebody_says_otherwise() {
        let table: [Row; 10] = [
            (true, &[("TERM", "xterm")], true),
            (true, &[], false),
            (true, &[("TERM", "dumb")], false),
            (true, &[("TERM", "xterm"), ("NO_COLOR", "1")], false),
            (true, &[("TERM", "xterm"), ("NO_COLOR", "")], true),
            (true, &[("TERM", "xterm"), ("CLICOLOR", "0")], false),
            (false, &[("TERM", "xterm")], false),
            (false, &[("CLICOLOR_FORCE", "1")], true),
            (false, &[("CLICOLOR_FORCE", "0")], false),
            (false, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false),
        ];
        for (is_terminal, variables, expected) in table {
            assert_eq!(terminal(is_terminal, None, variables).colour, expected, "{is_terminal} {variables:?}");
        }
    }

    #[test]
    fn signs_beyond_ascii_are_for_terminals_of_a_locale_that_has_them() {
        let table: [Row; 7] = [
            (true, &[("LANG", "en_US.UTF-8")], true),
            (true, &[("LANG", "C.utf8")], true),
            (true, &[], false),
            (true, &[("LANG", "zh_CN.GB18030")], false),
            (true, &[("LANG", "en_US.UTF-8"), ("LC_ALL", "C")], false),
            (true, &[("LANG", "C"), ("LC_CTYPE", "C.UTF-8"), ("LC_ALL", "")], true),
            (false, &[("LANG", "en_US.UTF-8")], false),
        ];
        for (is_terminal, variables, expected) in table {
            assert_eq!(terminal(is_terminal, None, variables).unicode, expected, "{is_terminal} {variables:?}");
        }
    }

    #[test]
    fn lines_are_as_wide_as_the_terminal_and_unbounded_elsewhere() {
        let columns = |is_terminal, told, variables: &[(&str, &str)]| terminal(is_terminal, told, variables).columns;
        assert_eq!(columns(true, Some(120), &[]), 120);
        assert_eq!(columns(true, None, &[]), 80);
        assert_eq!(columns(true, Some(120), &[("COLUMNS", "60")]), 60);
        assert_eq!(columns(true, Some(120), &[("COLUMNS", "wide")]), 120);
        assert_eq!(columns(false, None, &[]), usize::MAX);
        assert_eq!(columns(false, None, &[("COLUMNS", "60")]), 60);
    }

    #[test]
    fn paint_is_left_out_where_there_is_no_colour() {
        let plain = terminal(true, None, &[]);
        let painted = Terminal { colour: true, ..plain };
        for paint in [Terminal::good, Terminal::warning, Terminal::bad, Terminal::dim] {
            assert_eq!(paint(&plain, "word"), "word");
            let shown = paint(&painted, "word");
            assert!(shown.starts_with("\u{1b}[") && shown.ends_with("word\u{1b}[0m"), "{shown:?}");
        }
    }

    #[test]
    fn a_text_is_wrapped_at_blanks_and_words_stay_whole() {
        let narrow = terminal(true, Some(10), &[]);
        assert_eq!(narrow.wrapped("one two three", 0, 2), "one two\n  three");
        assert_eq!(narrow.wrapped("one two three", 6, 6), "one\n      two\n      three");
        assert_eq!(narrow.wrapped("a a-word-of-twelve b", 0, 0), "a\na-word-of-twelve\nb");
        // Each of these takes two columns.
        assert_eq!(narrow.wrapped("照片 照片 照片", 0, 0), "照片 照片\n照片");
        assert_eq!(terminal(false, None, &[]).wrapped("one two three", 0, 2), "one two three");
    }

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        assert_eq!(harmless("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
        assert_eq!(harmless("照片"), "照片");
    }
}
