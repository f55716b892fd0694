//! What is wrong with a key by its looks alone, for whoever was refused with it. Tells nothing of the secret itself.

use std::fmt;

use super::sign::Credentials;

/// What every SecretId begins with.
const ID_PREFIX: &str = "AKID";
/// The length of a SecretId that lasts; those of temporary keys are longer.
const LASTING_ID_BYTES: usize = 36;
/// What ids of keys of Amazon's begin with.
const AMAZON_PREFIXES: [&str; 2] = ["AKIA", "ASIA"];

/// Something that no key of the service has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFlaw {
    /// Blanks or quotes at an end, or control characters.
    Untidy,
    /// The id stands where the key should be.
    Swapped,
    /// It is from a document, and stands for one.
    Placeholder,
    /// It is a key of another cloud.
    OfAmazon,
    /// It is a temporary one, whose token is missing.
    WithoutToken,
}

impl KeyFlaw {
    /// What is wrong with a key, if that can be seen.
    pub fn of(credentials: &Credentials) -> Option<KeyFlaw> {
        let Credentials { secret_id: id, secret_key: key, token } = credentials;
        let is_untidy = |text: &str| {
            let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'');
            text.trim_matches(ends) != text || text.contains(char::is_control)
        };
        if [id, key].into_iter().chain(token).any(|text| is_untidy(text)) {
            Some(KeyFlaw::Untidy)
        } else if key.starts_with(ID_PREFIX) && !id.starts_with(ID_PREFIX) {
            Some(KeyFlaw::Swapped)
        } else if [id, key].into_iter().any(|text| text.contains("...") || text.contains(['<', '>', '*', '…'])) {
            Some(KeyFlaw::Placeholder)
        } else if AMAZON_PREFIXES.iter().any(|prefix| id.starts_with(prefix)) {
            Some(KeyFlaw::OfAmazon)
        } else if id.starts_with(ID_PREFIX) && id.len() > LASTING_ID_BYTES && token.is_none() {
            Some(KeyFlaw::WithoutToken)
        } else {
            None
        }
    }
}

impl fmt::Display for KeyFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyFlaw::Untidy => "it begins or ends with a blank or a quote",
            KeyFlaw::Swapped => "the id and the key are swapped",
            KeyFlaw::Placeholder => "it is a placeholder and no key",
            KeyFlaw::OfAmazon => "it is a key of AWS and not of Tencent Cloud",
            KeyFlaw::WithoutToken => "it is a temporary key, and its token is missing (COS_SECURITYTOKEN)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_seen_is_seen() {
        let (lasting, secret) = (format!("AKID{}", "z".repeat(32)), "k".repeat(32));
        let temporary = format!("AKID{}", "z".repeat(60));
        let table = [
            (lasting.as_str(), secret.as_str(), None, None),
            ("AKIDtest", "short", None, None),
            (temporary.as_str(), secret.as_str(), Some("t"), None),
            (temporary.as_str(), secret.as_str(), None, Some(KeyFlaw::WithoutToken)),
            (secret.as_str(), lasting.as_str(), None, Some(KeyFlaw::Swapped)),
            (lasting.as_str(), "key ", None, Some(KeyFlaw::Untidy)),
            ("\"AKIDx\"", "key", None, Some(KeyFlaw::Untidy)),
            (lasting.as_str(), "key", Some("t\n"), Some(KeyFlaw::Untidy)),
            ("AKID...", "...", None, Some(KeyFlaw::Placeholder)),
            ("AKIAIOSFODNN7EXAMPLE", "key", None, Some(KeyFlaw::OfAmazon)),
        ];
        for (id, key, token, expected) in table {
            let credentials =
                Credentials { secret_id: id.into(), secret_key: key.into(), token: token.map(str::to_owned) };
            assert_eq!(KeyFlaw::of(&credentials), expected, "{id}");
        }
    }
}
