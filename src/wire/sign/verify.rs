//! The server's half: is a request signed by somebody we know, for now? (`cos-api.md` 2.3 to 2.9)

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::Mac;

use super::{Canonical, Credentials, KeyTime, Signable, TOKEN, canonical_name, canonical_pairs, keyed, sign_key};
use crate::wire::address::without_port;
use crate::wire::code::Code;
use crate::wire::date;
use crate::wire::escape::unescape;
use crate::wire::request::{Headers, query_value};

/// How far the clock of a client may be off, in seconds: 15 minutes (`cos-api.md` 2.9).
pub const SKEW_SECONDS_MAX: u64 = 15 * 60;

/// Why a signature does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The request is not signed at all.
    #[error("the request is not signed")]
    Missing,
    /// The signature is not of the form that this protocol has.
    #[error("the signature lacks or garbles {0}")]
    Malformed(&'static str),
    /// Its time is over.
    #[error("the signature has expired")]
    Expired,
    /// The client's clock is more than 15 minutes off.
    #[error("the client's clock is off")]
    Skewed,
    /// Nobody has that SecretId.
    #[error("the SecretId is not known")]
    UnknownKey,
    /// The token of a temporary key is missing or another one.
    #[error("the token is missing or wrong")]
    Token,
    /// The temporary key is over.
    #[error("the key has expired")]
    KeyExpired,
    /// The signature is not that of this request and key.
    #[error("the signature differs")]
    Mismatch,
}

impl SignatureError {
    /// The code to answer (`cos-api.md` 2.9); all of these are a 403, but for that of a key that has expired.
    pub fn code(self) -> Code {
        match self {
            SignatureError::Missing | SignatureError::Malformed(_) | SignatureError::Expired => Code::AccessDenied,
            SignatureError::Skewed => Code::RequestTimeTooSkewed,
            SignatureError::UnknownKey | SignatureError::Token => Code::InvalidAccessKeyId,
            SignatureError::KeyExpired => Code::ExpiredToken,
            SignatureError::Mismatch => Code::SignatureDoesNotMatch,
        }
    }

    /// The message to answer.
    pub fn message(self) -> &'static str {
        match self {
            SignatureError::Expired => "Request has expired",
            other => other.code().message(),
        }
    }
}

/// Checks the signature of a request as it was received: in the header `Authorization`, in `q-*` parameters, or in one
/// parameter `sign`. `key_of` gives the credentials of a SecretId, `now` is in Unix seconds.
///
/// Only what the two lists of the signature name is covered. A listed header or parameter that is absent is left out of
/// the hash, so that the signature differs.
pub fn verify(
    request: &Signable<'_>,
    key_of: impl FnOnce(&str) -> Option<Credentials>,
    now: u64,
) -> Result<(), SignatureError> {
    let claim = Claim::of(request)?;
    claim.check_time(request, now)?;
    let credentials = key_of(&claim.secret_id).ok_or(SignatureError::UnknownKey)?;
    check_token(request, credentials.token.as_deref())?;
    let sign_key = sign_key(&credentials.secret_key, &claim.key_time);
    let matches = |host: Option<&str>| {
        let canonical = claim.canonical(request, host);
        let mut mac = keyed(sign_key.as_bytes());
        mac.update(canonical.string_to_sign(&claim.sign_time).as_bytes());
        // Takes the same time wherever the first difference is.
        mac.verify_slice(&claim.signature).is_ok()
    };
    if matches(None) {
        return Ok(());
    }
    // Some clients send a port and sign the host without it (cos-api.md 2.6).
    let bare_host = Headers(request.headers).get("host").and_then(without_port);
    if bare_host.is_some_and(|host| matches(Some(host))) { Ok(()) } else { Err(SignatureError::Mismatch) }
}

/// What a signature says of itself.
struct Claim {
    secret_id: String,
    /// As received, since it is hashed.
    sign_time: String,
    key_time: String,
    /// Names of the signed headers and parameters, lower-case.
    headers: Vec<String>,
    params: Vec<String>,
    signature: [u8; 20],
    /// Whether it stands in `Authorization`.
    in_header: bool,
}

impl Claim {
    fn of(request: &Signable<'_>) -> Result<Claim, SignatureError> {
        if let Some(value) = Headers(request.headers).get("authorization") {
            let field = |name: &str| authorization_field(value, name);
            return Claim::read(field, true);
        }
        if query_value(request.query, "q-signature").is_some() {
            return Claim::read(|name| query_value(request.query, name).map(str::to_owned), false);
        }
        let Some(merged) = query_value(request.query, "sign").filter(|value| value.contains("q-signature=")) else {
            return Err(SignatureError::Missing);
        };
        Claim::read(|name| authorization_field(merged, name), false)
    }

