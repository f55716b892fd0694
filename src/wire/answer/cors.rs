//! Which pages of other origins may ask a bucket, and what they are told (`cos-api.md` 5.3).

use super::{AnswerError, root_of};
use crate::wire::request::HeaderPair;
use crate::wire::xml::{Element, XmlError};

/// The rules of a bucket, the first of which that fits counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CorsConfiguration {
    rules: Vec<CorsRule>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct CorsRule {
    origins: Vec<String>,
    methods: Vec<String>,
    headers: Vec<String>,
    exposed: Vec<String>,
    max_age_seconds: Option<u64>,
}

impl CorsConfiguration {
    /// Reads the document.
    ///
    /// # Errors
    /// It is none of this kind.
    pub fn decode(document: &[u8]) -> Result<CorsConfiguration, AnswerError> {
        let root = root_of(document, "CORSConfiguration")?;
        let rules = root.children("CORSRule").map(CorsRule::of).collect::<Result<_, XmlError>>()?;
        Ok(CorsConfiguration { rules })
    }

    /// The headers by which a browser is told that a page of `origin` may do what it asks: `method`, and with it the headers whose
    /// names are in `headers`, lower-case. `None` if it may not.
    pub fn allow(&self, origin: &str, method: &str, headers: &[String]) -> Option<Vec<HeaderPair>> {
        let rule = self.rules.iter().find(|rule| rule.fits(origin, method, headers))?;
        let is_for_all = rule.origins.iter().any(|allowed| allowed == "*");
        let mut told: Vec<HeaderPair> = vec![
            ("access-control-allow-origin".into(), if is_for_all { "*" } else { origin }.to_owned()),
            ("access-control-allow-methods".into(), rule.methods.join(",")),
        ];
        if !headers.is_empty() {
            told.push(("access-control-allow-headers".into(), headers.join(",")));
        }
        if !rule.exposed.is_empty() {
            told.push(("access-control-expose-headers".into(), rule.exposed.join(",")));
        }
        if let Some(seconds) = rule.max_age_seconds {
            told.push(("access-control-max-age".into(), seconds.to_string()));
        }
        if !is_for_all {
            told.push(("vary".into(), "Origin".to_owned()));
        }
        Some(told)
    }
}

impl CorsRule {
    fn of(rule: &Element) -> Result<CorsRule, XmlError> {
        let texts = |name| rule.children(name).map(|child| child.own_text().trim().to_owned()).collect();
        let max_age_seconds = rule.child("MaxAgeSeconds").map(|_| rule.number("MaxAgeSeconds")).transpose()?;
        Ok(CorsRule {
            origins: texts("AllowedOrigin"),
            methods: texts("AllowedMethod"),
            headers: texts("AllowedHeader"),
            exposed: texts("ExposeHeader"),
            max_age_seconds,
        })
    }

    fn fits(&self, origin: &str, method: &str, headers: &[String]) -> bool {
        self.origins.iter().any(|pattern| matches(pattern, origin))
            && self.methods.iter().any(|allowed| allowed == method)
            && headers.iter().all(|name| self.headers.iter().any(|pattern| matches(&pattern.to_lowercase(), name)))
    }
}

/// Whether a text is that of a pattern, in which one `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((begin, end)) => text.len() >= begin.len() + end.len() && text.starts_with(begin) && text.ends_with(end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_fits_counts() {
        let document = b"<CORSConfiguration>\
            <CORSRule><AllowedOrigin>https://*.example.com</AllowedOrigin><AllowedMethod>PUT</AllowedMethod>\
            <AllowedHeader>X-Cos-*</AllowedHeader><ExposeHeader>ETag</ExposeHeader><MaxAgeSeconds>60</MaxAgeSeconds></CORSRule>\
            <CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>";
        let cors = CorsConfiguration::decode(document).unwrap();
        let told = |origin, method, headers: &[&str]| {
            let headers: Vec<String> = headers.iter().map(|name| (*name).to_owned()).collect();
            let told = cors.allow(origin, method, &headers)?;
            Some(told.into_iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>())
        };
        assert_eq!(
            told("https://a.example.com", "PUT", &["x-cos-acl"]).unwrap(),
            [
                "access-control-allow-origin: https://a.example.com",
                "access-control-allow-methods: PUT",
                "access-control-allow-headers: x-cos-acl",
                "access-control-expose-headers: ETag",
                "access-control-max-age: 60",
                "vary: Origin",
            ]
        );
        assert_eq!(told("https://a.example.com", "PUT", &["content-type"]), None);
        assert_eq!(told("https://example.org", "PUT", &[]), None);
        assert_eq!(told("https://example.org", "GET", &[]).unwrap()[0], "access-control-allow-origin: *");
        assert!(CorsConfiguration::decode(b"<Other/>").is_err());
    }
}
