//! The rest of what a mount shows of itself, as tables and lists.

use maud::{Markup, html};

use super::super::advice::advice;
use super::super::status::{FailureStatus, FileStage, FileStatus, MemoryStatus, OperationStatus, Status};
use super::throughput::{NOW_SECONDS, mean};
use super::{uploads::UPLOADS_MAX, words};

/// Files with a row.
const FILES_MAX: usize = 50;

/// Failures that are shown.
const FAILURES_MAX: usize = 20;

/// How soon the end of a key is worth a word, where nothing gives a new one.
const KEY_ENDS_SOON_SECONDS: i64 = 600;

/// Whether everything is as it should be, in a few words.
pub(super) fn state(status: &Status) -> Markup {
    let failed = status.files.iter().filter(|file| file.state == FileStage::Failed).count() as u64;
    let waiting = status.unpublished_count as u64;
    let (class, sign, text) = match (failed, waiting) {
        (0, 0) => ("good", "✓", "Everything is in the bucket".to_owned()),
        (0, 1) => ("busy", "↑", "1 file is not in the bucket yet".to_owned()),
        (0, _) => ("busy", "↑", format!("{} are not in the bucket yet", words::counted(waiting, "file"))),
        _ => ("bad", "!", format!("{} could not be published", words::counted(failed, "file"))),
    };
    html! { span.chip.(class) { span.sign aria-hidden="true" { (sign) } (text) } }
}

/// A few numbers that say most.
pub(super) fn figures(status: &Status) -> Markup {
    let (transfer, memory) = (&status.transfer, &status.memory);
    let requests: u64 = status.requests.values().map(|operation| operation.count).sum();
    let running: u64 = status.requests.values().map(|operation| operation.running).sum();
    let handles: usize = status.files.iter().map(|file| file.handles).sum();
    html! {
        (figure("Up", &words::rate(mean(&transfer.rates, NOW_SECONDS, |rate| rate.up)),
            &format!("{} since mounted", words::bytes(transfer.bytes_up))))
        (figure("Down", &words::rate(mean(&transfer.rates, NOW_SECONDS, |rate| rate.down)),
            &format!("{} since mounted", words::bytes(transfer.bytes_down))))
        (figure("Not in the bucket", &words::counted(status.unpublished_count as u64, "file"),
            &format!("{} of memory held for writers", words::bytes(memory.writers as u64))))
        (figure("Published", &words::count(transfer.published),
            &format!("{}, {}", words::counted(status.files_count as u64, "file"), words::counted(handles as u64, "handle"))))
        (figure("Requests", &words::count(requests),
            &format!("{running} on their way, {} repeated", words::count(transfer.retries))))
        (figure("Memory", &words::bytes(memory.used as u64), &format!("of {}", words::bytes(memory.limit as u64))))
        @if let Some(cost) = &status.cost {
            (figure("Estimated cost", &format!("{:.4} {}", cost.total, cost.currency), "since mounted"))
        }
    }
}

fn figure(title: &str, value: &str, more: &str) -> Markup {
    html! { div.figure { dt { (title) } dd { strong { (value) } span.more { (more) } } } }
}

/// What somebody should look at, if anything.
pub(super) fn notices(status: &Status) -> Markup {
    let key = &status.credentials;
    let ends_soon = key.expires_in_seconds.filter(|seconds| *seconds < KEY_ENDS_SOON_SECONDS);
    let waiting = status.memory.waiting as u64;
    html! {
        @if let Some(problem) = &key.problem {
            p.notice.bad { strong { "There is no newer key: " } (problem) ". "
                "Check where it comes from: " (key.source) "." }
        }
        @if let Some(seconds) = ends_soon {
            p.notice.bad {
                @if seconds < 0 { strong { "The key is over." } }
                @else { strong { "The key ends in " (words::span(seconds.unsigned_abs())) "." } }
                " It comes from " (key.source) "."
            }
        }
        @if waiting > 0 {
            p.notice { strong { (words::counted(waiting, "call")) @if waiting == 1 { " waits" } @else { " wait" } " for memory: " }
                "parts leave more slowly than they are written. --memory gives more." }
        }
    }
}

