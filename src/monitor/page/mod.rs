//! The page for people: what a mount shows at one moment, as a document, and as what has changed since another moment.
//!
//! The document is whole without the script, and then loads itself again. With it, only what has changed is sent and put in
//! its place; what has the focus, is unfolded or scrolled stays as it is.

mod tables;
mod throughput;
mod uploads;
mod words;

use std::collections::BTreeMap;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde::Serialize;

use super::status::Status;
use uploads::UploadView;

/// The style of the page.
pub(super) const STYLE: &str = include_str!("page.css");
/// What keeps the page as it is now.
pub(super) const SCRIPT: &str = include_str!("page.js");
/// The sign of the page in a tab.
pub(super) const ICON: &str = include_str!("icon.svg");

/// After how many seconds a page without the script loads itself again.
const RELOAD_SECONDS: u32 = 2;

/// What is shown at one moment.
#[derive(Debug)]
pub(super) struct View {
    /// When.
    at: String,
    title: String,
    /// For those who listen to the page: changes seldom.
    news: String,
    /// What is replaced as one, by name, as HTML.
    fragments: BTreeMap<&'static str, String>,
    uploads: Vec<UploadView>,
}

/// What has changed between two moments, as the script gets it.
#[derive(Serialize)]
struct Changes<'a> {
    at: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    news: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    fragments: BTreeMap<&'a str, &'a str>,
    /// All uploads in their order, where others are shown than before.
    #[serde(skip_serializing_if = "Option::is_none")]
    order: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    uploads: Vec<UploadChange<'a>>,
}

/// An upload that is new, or of which something has changed.
#[derive(Serialize)]
struct UploadChange<'a> {
    id: &'a str,
    /// All of it, where it has not been shown yet or has other cells than before.
    #[serde(skip_serializing_if = "Option::is_none")]
    article: Option<String>,
    told: &'a str,
    label: &'a str,
    cells: &'a str,
}

impl View {
    pub(super) fn of(status: &Status) -> View {
        let uploads = uploads::uploads(status);
        let fragments = [
            ("state", tables::state(status)),
            ("figures", tables::figures(status)),
            ("notices", tables::notices(status)),
            ("chart", throughput::chart(&status.transfer)),
            ("directions", throughput::directions(&status.transfer)),
            ("memory", tables::memory(&status.memory)),
            ("requests", tables::operations(status.requests.iter())),
            ("calls", tables::operations(status.calls.iter())),
            ("files", tables::files(status)),
            ("errors", tables::errors(status)),
            ("about", tables::about(status)),
            ("no-uploads", html! { @if uploads.is_empty() { "No upload is running." } }),
        ];
        View {
            at: status.at.clone(),
            title: title(status),
            news: news(status),
            fragments: fragments.into_iter().map(|(name, html)| (name, html.into_string())).collect(),
            uploads,
        }
    }

    /// What is to be replaced where `before` was shown, or nothing yet, as JSON.
    pub(super) fn changes_since(&self, before: Option<&View>) -> String {
        let changed = |of: fn(&View) -> &String| {
            Some(of(self).as_str()).filter(|now| before.is_none_or(|before| of(before) != now))
        };
        let known = |name: &str| before.and_then(|before| before.fragments.get(name));
        let fragments = self.fragments.iter().filter(|(name, html)| known(name) != Some(html));
        let ids = |view: &View| view.uploads.iter().map(|upload| upload.id.clone()).collect::<Vec<_>>();
        let is_other = before.is_none_or(|before| ids(before) != ids(self));
        let changes = Changes {
            at: &self.at,
            title: changed(|view| &view.title),
            news: changed(|view| &view.news),
            fragments: fragments.map(|(name, html)| (*name, html.as_str())).collect(),
            order: is_other.then(|| self.uploads.iter().map(|upload| upload.id.as_str()).collect()),
            uploads: self.uploads.iter().filter_map(|upload| upload_change(upload, before)).collect(),
        };
        // Texts by names: nothing of it can fail.
        serde_json::to_string(&changes).unwrap_or_default()
    }

