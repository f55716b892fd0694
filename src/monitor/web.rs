//! What is answered over HTTP: the page, its changes as they happen, the document as JSON, and the metrics.
//!
//! Everything is read-only, and for who asks for it at this place under its own name: a page of another site that a name
//! server has let point here is refused, and no answer may be read or shown by other sites.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;

use super::live::Live;
use super::metrics::{self, Format};
use super::observer::Look;
use super::page::{self, View};
use crate::config::ListenAddress;

/// Headers of every answer. Nothing is loaded but what comes from here, and nothing here is shown inside of other pages.
const HEADERS: [(&str, &str); 7] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-store"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
];

/// Looks at the mount.
pub(super) type Looking = Arc<dyn Fn() -> Look + Send + Sync>;

/// What the answers are made of.
struct Shown {
    look: Looking,
    live: Arc<Live>,
    address: ListenAddress,
}

/// All answers of a mount that is shown at this address.
pub(super) fn router(look: Looking, address: ListenAddress) -> Router {
    let seen = look.clone();
    let live = Live::new(Arc::new(move || View::of(&seen().status)));
    let shown = Arc::new(Shown { look, live, address });
    Router::new()
        .route("/", get(document))
        .route("/events", get(events))
        .route("/status.json", get(status))
        .route("/metrics", get(exposition))
        .route("/page.css", get(|| async { of_type("text/css; charset=utf-8", page::STYLE) }))
        .route("/page.js", get(|| async { of_type("text/javascript; charset=utf-8", page::SCRIPT) }))
        .route("/icon.svg", get(|| async { of_type("image/svg+xml", page::ICON) }))
        .fallback(|| async { (StatusCode::NOT_FOUND, "There is /, /metrics, /status.json and /events.\n") })
        .layer(middleware::from_fn_with_state(shown.clone(), guard))
        .with_state(shown)
}

async fn document(State(shown): State<Arc<Shown>>) -> Response {
    looked(&shown, |look| of_type("text/html; charset=utf-8", View::of(&look.status).document().into_string())).await
}

async fn status(State(shown): State<Arc<Shown>>) -> Response {
    looked(&shown, |look| match serde_json::to_string(&look.status) {
        Ok(json) => of_type("application/json", json),
        Err(error) => failed(&error),
    })
    .await
}

async fn exposition(State(shown): State<Arc<Shown>>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    looked(&shown, move |look| match metrics::written(look, format) {
        Ok(text) => of_type(format.content_type(), text),
        Err(error) => failed(&error),
    })
    .await
}

async fn events(State(shown): State<Arc<Shown>>) -> Response {
    let Some(viewer) = shown.live.viewer() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "The page is open too often; close one of them.\n").into_response();
    };
    let changes = stream::unfold(viewer, |mut viewer| async {
        let changes = viewer.next().await?;
        Some((Ok::<_, Infallible>(Event::default().data(changes)), viewer))
    });
    Sse::new(changes).keep_alive(KeepAlive::default()).into_response()
}

/// Looks, away from those who wait for answers, and makes one of what was seen.
async fn looked(shown: &Shown, answer: impl FnOnce(Look) -> Response + Send + 'static) -> Response {
    let look = shown.look.clone();
    let looked = tokio::task::spawn_blocking(move || answer(look())).await;
    looked.unwrap_or_else(|error| failed(&error))
}

fn failed(error: &dyn std::error::Error) -> Response {
    log::error!("what the mount shows of itself could not be made: {error}");
    (StatusCode::INTERNAL_SERVER_ERROR, "It could not be made; the log says why.\n").into_response()
}

fn of_type(content_type: &'static str, content: impl IntoResponse) -> Response {
    ([(header::CONTENT_TYPE, content_type)], content).into_response()
}

