//! The signature of the service: making it and checking it (`cos-api.md` 2).
//!
//! Both sides build the same [`Canonical`] form of a request. A client signs with a [`SigningKey`], which is good for
//! one [`KeyTime`] and may be kept for as long; a server calls [`verify()`]. Secrets never leave this file but inside
//! [`Credentials`], whose `Debug` shows the id alone.

pub mod tc3;
mod verify;

use std::borrow::Cow;
use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha1::{Digest, Sha1};

pub(super) use verify::decode_hex;
pub use verify::{SKEW_SECONDS_MAX, SignatureError, verify};

use super::escape::{QueryPair, push_escaped, push_escaped_path, push_query};
use super::request::{HeaderPair, RequestHead};

/// The header or parameter with the token of a temporary key (`cos-api.md` 2.7).
pub const TOKEN: &str = "x-cos-security-token";

/// A key pair, permanent or temporary.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// SecretId. Not secret: it goes with every request.
    pub secret_id: String,
    /// SecretKey.
    pub secret_key: String,
    /// The token that a temporary key must be accompanied by.
    pub token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let temporary = self.token.is_some();
        f.debug_struct("Credentials")
            .field("secret_id", &self.secret_id)
            .field("temporary", &temporary)
            .finish_non_exhaustive()
    }
}

/// When a signature is valid: from `start` to `end`, both included, in Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyTime {
    /// First second.
    pub start: u64,
    /// Last second.
    pub end: u64,
}

impl KeyTime {
    /// Reads `start;end`. The numbers have 64 bits: a sample of the documentation ends in the year 3001.
    pub fn parse(text: &str) -> Option<KeyTime> {
        let (start, end) = text.split_once(';')?;
        let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        Some(KeyTime { start: number(start)?, end: number(end)? })
    }
}

impl fmt::Display for KeyTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};{}", self.start, self.end)
    }
}

/// The parts of a request that a signature can cover.
#[derive(Clone, Copy, Debug)]
pub struct Signable<'a> {
    /// The method in any case.
    pub method: &'a str,
    /// The path, decoded, beginning with `/` and otherwise as it is on the wire.
    pub path: &'a str,
    /// The query, decoded.
    pub query: &'a [QueryPair],
    /// The headers. `Host` is an ordinary one.
    pub headers: &'a [(&'a str, &'a str)],
}

/// A request in the form that is hashed (`cos-api.md` 2.2, steps 3 to 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canonical {
    /// Names of the signed headers.
    pub header_list: String,
    /// Names of the signed parameters.
    pub param_list: String,
    /// Method, path, parameters and headers.
    pub http_string: String,
}

impl Canonical {
    /// The canonical form with every parameter and header of the request.
    pub fn of(request: &Signable<'_>) -> Canonical {
        let params = request.query.iter().map(|(name, value)| (&**name, value.as_deref().unwrap_or("")));
        let headers = request.headers.iter().map(|&(name, value)| (name, value.trim()));
        Canonical::build(request.method, request.path, canonical_pairs(params), canonical_pairs(headers))
    }

    fn build(method: &str, path: &str, params: CanonicalPairs<'_>, headers: CanonicalPairs<'_>) -> Canonical {
        let mut http_string = String::with_capacity(256 + path.len());
        http_string.extend(method.chars().map(|letter| letter.to_ascii_lowercase()));
        http_string.push('\n');
        http_string.push_str(path);
        http_string.push('\n');
        let param_list = push_pairs(&mut http_string, &params);
        http_string.push('\n');
        let header_list = push_pairs(&mut http_string, &headers);
        http_string.push('\n');
        Canonical { header_list, param_list, http_string }
    }

    /// What is signed in the end (step 6).
    pub fn string_to_sign(&self, sign_time: &str) -> String {
        format!("sha1\n{sign_time}\n{}\n", hex(&Sha1::digest(self.http_string.as_bytes())))
    }
}

/// Names, escaped and then lower-cased (`cos-api.md` 2.4), in their order, with the values as they are.
type CanonicalPairs<'a> = Vec<(Cow<'a, str>, &'a str)>;

fn canonical_pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> CanonicalPairs<'a> {
    let mut pairs: CanonicalPairs<'a> = pairs.map(|(name, value)| (canonical_name(name), value)).collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    pairs
}

fn canonical_name(name: &str) -> Cow<'_, str> {
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    if name.bytes().all(plain) {
        return Cow::Borrowed(name);
    }
    let mut escaped = String::with_capacity(name.len() + 8);
    push_escaped(&mut escaped, name);
    escaped.make_ascii_lowercase();
    Cow::Owned(escaped)
}

/// Appends `name=value` pairs and gives the list of the names.
fn push_pairs(out: &mut String, pairs: &CanonicalPairs<'_>) -> String {
    let mut list = String::with_capacity(64);
    for (index, (name, value)) in pairs.iter().enumerate() {
        if index > 0 {
            out.push('&');
            list.push(';');
        }
        out.push_str(name);
        out.push('=');
        push_escaped(out, value);
        list.push_str(name);
    }
    list
}