    fn read(field: impl Fn(&str) -> Option<String>, in_header: bool) -> Result<Claim, SignatureError> {
        let required =
            |name: &'static str| field(name).filter(|value| !value.is_empty()).ok_or(SignatureError::Malformed(name));
        if required("q-sign-algorithm")? != "sha1" {
            return Err(SignatureError::Malformed("q-sign-algorithm"));
        }
        let signature = required("q-signature")?;
        Ok(Claim {
            secret_id: required("q-ak")?,
            sign_time: required("q-sign-time")?,
            key_time: required("q-key-time")?,
            headers: list(&field("q-header-list").unwrap_or_default()),
            params: list(&field("q-url-param-list").unwrap_or_default()),
            signature: decode_hex(&signature).ok_or(SignatureError::Malformed("q-signature"))?,
            in_header,
        })
    }

    fn check_time(&self, request: &Signable<'_>, now: u64) -> Result<(), SignatureError> {
        let sign_time = KeyTime::parse(&self.sign_time).ok_or(SignatureError::Malformed("q-sign-time"))?;
        let key_time = KeyTime::parse(&self.key_time).ok_or(SignatureError::Malformed("q-key-time"))?;
        if sign_time.start.max(key_time.start) > now.saturating_add(SKEW_SECONDS_MAX) {
            return Err(SignatureError::Skewed);
        }
        if self.in_header {
            check_date(request, now)?;
        }
        if sign_time.end.min(key_time.end) < now {
            return Err(SignatureError::Expired);
        }
        Ok(())
    }

    /// The request as the client must have seen it when it signed; `host` replaces the one that was received.
    fn canonical(&self, request: &Signable<'_>, host: Option<&str>) -> Canonical {
        let params = request.query.iter().map(|(name, value)| (&**name, value.as_deref().unwrap_or("")));
        let params = params.filter(|(name, _)| is_listed(&self.params, name));
        let headers = request.headers.iter().filter(|(name, _)| is_listed(&self.headers, name));
        let headers = headers.map(|&(name, value)| match host {
            Some(host) if name.eq_ignore_ascii_case("host") => (name, host),
            _ => (name, value.trim()),
        });
        Canonical::build(request.method, request.path, canonical_pairs(params), canonical_pairs(headers))
    }
}

fn is_listed(list: &[String], name: &str) -> bool {
    let canonical = canonical_name(name);
    list.iter().any(|listed| *listed == canonical || listed.eq_ignore_ascii_case(name))
}

/// One field of an `Authorization` value. The order is the client's: cosfs swaps the two lists.
fn authorization_field(value: &str, name: &str) -> Option<String> {
    let mut pairs = value.split('&').filter_map(|pair| pair.split_once('='));
    let (_, raw) = pairs.find(|(key, _)| key.trim() == name)?;
    // Merged into a URL the value may have been escaped once more.
    Some(unescape(raw.trim()).unwrap_or_else(|_| raw.trim().to_owned()))
}

/// The names of a list, whose semicolons may still be escaped, lower-case.
fn list(text: &str) -> Vec<String> {
    let text = text.to_ascii_lowercase().replace("%3b", ";");
    text.split(';').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The bytes of exactly so many hexadecimal digits.
pub(in crate::wire) fn decode_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    let mut bytes = [0; N];
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
    }
    Some(bytes)
}

/// `Date`, where a client sends one with its `Authorization`, shows its clock even if the signature's time is long.
fn check_date(request: &Signable<'_>, now: u64) -> Result<(), SignatureError> {
    let Some(date) = Headers(request.headers).get("date").and_then(date::parse) else { return Ok(()) };
    let now = UNIX_EPOCH.checked_add(Duration::from_secs(now)).unwrap_or(date);
    let apart = |a: SystemTime, b: SystemTime| a.duration_since(b).unwrap_or_else(|error| error.duration());
    if apart(now, date) > Duration::from_secs(SKEW_SECONDS_MAX) { Err(SignatureError::Skewed) } else { Ok(()) }
}

/// The token need not be signed, but it must be there (`cos-api.md` 2.7). One that was not needed does no harm.
fn check_token(request: &Signable<'_>, expected: Option<&str>) -> Result<(), SignatureError> {
    let Some(expected) = expected else { return Ok(()) };
    let given = Headers(request.headers).get(TOKEN).or_else(|| query_value(request.query, TOKEN)).unwrap_or("");
    // Folding the differences takes the same time wherever the first one is.
    let same_bytes = given.bytes().zip(expected.bytes()).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0;
    if same_bytes && given.len() == expected.len() { Ok(()) } else { Err(SignatureError::Token) }
}
