//! Percent-escapes as COS writes them, and query strings.
//!
//! One escape serves signatures, paths and queries (`cos-api.md` 2.1): letters, digits and `-_.~` stay, every other byte
//! of the UTF-8 becomes `%XX` in upper-case hex. Decoding is strict: what is no escape, or no UTF-8, is an error.

use std::borrow::Cow;

use crate::object::key::UNREADABLE;

/// One query parameter, decoded. `None` is a parameter without `=`, which means the same as an empty value.
pub type QueryPair = (Cow<'static, str>, Option<String>);

/// Why a text could not be unescaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EscapeError {
    /// A `%` that two hex digits do not follow.
    #[error("a % without two hex digits after it")]
    BadEscape,
    /// The decoded bytes are not UTF-8.
    #[error("escaped bytes that are not UTF-8")]
    NotUtf8,
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Which bytes stand for themselves (`cos-api.md` 2.1).
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        plain[byte] = (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'-' | b'_' | b'.' | b'~');
        byte += 1;
    }
    plain
};

/// The escape of `text`, slashes too.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 2);
    push_escaped(&mut out, text);
    out
}

/// Appends the escape of `text` to `out`.
pub fn push_escaped(out: &mut String, text: &str) {
    push_all_but(out, text, |byte| PLAIN[usize::from(byte)]);
}

/// The escape of a path or key: as [`escape`], but `/` stays.
pub fn escape_path(path: &str) -> String {
    let mut out = String::with_capacity(path.len() + path.len() / 2);
    push_escaped_path(&mut out, path);
    out
}

/// Appends the escape of a path to `out`.
pub fn push_escaped_path(out: &mut String, path: &str) {
    push_all_but(out, path, |byte| PLAIN[usize::from(byte)] || byte == b'/');
}

fn push_all_but(out: &mut String, text: &str, stays: impl Fn(u8) -> bool) {
    let mut plain_from = 0;
    for (at, &byte) in text.as_bytes().iter().enumerate() {
        if stays(byte) {
            continue;
        }
        if plain_from < at {
            // Only ASCII stays, so both ends of a run that is not empty are character boundaries.
            out.push_str(&text[plain_from..at]);
        }
        push_byte(out, byte);
        plain_from = at + 1;
    }
    out.push_str(&text[plain_from..]);
}

fn push_byte(out: &mut String, byte: u8) {
    out.push('%');
    out.push(char::from(HEX[usize::from(byte >> 4)]));
    out.push(char::from(HEX[usize::from(byte & 15)]));
}

/// The text that `escaped` stands for. A `+` stays a plus.
pub fn unescape(escaped: &str) -> Result<String, EscapeError> {
    unescape_bytes(escaped.as_bytes(), false)
}

/// The text that `escaped` stands for, whatever it is: a `%` that is no escape stands for itself, and [`UNREADABLE`] for
/// what is no UTF-8.
pub fn unescape_lossy(escaped: &str) -> String {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.as_bytes();
    while let [byte, after @ ..] = rest {
        let digits = match after {
            [high, low, ..] if *byte == b'%' => hex_digit(*high).zip(hex_digit(*low)),
            _ => None,
        };
        match digits {
            Some((high, low)) => {
                bytes.push(high << 4 | low);
                rest = &after[2..];
            }
            None => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| UNREADABLE));
    }
    text
}

fn unescape_bytes(escaped: &[u8], plus_is_space: bool) -> Result<String, EscapeError> {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.iter();
    while let Some(&byte) = rest.next() {
        match byte {
            b'%' => {
                let high = rest.next().copied().and_then(hex_digit).ok_or(EscapeError::BadEscape)?;
                let low = rest.next().copied().and_then(hex_digit).ok_or(EscapeError::BadEscape)?;
                bytes.push(high << 4 | low);
            }
            b'+' if plus_is_space => bytes.push(b' '),
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).map_err(|_| EscapeError::NotUtf8)
}

fn hex_digit(digit: u8) -> Option<u8> {
    // to_digit(16) is below 16.
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// Reads a query string, without its `?`.
///
/// A raw `+` is a space: the Python and Go SDKs send and sign it so (`cos-api.md` 2.6).
pub fn parse_query(raw: &str) -> Result<Vec<QueryPair>, EscapeError> {
    let pairs = raw.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = match pair.split_once('=') {
                Some((name, value)) => (name, Some(unescape_bytes(value.as_bytes(), true)?)),
                None => (pair, None),
            };
            Ok((Cow::Owned(unescape_bytes(name.as_bytes(), true)?), value))
        })
        .collect()
}