/// Requests or calls by name.
pub(super) fn operations<'a>(operations: impl Iterator<Item = (&'a String, &'a OperationStatus)>) -> Markup {
    let dim = |number: u64| if number == 0 { "number none" } else { "number" };
    html! {
        @for (name, operation) in operations {
            tr {
                th scope="row" { @for word in camel_words(name) { (word) wbr; } }
                td.number { (words::count(operation.count)) }
                td class=(dim(operation.running)) { (words::count(operation.running)) }
                td class=(dim(operation.failed)) {
                    (words::count(operation.failed))
                    @if operation.failed > 0 { span.why { (failures(operation)) } }
                }
                td class=(dim(operation.repeats)) { (words::count(operation.repeats)) }
                @for millis in [operation.p50_ms, operation.p90_ms, operation.p99_ms] {
                    td.number { (words::milliseconds(millis)) }
                }
            }
        }
    }
}

/// The words of a name such as `UploadPart`, between which a line may end.
fn camel_words(name: &str) -> impl Iterator<Item = &str> {
    let starts = name.char_indices().filter(|(at, letter)| *at == 0 || letter.is_ascii_uppercase()).map(|(at, _)| at);
    let ends = starts.clone().skip(1).chain([name.len()]);
    starts.zip(ends).map(|(start, end)| &name[start..end])
}

/// Why those that failed did.
fn failures(operation: &OperationStatus) -> String {
    let failed = operation.results.iter().filter(|(result, _)| *result != "ok");
    let words: Vec<_> = failed.map(|(result, count)| format!("{} {count}", result.replace('_', " "))).collect();
    words.join(", ")
}

/// The head of such a table.
pub(super) fn operations_head(what: &str) -> Markup {
    html! {
        thead { tr {
            th scope="col" { (what) }
            @for title in ["Ended", "Running", "Failed", "Repeats", "Half within", "90 % within", "99 % within"] {
                th.number scope="col" { (title) }
            }
        } }
    }
}

/// Who holds memory, with bars.
pub(super) fn memory(memory: &MemoryStatus) -> Markup {
    let rows = [
        ("Written, or kept for writers", memory.writers, memory.limit),
        ("Blocks that are read", memory.readers, memory.limit),
        ("Free for the next", memory.idle, memory.limit),
        ("Names and attributes", memory.names, memory.names_limit),
    ];
    html! {
        @for (title, bytes, limit) in rows {
            tr {
                th scope="row" { (title) }
                td.number { (words::bytes(bytes as u64)) }
                td.number { (words::bytes(limit as u64)) }
                td.bar { svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" focusable="false" {
                    rect.rail width="100" height="8" {}
                    rect.fill width=(share(bytes, limit)) height="8" {}
                } }
            }
        }
    }
}

/// So many of a hundred, to one decimal place.
fn share(bytes: usize, limit: usize) -> f64 {
    let share = bytes as f64 / limit.max(1) as f64;
    (share.min(1.0) * 1000.0).round() / 10.0
}

/// Files that programs have open or that wait.
pub(super) fn files(status: &Status) -> Markup {
    let shown = &status.files[..status.files.len().min(FILES_MAX)];
    let uploads = status.files.iter().filter(|file| file.upload.is_some()).count();
    let hidden = status.files_count - shown.len();
    html! {
        @for file in shown { (file_row(file)) }
        @if shown.is_empty() { tr { td colspan="5" { "No file is open, and none waits." } } }
        @if hidden > 0 { tr { td colspan="5" { "and " (words::counted(hidden as u64, "more file")) } } }
        @if uploads > UPLOADS_MAX {
            tr { td colspan="5" { "Of " (uploads) " uploads " (UPLOADS_MAX) " are drawn above." } }
        }
    }
}

fn file_row(file: &FileStatus) -> Markup {
    let state = match file.state {
        FileStage::Clean => "in the bucket",
        FileStage::Dirty => "not in the bucket yet",
        FileStage::Publishing => "being published",
        FileStage::Waiting => "closed, published soon",
        FileStage::Failed => "could not be published",
    };
    let handles = match (file.handles, file.writers) {
        (0, _) => "none".to_owned(),
        (handles, 0) => format!("{handles} to read"),
        (handles, writers) if handles == writers => format!("{writers} to write"),
        (handles, writers) => format!("{} to read, {writers} to write", handles - writers),
    };
    html! {
        tr {
            th scope="row" { (file.path.as_deref().unwrap_or("a removed file")) }
            td { span.state data-state=(file.state.name()) { (state) }
                @if let Some(error) = &file.error { span.why { (error) } } }
            td.number { @if let Some(seconds) = file.since_seconds { (words::span(seconds)) } }
            td.number { @if let Some(size) = file.size { (words::bytes(size)) } }
            td.number { (handles) }
        }
    }
}