    /// The whole document.
    pub(super) fn document(&self) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" data-at=(self.at) {
                head {
                    meta charset="utf-8";
                    title { (self.title) }
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    link rel="icon" href="/icon.svg" type="image/svg+xml";
                    link rel="stylesheet" href="/page.css";
                    script src="/page.js" defer {}
                    noscript { meta http-equiv="refresh" content=(RELOAD_SECONDS); }
                }
                body {
                    a.skip href="#main" { "Skip to what the mount does" }
                    (self.header())
                    main id="main" tabindex="-1" { (self.content()) }
                    footer {
                        p { "This page only looks: nothing can be changed here. For programs: "
                            a href="/metrics" { "metrics" } " and "
                            a href="/status.json" { "the same as JSON" } "." }
                    }
                }
            }
        }
    }

    fn header(&self) -> Markup {
        html! {
            header {
                div.name {
                    p.brand { img src="/icon.svg" alt="" width="20" height="20"; "cosmount" }
                    h1 { (self.source()) }
                }
                div.standing {
                    div data-live="state" { (self.fragment("state")) }
                    div.following id="following" hidden {
                        span id="connection" data-connection="live" { "Live" }
                        button type="button" id="pause" aria-pressed="false" { "Pause" }
                    }
                }
                p.unseen role="status" id="news" {}
            }
        }
    }

    /// What is mounted: the title begins with more.
    fn source(&self) -> &str {
        self.title.rsplit(" · ").next().unwrap_or(&self.title)
    }

    fn content(&self) -> Markup {
        html! {
            section aria-label="At a glance" {
                dl.figures data-live="figures" { (self.fragment("figures")) }
                div.notices data-live="notices" { (self.fragment("notices")) }
            }
            section.uploads aria-labelledby="uploads-title" {
                h2 id="uploads-title" { "Uploads" }
                p.none data-live="no-uploads" { (self.fragment("no-uploads")) }
                div id="uploads" { @for upload in &self.uploads { (upload.article()) } }
            }
            div.pair {
                section aria-labelledby="throughput-title" {
                    h2 id="throughput-title" { "Throughput of the last minutes" }
                    div data-live="chart" { (self.fragment("chart")) }
                    (self.region("directions", "Throughput", "Payload by direction", throughput::directions_head()))
                }
                section aria-labelledby="errors-title" {
                    h2 id="errors-title" { "Failures, and what to do" }
                    ul.errors data-live="errors" { (self.fragment("errors")) }
                }
            }
            (self.table("files", "Open files", "Files that are open or wait to be published", html! {
                thead { tr {
                    th scope="col" { "File" } th scope="col" { "State" }
                    th.number scope="col" { "For" } th.number scope="col" { "Size" } th.number scope="col" { "Handles" }
                } }
            }))
            (self.table("requests", "Requests by operation", "Requests to the service, every attempt counted",
                tables::operations_head("Operation")))
            (self.table("memory", "Memory", "Memory by who holds it", html! {
                thead { tr {
                    th scope="col" { "Held for" } th.number scope="col" { "Bytes" } th.number scope="col" { "Of" }
                    th.bar scope="col" { span.unseen { "Share" } }
                } }
            }))
            details {
                summary { h2 { "Calls of programs" } }
                (self.region("calls", "Calls of programs", "Calls that programs made, and how long they waited",
                    tables::operations_head("Call")))
            }
            details {
                summary { h2 { "About this mount" } }
                dl.about data-live="about" { (self.fragment("about")) }
            }
        }
    }

    fn table(&self, name: &'static str, title: &str, caption: &str, head: Markup) -> Markup {
        let id = format!("{name}-title");
        html! {
            section aria-labelledby=(id) {
                h2 id=(id) { (title) }
                (self.region(name, title, caption, head))
            }
        }
    }

    /// A table in a box of its own, which a keyboard can scroll where it is wider than the screen.
    fn region(&self, name: &'static str, title: &str, caption: &str, head: Markup) -> Markup {
        html! {
            div.scroll role="region" tabindex="0" aria-label=(format!("{title}, as a table")) {
                table {
                    caption { (caption) }
                    (head)
                    tbody data-live=(name) { (self.fragment(name)) }
                }
            }
        }
    }

    fn fragment(&self, name: &str) -> PreEscaped<&str> {
        PreEscaped(self.fragments.get(name).map_or("", String::as_str))
    }
}

