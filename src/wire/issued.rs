//! Keys as those who issue them write them: the metadata of a machine, STS, a program of the user, a file of tccli.
//!
//! All are JSON objects that differ in the names of their members and in how deep they are nested, so one decoder reads them
//! all. Names are compared without regard to case, `_` and `-`. An error names members and codes, and never a value that could
//! be a secret.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use super::sign::Credentials;
use super::{date, xml};

/// A key, and when it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The key.
    pub credentials: Credentials,
    /// Its end by the clock of whoever issued it. `None` for one that lasts, or of which that is not told.
    pub expires: Option<SystemTime>,
}

/// Why no key was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssueError {
    /// Whoever issues keys has refused.
    Refused {
        /// Its code.
        code: String,
        /// What it says.
        message: String,
    },
    /// It is not JSON, or something is missing.
    Malformed(&'static str),
}

impl fmt::Display for IssueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IssueError::Refused { code, message } if message.is_empty() => f.write_str(code),
            IssueError::Refused { code, message } => write!(f, "{code}: {message}"),
            IssueError::Malformed(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for IssueError {}

impl From<Credentials> for Issued {
    fn from(credentials: Credentials) -> Issued {
        Issued { credentials, expires: None }
    }
}

/// The names of a member, in small letters, without `_` and `-`.
const ID: [&str; 3] = ["tmpsecretid", "secretid", "accesskeyid"];
const KEY: [&str; 3] = ["tmpsecretkey", "secretkey", "secretaccesskey"];
const TOKEN: [&str; 4] = ["token", "sessiontoken", "securitytoken", "tmptoken"];
const EXPIRES: [&str; 4] = ["expiredtime", "expiration", "expiresat", "expiretime"];

/// The longest code or message of a refusal that is told, in characters.
const TOLD_MAX: usize = 300;

impl Issued {
    /// Reads a key.
    ///
    /// # Errors
    /// [`IssueError::Refused`] where a code other than `Success` or an `Error` was given in the place of a key.
    pub fn decode(text: &[u8]) -> Result<Issued, IssueError> {
        let Ok(Value::Object(whole)) = serde_json::from_slice(text) else {
            return Err(IssueError::Malformed("what was told is no JSON object"));
        };
        let outer = nested(&whole, "response").unwrap_or(&whole);
        refusal(outer)?;
        let inner = nested(outer, "credentials").unwrap_or(outer);
        let text = |names: &[&str]| {
            names.iter().find_map(|name| member(inner, name)?.as_str()).filter(|text| !text.is_empty())
        };
        let secret_id =
            text(&ID).ok_or(IssueError::Malformed("there is no TmpSecretId or AccessKeyId in what was told"))?;
        let secret_key =
            text(&KEY).ok_or(IssueError::Malformed("there is no TmpSecretKey or SecretAccessKey in what was told"))?;
        let credentials = Credentials {
            secret_id: secret_id.to_owned(),
            secret_key: secret_key.to_owned(),
            token: text(&TOKEN).map(str::to_owned),
        };
        let told = |object| EXPIRES.iter().find_map(|name| member(object, name)).filter(|value| !value.is_null());
        let expires = match told(inner).or_else(|| told(outer)) {
            None => None,
            Some(value) => Some(time(value).ok_or(IssueError::Malformed("the end of the key is no time"))?),
        };
        Ok(Issued { credentials, expires })
    }

    /// Reads the answer of AWS's STS to a role that was assumed with a token.
    ///
    /// # Errors
    /// [`IssueError::Refused`] where it has an `Error`.
    pub fn decode_xml(text: &[u8]) -> Result<Issued, IssueError> {
        let root = xml::parse(text).map_err(|_| IssueError::Malformed("what was told is no XML"))?;
        if let Some(error) = root.child("Error") {
            let shown = |name| {
                let text = error.text_or_empty(name).chars().filter(|letter| !letter.is_control());
                text.take(TOLD_MAX).collect::<String>()
            };
            return Err(IssueError::Refused { code: shown("Code"), message: shown("Message") });
        }
        let told = root.child("AssumeRoleWithWebIdentityResult").and_then(|result| result.child("Credentials"));
        let told = told.ok_or(IssueError::Malformed("there are no Credentials in what was told"))?;
        let text = |name| told.optional(name).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
        let credentials = Credentials {
            secret_id: text("AccessKeyId").ok_or(IssueError::Malformed("there is no AccessKeyId in what was told"))?,
            secret_key: text("SecretAccessKey")
                .ok_or(IssueError::Malformed("there is no SecretAccessKey in what was told"))?,
            token: text("SessionToken"),
        };
        let expires = match text("Expiration") {
            None => None,
            Some(end) => Some(date::parse(&end).ok_or(IssueError::Malformed("the end of the key is no time"))?),
        };
        Ok(Issued { credentials, expires })
    }
}

/// What stands in the place of a key.
fn refusal(object: &Map<String, Value>) -> Result<(), IssueError> {
    let text = |object: &Map<String, Value>, name: &str| {
        let text = member(object, name).and_then(Value::as_str).unwrap_or_default();
        text.chars().filter(|letter| !letter.is_control()).take(TOLD_MAX).collect::<String>()
    };
    if let Some(error) = nested(object, "error") {
        return Err(IssueError::Refused { code: text(error, "code"), message: text(error, "message") });
    }
    match text(object, "code") {
        code if code.is_empty() || code.eq_ignore_ascii_case("success") => Ok(()),
        code => Err(IssueError::Refused { code, message: text(object, "message") }),
    }
}

fn member<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let is_it = |key: &str| {
        let letters = key.chars().filter(|letter| !matches!(letter, '_' | '-'));
        letters.map(|letter| letter.to_ascii_lowercase()).eq(name.chars())
    };
    object.iter().find(|(key, _)| is_it(key)).map(|(_, value)| value)
}