/// The last failures, with what to do.
pub(super) fn errors(status: &Status) -> Markup {
    html! {
        @for failure in status.errors.iter().take(FAILURES_MAX) { (error(failure)) }
        @if status.errors.is_empty() { li.none { "No call of a program has failed." } }
        @if status.errors.len() > FAILURES_MAX {
            li.none { "Older ones are in the log." }
        }
    }
}

fn error(failure: &FailureStatus) -> Markup {
    let what = if failure.errno.is_empty() { "failed" } else { &failure.errno };
    html! {
        li {
            p.what { strong { (failure.call) " " (failure.path) } " " span.errno { (what) } }
            p.todo { (advice(&failure.errno, &failure.code)) }
            p.why {
                time datetime=(failure.at) { (words::time(&failure.at)) } ": " (failure.message)
                // Most messages have it in them.
                @if !failure.message.contains(&failure.request_id) { " (request " (failure.request_id) ")" }
            }
        }
    }
}

/// What the mount is: its place, its key and what was said of options.
pub(super) fn about(status: &Status) -> Markup {
    let key = &status.credentials;
    html! {
        (fact("Mounted on", &status.mount_point))
        (fact("Service", &status.endpoint))
        (fact("For", &words::span(status.uptime_seconds)))
        (fact("Process", &status.pid.to_string()))
        (fact("Version", &status.version))
        (fact("Key from", &key.source))
        @if let Some(seconds) = key.expires_in_seconds {
            (fact("Key ends", &if seconds < 0 { "is over".to_owned() } else { format!("in {}", words::span(seconds.unsigned_abs())) }))
        }
        @for (name, value) in &status.options { (fact(&name.replace('_', "-"), value)) }
    }
}

fn fact(title: &str, value: &str) -> Markup {
    html! { div { dt { (title) } dd { (value) } } }
}

#[cfg(test)]
mod tests {
    use super::super::super::samples;
    use super::*;

    #[test]
    fn a_failure_is_told_with_what_to_do_and_nothing_of_it_is_markup() {
        let html = errors(&samples::status()).into_string();
        assert_eq!(camel_words("InitiateMultipartUpload").collect::<Vec<_>>(), ["Initiate", "Multipart", "Upload"]);
        assert_eq!(camel_words("read").collect::<Vec<_>>(), ["read"]);
        assert!(html.contains("fewer programs") && html.contains("NTg3") && html.contains("EAGAIN"), "{html}");
        assert!(html.contains("/film&lt;1&gt;.mkv") && !html.contains("<1>"), "{html}");
    }

    #[test]
    fn the_state_is_the_worst_there_is() {
        let mut status = samples::status();
        assert!(state(&status).into_string().contains("1 file could not be published"));
        status.files.pop();
        assert!(state(&status).into_string().contains("1 file is not in the bucket yet"));
        status.unpublished_count = 0;
        assert!(state(&status).into_string().contains("Everything is in the bucket"));
    }

    #[test]
    fn a_key_that_ends_and_programs_that_wait_are_noticed() {
        let mut status = samples::status();
        assert!(!notices(&status).into_string().contains("key"));
        assert!(notices(&status).into_string().contains("1 call waits"));
        status.credentials.expires_in_seconds = Some(59);
        status.credentials.problem = Some("no answer".into());
        let html = notices(&status).into_string();
        assert!(html.contains("ends in 59 s") && html.contains("no newer key") && html.contains("no answer"), "{html}");
    }

    #[test]
    fn more_files_than_have_a_row_are_counted() {
        let mut status = samples::status();
        status.files = vec![status.files[1].clone(); 70];
        status.files_count = 2070;
        assert!(files(&status).into_string().contains("and 2,020 more files"));
        assert_eq!((share(1, 3), share(5, 0), share(0, 9)), (33.3, 100.0, 0.0));
    }
}