/// What of an upload is to be replaced, if anything.
fn upload_change<'a>(upload: &'a UploadView, before: Option<&View>) -> Option<UploadChange<'a>> {
    let known = before.and_then(|before| before.uploads.iter().find(|other| other.id == upload.id));
    if known == Some(upload) {
        return None;
    }
    let fits = known.is_some_and(|known| known.parts_per_cell == upload.parts_per_cell);
    Some(UploadChange {
        id: &upload.id,
        article: (!fits).then(|| upload.article().into_string()),
        told: &upload.told,
        label: &upload.label,
        cells: &upload.cells,
    })
}

fn title(status: &Status) -> String {
    let waiting = status.unpublished_count;
    if waiting > 0 { format!("↑ {waiting} · {}", status.source) } else { status.source.clone() }
}

/// What is worth being read aloud when it changes: how many uploads are running, and whether something failed.
fn news(status: &Status) -> String {
    let uploads = status.files.iter().filter(|file| file.upload.is_some()).count() as u64;
    let running = match uploads {
        0 => "No upload is running".to_owned(),
        _ => format!("{} running", words::counted(uploads, "upload")),
    };
    match status.errors.len() as u64 {
        0 => running,
        failures => format!("{running}; {}", words::counted(failures, "failure")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn the_document_says_everything_without_the_script() {
        let html = View::of(&samples::status()).document().into_string();
        let told = [
            "<h1>photos-125:/2024</h1>",
            "data-part=\"6\" data-state=\".\"",
            "Upload<wbr>Part",
            "0.2500 CNY",
            "fewer programs at once",
            "http-equiv=\"refresh\" content=\"2\"",
            "24.0 MiB",
        ];
        for text in told {
            assert!(html.contains(text), "{text} is not in\n{html}");
        }
        // The policy allows neither.
        assert!(!html.contains("style=") && !html.contains("onclick") && !html.contains("<style"), "{html}");
    }

    #[test]
    fn only_what_has_changed_is_sent() {
        let before = View::of(&samples::status());
        let mut status = samples::status();
        status.at = "later".into();
        let json = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
        assert_eq!(json(View::of(&status).changes_since(Some(&before))), serde_json::json!({ "at": "later" }));
        let upload = status.files[0].upload.as_mut().unwrap();
        upload.map = "LLCLs.".into();
        let now = View::of(&status);
        let changes = json(now.changes_since(Some(&before)));
        assert_eq!(changes["uploads"][0]["cells"], "LLCLs.");
        assert_eq!(
            (&changes["uploads"][0]["article"], &changes["order"]),
            (&serde_json::Value::Null, &serde_json::Value::Null)
        );
        let all = json(now.changes_since(None));
        assert!(all["fragments"].as_object().unwrap().len() == now.fragments.len() && all["order"].is_array());
        assert!(all["uploads"][0]["article"].as_str().unwrap().contains("<article"));
    }

    #[test]
    fn an_upload_that_is_over_goes_from_the_order() {
        let before = View::of(&samples::status());
        let mut status = samples::status();
        status.files.remove(0);
        let changes = View::of(&status).changes_since(Some(&before));
        assert!(changes.contains("\"order\":[]") && changes.contains("No upload is running."), "{changes}");
    }
}
