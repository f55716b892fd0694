//! Passwords in URLs, which nobody is to see.

use std::borrow::Cow;

/// The text with whatever stands before the `@` of a URL's host left out.
pub fn redacted(text: &str) -> Cow<'_, str> {
    const SCHEME_END: &str = "://";
    if !text.contains(SCHEME_END) || !text.contains('@') {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(SCHEME_END) {
        let (before, after) = rest.split_at(at + SCHEME_END.len());
        shown.push_str(before);
        let ends = |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'' | ',' | '<' | '>');
        let host_end = after.find(ends).unwrap_or(after.len());
        let user_end = after[..host_end].rfind('@');
        if user_end.is_some() {
            shown.push_str("***");
        }
        rest = &after[user_end.unwrap_or(0)..];
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_before_a_host_is_not_shown() {
        let table = [
            ("http://user:hunter2@proxy:3128/ is down", "http://***@proxy:3128/ is down"),
            ("http://hunter2@h", "http://***@h"),
            ("a http://u:p@ss@h/x@y and ftp://u:hunter2@i", "a http://***@h/x@y and ftp://***@i"),
            ("\"http://u:hunter2@h\" is wrong", "\"http://***@h\" is wrong"),
            ("http://host/a@b", "http://host/a@b"),
            ("mail me@home", "mail me@home"),
        ];
        for (text, expected) in table {
            assert_eq!(redacted(text), expected);
        }
    }
}