/// Refuses who does not ask for this place, and sends every answer with its headers.
async fn guard(State(shown): State<Arc<Shown>>, request: Request, next: Next) -> Response {
    let mut response = match is_meant(request.uri(), request.headers(), &shown.address) {
        true => next.run(request).await,
        false => {
            let told =
                "Refused: this is shown under this machine's own address alone, as localhost or by its number.\n";
            (StatusCode::FORBIDDEN, told).into_response()
        }
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

/// Whether a request was meant for what listens here, and comes from a page of here if it comes from one.
fn is_meant(uri: &Uri, headers: &HeaderMap, address: &ListenAddress) -> bool {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or_default());
    let host = text(header::HOST);
    let is_ours = |host: &str| is_own_name(host, address);
    let comes_from_here = text(header::ORIGIN).is_none_or(|origin| origin.strip_prefix("http://") == host);
    // Where the whole address is asked for, that counts, and not what is said beside it.
    let names = uri.authority().map(|authority| authority.as_str()).into_iter().chain(host);
    let is_named = uri.authority().is_some() || host.is_some();
    matches!(address, ListenAddress::Unix(_)) || (is_named && names.into_iter().all(is_ours) && comes_from_here)
}

/// Whether a host is this one by a name that no name server could have given to another site.
fn is_own_name(host: &str, address: &ListenAddress) -> bool {
    let ListenAddress::Tcp(listening) = address else { return true };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    match name.parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback() || ip == listening.ip() || listening.ip().is_unspecified(),
        Err(_) => name.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Method;
    use http_body_util::BodyExt;
    use hyper_util::service::TowerToHyperService;

    use super::super::samples;
    use super::*;

    fn address(text: &str) -> ListenAddress {
        text.parse().unwrap()
    }

    async fn asked(method: Method, path: &str, headers: &[(&str, &str)]) -> Response {
        let service = TowerToHyperService::new(router(Arc::new(samples::look), address("9464")));
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost:9464");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        hyper::service::Service::call(&service, request.body(Body::empty()).unwrap()).await.unwrap()
    }

    async fn text(response: Response) -> String {
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn each_path_has_its_kind_and_every_answer_its_headers() {
        let table = [
            ("/", 200, "text/html; charset=utf-8"),
            ("/page.css", 200, "text/css; charset=utf-8"),
            ("/page.js", 200, "text/javascript; charset=utf-8"),
            ("/icon.svg", 200, "image/svg+xml"),
            ("/status.json", 200, "application/json"),
            ("/metrics", 200, "text/plain; version=0.0.4; charset=utf-8"),
            ("/events", 200, "text/event-stream"),
            ("/etc/passwd", 404, "text/plain; charset=utf-8"),
            ("//", 404, "text/plain; charset=utf-8"),
        ];
        for (path, code, kind) in table {
            let response = asked(Method::GET, path, &[]).await;
            assert_eq!(
                (response.status().as_u16(), response.headers()["content-type"].to_str().unwrap()),
                (code, kind)
            );
            for (name, value) in HEADERS {
                assert_eq!(response.headers()[name], value, "{path}");
            }
            assert!(!response.headers().contains_key("access-control-allow-origin"), "{path}");
            let head = asked(Method::HEAD, path, &[]).await;
            assert_eq!(head.status().as_u16(), code, "{path}");
            assert_eq!(text(head).await, "", "{path}");
        }
    }

    #[tokio::test]
    async fn nothing_can_be_changed() {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
            for path in ["/", "/events", "/status.json", "/metrics", "/page.js"] {
                let response = asked(method.clone(), path, &[]).await;
                assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            }
        }
    }

    #[tokio::test]
    async fn the_document_as_json_is_the_status() {
        let json = text(asked(Method::GET, "/status.json", &[]).await).await;
        let status: super::super::Status = serde_json::from_str(&json).unwrap();
        assert_eq!(status, samples::status());
        let openmetrics = asked(Method::GET, "/metrics", &[("accept", "application/openmetrics-text")]).await;
        assert!(text(openmetrics).await.ends_with("# EOF\n"));
    }

    #[tokio::test]
    async fn changes_come_as_one_event_each() {
        let response = asked(Method::GET, "/events", &[]).await;
        let mut body = response.into_body();
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let event = std::str::from_utf8(&frame).unwrap();
        let json = event.strip_prefix("data: ").unwrap().trim_end();
        let changes: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(changes["uploads"][0]["cells"], "LLCss.");
    }

    /// A name server can let any name point here, so only names that nobody can give away are answered.
    #[tokio::test]
    async fn other_sites_are_kept_out() {
        let table = [
            ("localhost:9464", true),
            ("LOCALHOST", true),
            ("127.0.0.1:9464", true),
            ("127.9.9.9", true),
            ("[::1]:9464", true),
            ("evil.example:9464", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example:9464", false),
            ("192.0.2.7:9464", false),
            ("[::2]:9464", false),
            ("", false),
        ];
        for (host, is_answered) in table {
            assert_eq!(is_own_name(host, &address("9464")), is_answered, "{host:?}");
        }
        assert!(is_own_name("192.0.2.7:9464", &address("0.0.0.0:9464")));
        assert!(is_own_name("192.0.2.7", &address("192.0.2.7:9464")) && !is_own_name("evil", &address("0.0.0.0:1")));
        for headers in [[("origin", "http://evil.example")], [("origin", "null")], [("host", "evil.example")]] {
            let mut answer = HeaderMap::new();
            answer.insert("host", "localhost:9464".parse().unwrap());
            answer.insert(headers[0].0, headers[0].1.parse().unwrap());
            assert!(!is_meant(&"/".parse().unwrap(), &answer, &address("9464")), "{headers:?}");
        }
        let refused = asked(Method::GET, "http://evil.example/status.json", &[]).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN);
        assert!(!text(refused).await.contains("photos"));
        let from_here = asked(Method::GET, "/status.json", &[("origin", "http://localhost:9464")]).await;
        assert_eq!(from_here.status(), StatusCode::OK);
        let nobody = HeaderMap::new();
        assert!(!is_meant(&"/".parse().unwrap(), &nobody, &address("9464")));
        assert!(is_meant(&"/".parse().unwrap(), &nobody, &address("unix:/x")));
    }
}
