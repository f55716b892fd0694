//! The published vectors, every intermediate value of them.

use serde_json::Value;

use super::*;

fn pairs(object: &Value) -> Vec<(String, String)> {
    let object = object.as_object().unwrap();
    object.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
}

#[test]
fn every_vector_comes_out_step_by_step() {
    let vectors: Value = serde_json::from_str(include_str!("../../../tests/vectors/cos-sign.json")).unwrap();
    let credentials = Credentials {
        secret_id: vectors["secret_id"].as_str().unwrap().to_owned(),
        secret_key: vectors["secret_key"].as_str().unwrap().to_owned(),
        token: None,
    };
    let all = vectors["vectors"].as_array().unwrap();
    assert_eq!(all.len(), 12);
    for vector in all {
        let text = |name: &str| vector[name].as_str().unwrap();
        let query: Vec<QueryPair> =
            pairs(&vector["params"]).into_iter().map(|(name, value)| (name.into(), Some(value))).collect();
        let headers = pairs(&vector["headers"]);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let request = Signable { method: text("method"), path: text("path"), query: &query, headers: &headers };
        let canonical = Canonical::of(&request);
        let id = text("id");
        assert_eq!(sign_key(&credentials.secret_key, text("key_time")), text("SignKey"), "{id}");
        assert_eq!(canonical.param_list, text("UrlParamList"), "{id}");
        assert_eq!(canonical.header_list, text("HeaderList"), "{id}");
        let lines: Vec<&str> = canonical.http_string.split('\n').collect();
        assert_eq!((lines[2], lines[3]), (text("HttpParameters"), text("HttpHeaders")), "{id}");
        assert_eq!(canonical.http_string, text("HttpString"), "{id}");
        assert_eq!(hex(&Sha1::digest(canonical.http_string.as_bytes())), text("HttpStringSha1"), "{id}");
        assert_eq!(canonical.string_to_sign(text("key_time")), text("StringToSign"), "{id}");
        let key = SigningKey::new(&credentials, KeyTime::parse(text("key_time")).unwrap());
        assert_eq!(key.signature(&canonical), text("Signature"), "{id}");
        assert_eq!(key.authorization(&request), text("Authorization"), "{id}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let credentials =
        Credentials { secret_id: "AKID".into(), secret_key: "s3cret".into(), token: Some("t0ken".into()) };
    let key = SigningKey::new(&credentials, KeyTime { start: 1, end: 2 });
    let shown = format!("{credentials:?} {key:?}");
    assert!(shown.contains("AKID") && !shown.contains("s3cret") && !shown.contains("t0ken"), "{shown}");
}

#[test]
fn key_times_have_64_bits() {
    assert_eq!(KeyTime::parse("1484727403;32557623403"), Some(KeyTime { start: 1484727403, end: 32557623403 }));
    for bad in ["", "1", ";", "1;", "a;b", "-1;2", "1;2;3", "1;99999999999999999999"] {
        assert_eq!(KeyTime::parse(bad), None, "{bad}");
    }
}
