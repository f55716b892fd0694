//! What browsers ask before a page of another origin may, and what they are told with every answer then.

use crate::wire::answer::CorsConfiguration;
use crate::wire::code::Code;
use crate::wire::operation::BucketConfiguration;
use crate::wire::request::{HeaderPair, Headers};

use super::answer::Answer;
use super::refusal::Refusal;
use super::service::Target;
use super::storage::Storage;

/// Answers whether a page may ask what it is about to. Nobody signs such a question.
pub(super) fn preflight(storage: &Storage, target: &Target, headers: Headers<'_>) -> Result<Answer, Refusal> {
    let origin = headers.get("origin").ok_or(Code::InvalidRequest)?;
    let method = headers.get("access-control-request-method").ok_or(Code::InvalidRequest)?;
    let names = headers.get("access-control-request-headers").unwrap_or("").split(',');
    let names: Vec<String> =
        names.map(|name| name.trim().to_ascii_lowercase()).filter(|name| !name.is_empty()).collect();
    let told = cors_of(storage, target).and_then(|cors| cors.allow(origin, method, &names));
    let headers =
        told.ok_or_else(|| Refusal::new(Code::AccessForbidden, "CORSResponse: This CORS request is not allowed."))?;
    Ok(Answer { headers, ..Answer::empty() })
}

/// What the answer to a request of a page says beside what was asked.
pub(super) fn for_page(storage: &Storage, target: &Target, method: &str, headers: Headers<'_>) -> Vec<HeaderPair> {
    let Some(origin) = headers.get("origin") else { return Vec::new() };
    cors_of(storage, target).and_then(|cors| cors.allow(origin, method, &[])).unwrap_or_default()
}

fn cors_of(storage: &Storage, target: &Target) -> Option<CorsConfiguration> {
    let record = storage.bucket(target.bucket.as_ref()?).ok()??;
    let document = record.configurations.get(BucketConfiguration::Cors.parameter())?;
    CorsConfiguration::decode(document.as_bytes()).ok()
}