/// A key derived for one span of time. Deriving costs two hashes, so keep it while `KeyTime` lasts.
#[derive(Clone)]
pub struct SigningKey {
    secret_id: String,
    token: Option<String>,
    key_time: KeyTime,
    key_time_text: String,
    /// Keyed with the 40 hex digits of SignKey, not with its 20 bytes (step 7).
    mac: Hmac<Sha1>,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("secret_id", &self.secret_id)
            .field("key_time", &self.key_time)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Derives the key of `credentials` for `key_time`.
    pub fn new(credentials: &Credentials, key_time: KeyTime) -> SigningKey {
        let key_time_text = key_time.to_string();
        let sign_key = sign_key(&credentials.secret_key, &key_time_text);
        SigningKey {
            secret_id: credentials.secret_id.clone(),
            token: credentials.token.clone(),
            key_time,
            mac: keyed(sign_key.as_bytes()),
            key_time_text,
        }
    }

    /// When signatures of this key are valid.
    pub fn key_time(&self) -> KeyTime {
        self.key_time
    }

    /// The value of `Authorization` for a request, covering all of it that is shown.
    pub fn authorization(&self, request: &Signable<'_>) -> String {
        let canonical = Canonical::of(request);
        let signature = self.signature(&canonical);
        format!(
            "q-sign-algorithm=sha1&q-ak={}&q-sign-time={time}&q-key-time={time}&q-header-list={}&q-url-param-list={}\
             &q-signature={signature}",
            self.secret_id,
            canonical.header_list,
            canonical.param_list,
            time = self.key_time_text,
        )
    }

    /// The headers to add to a request to `host`: `Authorization`, and the token of a temporary key.
    ///
    /// Covers host, all headers and all parameters of `head`, and the token. What the transport adds by itself
    /// (`Content-Length`) is not covered, which the service allows (`cos-api.md` 2.3).
    pub fn sign(&self, head: &RequestHead, host: &str) -> Vec<HeaderPair> {
        let mut headers: Vec<(&str, &str)> = Vec::with_capacity(head.headers.len() + 2);
        headers.push(("host", host));
        headers.extend(head.headers.iter().map(|(name, value)| (&**name, value.as_str())));
        headers.extend(self.token.as_deref().map(|token| (TOKEN, token)));
        let request =
            Signable { method: head.method.as_str(), path: &head.path, query: &head.query, headers: &headers };
        let authorization = self.authorization(&request);
        let token = self.token.as_ref().map(|token| (Cow::Borrowed(TOKEN), token.clone()));
        std::iter::once((Cow::Borrowed("authorization"), authorization)).chain(token).collect()
    }

    /// The path and query of a request to `host`, signed in its parameters, so that it can be sent without headers.
    /// Covers the host, all parameters and the token, and no other header.
    pub fn presign(&self, head: &RequestHead, host: &str) -> String {
        let mut query = head.query.clone();
        query.extend(self.token.clone().map(|token| (Cow::Borrowed(TOKEN), Some(token))));
        let headers = [("host", host)];
        let request = Signable { method: head.method.as_str(), path: &head.path, query: &query, headers: &headers };
        let canonical = Canonical::of(&request);
        let signature = self.signature(&canonical);
        let time = &self.key_time_text;
        let mut all: Vec<QueryPair> = vec![
            ("q-sign-algorithm".into(), Some("sha1".to_owned())),
            ("q-ak".into(), Some(self.secret_id.clone())),
            ("q-sign-time".into(), Some(time.clone())),
            ("q-key-time".into(), Some(time.clone())),
            ("q-header-list".into(), Some(canonical.header_list)),
            ("q-url-param-list".into(), Some(canonical.param_list)),
            ("q-signature".into(), Some(signature)),
        ];
        all.append(&mut query);
        let mut target = String::with_capacity(512 + head.path.len());
        push_escaped_path(&mut target, &head.path);
        target.push('?');
        push_query(&mut target, &all);
        target
    }

    /// The signature of a canonical request (steps 6 and 7).
    pub fn signature(&self, canonical: &Canonical) -> String {
        let mut mac = self.mac.clone();
        mac.update(canonical.string_to_sign(&self.key_time_text).as_bytes());
        hex(&mac.finalize().into_bytes())
    }
}

/// SignKey (step 2).
fn sign_key(secret_key: &str, key_time: &str) -> String {
    let mut mac = keyed(secret_key.as_bytes());
    mac.update(key_time.as_bytes());
    hex(&mac.finalize().into_bytes())
}

fn keyed(key: &[u8]) -> Hmac<Sha1> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

/// Bytes as lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    bytes.iter().flat_map(|&byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests;