/// Appends the parameters to `out` as a query string, without the `?`. Spaces are `%20` and pluses `%2B`, which all
/// readers decode alike.
pub fn push_query(out: &mut String, pairs: &[QueryPair]) {
    for (index, (name, value)) in pairs.iter().enumerate() {
        if index > 0 {
            out.push('&');
        }
        push_escaped(out, name);
        if let Some(value) = value {
            out.push('=');
            push_escaped(out, value);
        }
    }
}

/// A text as a header value: as it is where every character is printable ASCII, otherwise with the other bytes and
/// every `%` escaped, so that [`header_text`] gives it back (`cos-api.md` 3.12 leaves non-ASCII to the client).
pub fn header_value(text: &str) -> Cow<'_, str> {
    let printable = |byte: u8| (0x20..0x7F).contains(&byte);
    if text.bytes().all(printable) && text.trim_matches(' ') == text {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() * 2);
    push_all_but(&mut out, text, |byte| printable(byte) && byte != b'%' && byte != b' ');
    Cow::Owned(out)
}

/// The text that a header value stands for, if it is one that [`header_value`] had to escape; otherwise the value as
/// it is. A value of plain ASCII that merely looks escaped (it decodes to plain ASCII) is left alone.
pub fn header_text(value: &str) -> Cow<'_, str> {
    match unescape(value) {
        Ok(text) if header_value(&text) == value => Cow::Owned(text),
        _ => Cow::Borrowed(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_escape_is_the_documented_one() {
        let table = [
            ("azAZ09-_.~", "azAZ09-_.~"),
            (" !\"#$%&'()*+,/", "%20%21%22%23%24%25%26%27%28%29%2A%2B%2C%2F"),
            (":;<=>?@[\\]^`{|}", "%3A%3B%3C%3D%3E%3F%40%5B%5C%5D%5E%60%7B%7C%7D"),
            ("腾讯云", "%E8%85%BE%E8%AE%AF%E4%BA%91"),
            ("😀\u{7f}", "%F0%9F%98%80%7F"),
        ];
        for (text, escaped) in table {
            assert_eq!(escape(text), escaped);
            assert_eq!(unescape(escaped).as_deref(), Ok(text));
        }
        assert_eq!(escape_path("/a//b c/../d+"), "/a//b%20c/../d%2B");
    }

    #[test]
    fn unescaping_is_strict() {
        for bad in ["%", "%4", "a%zz", "%+1", "%4g"] {
            assert_eq!(unescape(bad), Err(EscapeError::BadEscape), "{bad}");
        }
        assert_eq!(unescape("%ff"), Err(EscapeError::NotUtf8));
        assert_eq!(unescape("a+b%2fc").as_deref(), Ok("a+b/c"));
    }

    #[test]
    fn a_plus_in_a_query_is_a_space() {
        let pairs = parse_query("uploads&prefix=a+b%2Bc&empty=&&x==").unwrap();
        let expected: Vec<QueryPair> = vec![
            ("uploads".into(), None),
            ("prefix".into(), Some("a b+c".into())),
            ("empty".into(), Some(String::new())),
            ("x".into(), Some("=".into())),
        ];
        assert_eq!(pairs, expected);
        let mut built = String::new();
        push_query(&mut built, &pairs);
        assert_eq!(built, "uploads&prefix=a%20b%2Bc&empty=&x=%3D");
    }

    #[test]
    fn header_values_are_ascii_and_come_back() {
        let table = [
            ("33188", "33188"),
            ("100% a%20b", "100% a%20b"),
            ("新 名%", "%E6%96%B0%20%E5%90%8D%25"),
            (" a", "%20a"),
            ("a\r\nb", "a%0D%0Ab"),
        ];
        for (text, value) in table {
            assert_eq!(header_value(text), value);
            assert_eq!(header_text(value), text);
        }
    }
}