fn nested<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Map<String, Value>> {
    member(object, name).and_then(Value::as_object)
}

/// Unix seconds as a number or as a text, or a date.
fn time(value: &Value) -> Option<SystemTime> {
    let seconds = |seconds: u64| UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    match value {
        Value::Number(number) => seconds(number.as_u64().or_else(|| number.as_f64().map(|number| number as u64))?),
        Value::String(text) => text.parse().ok().map_or_else(|| date::parse(text), seconds),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match Issued::decode(text.as_bytes()) {
            Ok(Issued { credentials, expires }) => {
                let token = credentials.token.unwrap_or_default();
                let expires = expires.map(|at| at.duration_since(UNIX_EPOCH).unwrap().as_secs());
                format!("{} {} {token} {expires:?}", credentials.secret_id, credentials.secret_key)
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_the_sts_of_aws_tells_is_a_key_or_a_refusal() {
        let answer = br#"<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
            <AssumeRoleWithWebIdentityResult><Credentials><SessionToken>t</SessionToken><SecretAccessKey>k</SecretAccessKey>
            <Expiration>2030-01-02T03:04:05Z</Expiration><AccessKeyId>ASIA1</AccessKeyId></Credentials>
            </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"#;
        let issued = Issued::decode_xml(answer).unwrap();
        assert_eq!((issued.credentials.secret_id.as_str(), issued.credentials.token.as_deref()), ("ASIA1", Some("t")));
        assert_eq!(issued.expires, date::parse("2030-01-02T03:04:05Z"));
        let refusal = b"<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>";
        let expected = IssueError::Refused { code: "AccessDenied".into(), message: "no".into() };
        assert_eq!(Issued::decode_xml(refusal), Err(expected));
        for text in [&b"hunter2"[..], b"<A><AssumeRoleWithWebIdentityResult/></A>"] {
            let error = Issued::decode_xml(text).unwrap_err();
            assert!(matches!(error, IssueError::Malformed(_)) && !error.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn every_way_in_which_keys_are_told_is_read() {
        let table = [
            (
                r#"{"TmpSecretId":"i","TmpSecretKey":"k","ExpiredTime":1551113065,"Expiration":"2019-02-25T16:44:25Z",
                    "Token":"t","Code":"Success"}"#,
                "i k t Some(1551113065)",
            ),
            (
                r#"{"Version":1,"AccessKeyId":"i","SecretAccessKey":"k","SessionToken":"t",
                    "Expiration":"2019-02-25T16:44:25Z"}"#,
                "i k t Some(1551113065)",
            ),
            (
                r#"{"Response":{"Credentials":{"Token":"t","TmpSecretId":"i","TmpSecretKey":"k"},
                    "ExpiredTime":1551113065,"Expiration":"2019-02-25T16:44:25Z","RequestId":"r"}}"#,
                "i k t Some(1551113065)",
            ),
            (
                r#"{"credentials":{"tmpSecretId":"i","tmpSecretKey":"k","sessionToken":"t"},"startTime":1,
                    "expiredTime":1551113065}"#,
                "i k t Some(1551113065)",
            ),
            (r#"{"secretId":"i","secretKey":"k"}"#, "i k  None"),
            (r#"{"secretId":"i","secretKey":"k","token":null,"expiresAt":"1551113065"}"#, "i k  Some(1551113065)"),
            (r#"{"secret_id":"i","secret-key":"k","token":"t"}"#, "i k t None"),
        ];
        for (text, expected) in table {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn a_refusal_is_told_and_a_value_is_not() {
        let table = [
            (
                r#"{"Response":{"Error":{"Code":"AuthFailure.SecretIdNotFound","Message":"no such id"},"RequestId":"r"}}"#,
                "AuthFailure.SecretIdNotFound: no such id",
            ),
            (r#"{"Code":"InvalidRole"}"#, "InvalidRole"),
            (r#"["hunter2"]"#, "what was told is no JSON object"),
            ("hunter2", "what was told is no JSON object"),
            (r#"{"TmpSecretKey":"hunter2"}"#, "there is no TmpSecretId or AccessKeyId in what was told"),
            (
                r#"{"TmpSecretId":"i","Token":"hunter2"}"#,
                "there is no TmpSecretKey or SecretAccessKey in what was told",
            ),
            (r#"{"TmpSecretId":"i","TmpSecretKey":"k","Expiration":"hunter2"}"#, "the end of the key is no time"),
        ];
        for (text, expected) in table {
            assert_eq!(shown(text), expected, "{text}");
        }
    }
}
