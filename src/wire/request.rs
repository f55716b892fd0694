//! A request before it meets a transport: method, path, query, headers.
//!
//! [`super::operation`] makes and reads these, [`super::sign`] signs them. Names of headers are compared without regard
//! to case everywhere.

use std::borrow::Cow;

use super::escape::{QueryPair, push_escaped_path, push_query};

/// The HTTP methods that the service knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// `GET`.
    Get,
    /// `HEAD`.
    Head,
    /// `PUT`.
    Put,
    /// `POST`.
    Post,
    /// `DELETE`.
    Delete,
}

impl Method {
    /// The method as the request line has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Put => "PUT",
            Method::Post => "POST",
            Method::Delete => "DELETE",
        }
    }

    /// Reads the method of a request line; `None` for one that the service does not serve.
    pub fn parse(text: &str) -> Option<Method> {
        let all = [Method::Get, Method::Head, Method::Put, Method::Post, Method::Delete];
        all.into_iter().find(|method| method.as_str() == text)
    }
}

/// One header line. Names that we write are lower-case.
pub type HeaderPair = (Cow<'static, str>, String);

/// All of a request but its bytes and what the transport adds (`Host`, `Content-Length`, the signature).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The path as it is signed: decoded, beginning with `/`.
    pub path: String,
    /// The query, decoded, the sub-resource first (`cos-api.md` 1.6).
    pub query: Vec<QueryPair>,
    /// The headers.
    pub headers: Vec<HeaderPair>,
    /// The body, for operations whose body is XML.
    pub body: Option<String>,
}

impl RequestHead {
    /// Path and query as the request line has them, escaped.
    pub fn target(&self) -> String {
        let mut target = String::with_capacity(self.path.len() * 2 + 64);
        push_escaped_path(&mut target, &self.path);
        if !self.query.is_empty() {
            target.push('?');
            push_query(&mut target, &self.query);
        }
        target
    }
}

/// The header lines of a message as they were received, looked up without regard to case.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a>(pub &'a [(&'a str, &'a str)]);

impl<'a> Headers<'a> {
    /// The value of the first line of that name, without blanks around it. An empty value counts as absent, because
    /// the Node SDK sends empty lines that mean nothing (`cos-api.md` 2.6).
    pub fn get(self, name: &str) -> Option<&'a str> {
        let mut values =
            self.0.iter().filter(|(line, _)| line.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
        values.find(|value| !value.is_empty())
    }

    /// All lines whose name begins with `prefix` (lower-case): the rest of the name, lower-case, and the value.
    pub fn with_prefix(self, prefix: &'static str) -> impl Iterator<Item = (String, &'a str)> {
        self.0.iter().filter_map(move |(line, value)| {
            let head = line.get(..prefix.len())?;
            let suffix = line.get(prefix.len()..)?;
            head.eq_ignore_ascii_case(prefix).then(|| (suffix.to_ascii_lowercase(), value.trim()))
        })
    }
}

/// The value of the first query parameter of that name; an absent value is the empty one.
pub fn query_value<'q>(query: &'q [QueryPair], name: &str) -> Option<&'q str> {
    query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_deref().unwrap_or(""))
}

/// Splits the target of a request line into host, path and query, still escaped. The host is there only in the
/// absolute form, which clients behind a proxy setting send (`cos-api.md` 9).
pub fn split_target(target: &str) -> (Option<&str>, &str, &str) {
    let (target, query) = target.split_once('?').unwrap_or((target, ""));
    if target.starts_with('/') {
        return (None, target, query);
    }
    let Some((_, rest)) = target.split_once("://") else { return (None, target, query) };
    match rest.find('/') {
        Some(slash) => (Some(&rest[..slash]), &rest[slash..], query),
        None => (Some(rest), "/", query),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_in_any_case_and_empty_ones_are_absent() {
        let lines = [("Content-Type", ""), ("ETAG", " x "), ("X-Cos-Meta-Mode", "1"), ("x-cos-met", "2")];
        let headers = Headers(&lines);
        assert_eq!((headers.get("content-type"), headers.get("etag")), (None, Some("x")));
        let meta: Vec<_> = headers.with_prefix("x-cos-meta-").collect();
        assert_eq!(meta, [("mode".to_owned(), "1")]);
    }

    #[test]
    fn targets_split_in_both_forms() {
        let table = [
            ("/a%20b?x=1?2", (None, "/a%20b", "x=1?2")),
            ("/", (None, "/", "")),
            ("http://h:80/a/b?c", (Some("h:80"), "/a/b", "c")),
            ("http://h", (Some("h"), "/", "")),
            ("http://h?delete", (Some("h"), "/", "delete")),
            ("/http://h", (None, "/http://h", "")),
        ];
        for (target, expected) in table {
            assert_eq!(split_target(target), expected, "{target}");
        }
    }

    #[test]
    fn a_target_is_escaped() {
        let head = RequestHead {
            method: Method::Put,
            path: "/a b+/腾".into(),
            query: vec![("uploads".into(), None), ("prefix".into(), Some("x/y z".into()))],
            headers: Vec::new(),
            body: None,
        };
        assert_eq!(head.target(), "/a%20b%2B/%E8%85%BE?uploads&prefix=x%2Fy%20z");
    }
}
