//! The report on a mount, as text. Pure.

use std::collections::BTreeMap;

use indicatif::{BinaryBytes, HumanDuration};

use crate::cli::terminal::{Terminal, harmless};
use crate::monitor::{FileStage, FileStatus, OperationStatus, Status, UploadStatus};

/// Columns where a terminal does not tell, and nobody wraps lines.
const COLUMNS_MAX: usize = 120;

/// Files that are shown one by one; the rest is counted.
const FILES_MAX: usize = 40;

/// Failures that are shown.
const ERRORS_MAX: usize = 10;

/// The whole report, in lines that fit the terminal.
pub(super) fn text(status: &Status, terminal: &Terminal) -> String {
    let columns = terminal.columns.min(COLUMNS_MAX);
    let mut report = Report { terminal: Terminal { columns, ..*terminal }, text: String::new() };
    report.about(status);
    report.files(status);
    report.wire(status);
    report.disk_cache(status);
    report.operations("requests", &status.requests);
    report.errors(status);
    report.text
}

struct Report {
    terminal: Terminal,
    text: String,
}

impl Report {
    /// A line that begins with what it is about and hangs below that where it is too long.
    fn line(&mut self, label: &str, told: &str) {
        let begins = 2 + label.len() + 1;
        let wrapped = self.terminal.wrapped(&harmless(told), begins, 4);
        self.text += &format!("  {} {wrapped}\n", self.terminal.dim(label));
    }

    fn about(&mut self, status: &Status) {
        let Status { version, source, mount_point, .. } = status;
        let title = format!("{} on {}", harmless(source), harmless(mount_point));
        self.text += &format!("{}\n", self.terminal.wrapped(&title, 0, 4));
        let up = uptime(status.uptime_seconds);
        self.line("process", &format!("{}, cosmount {version}, up {up}", status.pid));
        self.line("service", &status.endpoint);
        if let Some(page) = &status.metrics {
            self.line("page", page);
        }
        let key = &status.credentials;
        let end = match (&key.expires, key.expires_in_seconds) {
            (Some(at), Some(seconds)) if seconds < 0 => format!(", over since {at}"),
            (Some(at), Some(seconds)) => format!(", until {at}, which is in {}", uptime(seconds.unsigned_abs())),
            _ => String::new(),
        };
        self.line("key", &format!("{} from {}{end}", key.id, key.source));
        if let Some(problem) = &key.problem {
            let told = format!("there is no new key: {problem}");
            self.text += &format!("  {}\n", self.terminal.bad(&self.terminal.wrapped(&harmless(&told), 2, 4)));
        }
        let options: Vec<String> = status.options.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let options = if options.is_empty() { "all as usual".to_owned() } else { options.join(", ") };
        self.line("options", &options);
        let memory = &status.memory;
        let waiting = if memory.waiting > 0 { format!("; {} wait for some", memory.waiting) } else { String::new() };
        self.line(
            "memory",
            &format!(
                "{} of {}: writers {}, readers {}, idle {}{waiting}; names {} of {}",
                bytes(memory.used as u64),
                bytes(memory.limit as u64),
                bytes(memory.writers as u64),
                bytes(memory.readers as u64),
                bytes(memory.idle as u64),
                bytes(memory.names as u64),
                bytes(memory.names_limit as u64),
            ),
        );
        if let Some(cost) = &status.cost {
            self.line("cost", &format!("about {:.4} {} since it was mounted", cost.total, cost.currency));
        }
    }

    fn files(&mut self, status: &Status) {
        let Status { files_count, unpublished_count, open_directories, .. } = status;
        let unpublished = match unpublished_count {
            0 => "everything is published".to_owned(),
            count => format!("{count} not published"),
        };
        let directories = if *open_directories == 1 { "directory" } else { "directories" };
        self.text += "\n";
        self.line(
            "files",
            &format!("{files_count} open or waiting, {unpublished}; {open_directories} open {directories}"),
        );
        for file in status.files.iter().take(FILES_MAX) {
            self.file(file);
        }
        if *files_count > status.files.len().min(FILES_MAX) {
            self.text += &format!("    and {} more\n", files_count - status.files.len().min(FILES_MAX));
        }
        for path in status.unsaved_directories.iter().take(FILES_MAX) {
            let told = format!("{}: its attributes wait", harmless(path));
            self.text += &format!("    {}\n", self.terminal.wrapped(&told, 4, 6));
        }
    }

    fn file(&mut self, file: &FileStatus) {
        let name = file.path.as_deref().map_or_else(|| "a removed file".into(), harmless);
        let word = stage(file.state);
        let word = match file.state {
            FileStage::Clean => self.terminal.good(word),
            FileStage::Failed => self.terminal.bad(word),
            _ => self.terminal.warning(word),
        };
        let mut facts = Vec::new();
        facts.extend(file.size.map(bytes));
        facts.extend(file.since_seconds.map(|seconds| format!("since {}", uptime(seconds))));
        facts.push(handles(file));
        // What is painted has no width of its own, so the line is laid out without paint.
        let (plain, rest) = (stage(file.state), facts.join(", "));
        let wrapped = self.terminal.wrapped(&format!("{name}: {plain}, {rest}"), 4, 6);
        self.text += &format!("    {}\n", wrapped.replacen(&format!(": {plain}"), &format!(": {word}"), 1));
        if let Some(upload) = &file.upload {
            self.text += &format!("      {}\n", self.upload_line(upload));
        }
        if let Some(error) = &file.error {
            self.text += &format!("      {}\n", self.terminal.wrapped(&harmless(error), 6, 8));
        }
    }

    fn upload_line(&self, upload: &UploadStatus) -> String {
        let parts = &upload.parts;
        let mut facts = format!("{}/{} parts, {} landed", parts.landed, parts.total, bytes(upload.landed_bytes));
        if parts.copied > 0 {
            facts += &format!(", {} copied", parts.copied);
        }
        if parts.resent > 0 {
            facts += &format!(", {} re-sent", parts.resent);
        }
        if upload.bytes_per_second > 0 {
            facts += &format!(", {}/s", bytes(upload.bytes_per_second));
        }
        if let Some(seconds) = upload.left_seconds {
            facts += &format!(", {} left", uptime(seconds));
        }
        let room = self.terminal.columns.saturating_sub(6 + 3 + facts.len()).clamp(24, 40);
        let line = format!("[{}] {facts}", cells(&upload.map, room, self.terminal.unicode));
        self.terminal.wrapped(&line, 6, 8)
    }

    fn wire(&mut self, status: &Status) {
        let transfer = &status.transfer;
        let looked_up = transfer.cache_hits + transfer.cache_misses;
        let hits = match (transfer.cache_hits * 100).checked_div(looked_up) {
            Some(percent) => format!(", {percent} % of blocks read were there"),
            None => String::new(),
        };
        let repeats = if transfer.retries > 0 { format!(" ({} repeats)", transfer.retries) } else { String::new() };
        let (up, down) = (bytes(transfer.bytes_up), bytes(transfer.bytes_down));
        self.text += "\n";
        let (requests, published) = (transfer.requests, transfer.published);
        self.line("wire", &format!("{up} up, {down} down, {requests} requests{repeats}, {published} published{hits}"));
    }

    fn disk_cache(&mut self, status: &Status) {
        let Some(cache) = &status.disk_cache else { return };
        let looks = cache.hits + cache.misses;
        let hits = match (cache.hits * 100).checked_div(looks) {
            Some(percent) => format!(", {percent} % of looks found what they were for"),
            None => String::new(),
        };
        let (kept, read) = (bytes(cache.bytes), bytes(cache.hit_bytes));
        let passed = match cache.passthrough_opens {
            0 => String::new(),
            opens => format!(", {opens} opened for the kernel to read"),
        };
        self.line("disk", &format!("{kept} of copies, {read} read from them{hits}{passed}"));
    }

    fn operations(&mut self, title: &str, operations: &BTreeMap<String, OperationStatus>) {
        let shown: Vec<_> =
            operations.iter().filter(|(_, operation)| operation.count + operation.running > 0).collect();
        let Some(width) = shown.iter().map(|(name, _)| name.len()).max() else { return };
        let width = width.max(title.len());
        let head = format!(
            "  {title:width$} {:>8} {:>7} {:>7} {:>8} {:>8} {:>8}",
            "count", "failed", "running", "p50 ms", "p90 ms", "p99 ms"
        );
        self.text += &format!("{}\n", self.terminal.dim(&head));
        for (name, operation) in shown {
            let OperationStatus { count, failed, running, p50_ms, p90_ms, p99_ms, .. } = operation;
            let failed = format!("{failed:>7}");
            let failed = if operation.failed > 0 { self.terminal.warning(&failed) } else { failed };
            self.text += &format!(
                "  {name:width$} {count:>8} {failed} {running:>7} {p50_ms:>8.1} {p90_ms:>8.1} {p99_ms:>8.1}\n"
            );
        }
    }

    fn errors(&mut self, status: &Status) {
        if status.errors.is_empty() {
            return;
        }
        self.text += &format!("\n  {}\n", self.terminal.bad("errors"));
        for error in status.errors.iter().take(ERRORS_MAX) {
            let errno = if error.errno.is_empty() { String::new() } else { format!("{}: ", error.errno) };
            let told = format!("{} {} {}: {errno}{}", error.at, error.call, error.path, error.message);
            self.text += &format!("    {}\n", self.terminal.wrapped(&harmless(&told), 4, 6));
        }
        if status.errors.len() > ERRORS_MAX {
            self.text += &format!("    and {} before\n", status.errors.len() - ERRORS_MAX);
        }
    }
}

/// The word for how a file fares.
pub(super) fn stage(stage: FileStage) -> &'static str {
    match stage {
        FileStage::Clean => "published",
        FileStage::Dirty => "being written",
        FileStage::Publishing => "publishing",
        FileStage::Waiting => "waiting",
        FileStage::Failed => "FAILED",
    }
}

fn handles(file: &FileStatus) -> String {
    match (file.handles, file.writers) {
        (0, _) => "closed".to_owned(),
        (1, 0) => "open for reading".to_owned(),
        (1, _) => "open for writing".to_owned(),
        (handles, writers) => format!("open {handles} times, {writers} for writing"),
    }
}

fn bytes(count: u64) -> String {
    BinaryBytes(count).to_string()
}

/// A span for people: `42 seconds`, `2 hours`.
fn uptime(seconds: u64) -> String {
    HumanDuration(std::time::Duration::from_secs(seconds)).to_string()
}

/// The parts of an upload in so many cells at most. A cell that stands for several shows the one that is least far.
pub(super) fn cells(map: &str, room: usize, unicode: bool) -> String {
    let (waiting, sending, landed, copied) = if unicode { ('·', '▒', '█', '▓') } else { ('.', '>', '#', 'c') };
    let parts: Vec<char> = map.chars().collect();
    let rank = |part: &char| match *part {
        UploadStatus::WAITING => 0,
        UploadStatus::SENDING => 1,
        UploadStatus::COPIED => 2,
        _ => 3,
    };
    let count = parts.len().min(room);
    let cell = |index: usize| {
        let (from, to) = (index * parts.len() / count, (index + 1) * parts.len() / count);
        let least = parts[from..to.max(from + 1)].iter().map(rank).min().unwrap_or(0);
        [waiting, sending, copied, landed][least]
    };
    (0..count).map(cell).collect()
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::*;
    use crate::monitor::{CredentialStatus, FailureStatus, MemoryStatus, PartCounts, TransferStatus, UploadStatus};

    pub(super) fn example() -> Status {
        let upload = UploadStatus {
            id: Some("1-2".into()),
            parts: PartCounts { total: 100, waiting: 80, sending: 8, landed: 12, copied: 2, resent: 1 },
            map: format!("CC{}{}{}", "L".repeat(10), "s".repeat(8), ".".repeat(80)),
            landed_bytes: 96 << 20,
            bytes_per_second: 45 << 20,
            left_seconds: Some(16),
        };
        let file = FileStatus {
            path: Some("/photos/2026/big file\u{1b}[2J.bin".into()),
            key: Some("photos/2026/big.bin".into()),
            handles: 1,
            writers: 1,
            state: FileStage::Publishing,
            since: Some("2026-11-29T20:00:00.000Z".into()),
            since_seconds: Some(3),
            size: Some(800 << 20),
            held_bytes: 1 << 20,
            upload: Some(upload),
            error: None,
        };
        let operation = OperationStatus {
            count: 1234,
            failed: 2,
            results: BTreeMap::new(),
            repeats: 2,
            running: 8,
            p50_ms: 21.0,
            p90_ms: 30.5,
            p99_ms: 120.25,
        };
        Status {
            at: "2026-11-29T20:00:03.000Z".into(),
            version: "0.1.0".into(),
            pid: 7,
            uptime_seconds: 7300,
            source: "photos-1250000000:/2026".into(),
            mount_point: "/mnt/photos".into(),
            endpoint: "https://photos-1250000000.cos.ap-guangzhou.myqcloud.com".into(),
            options: BTreeMap::from([("region".into(), "ap-guangzhou".into()), ("memory".into(), "256MiB".into())]),
            credentials: CredentialStatus {
                id: "AKIDexample".into(),
                source: "the environment".into(),
                expires: Some("2026-11-29T22:00:00.000Z".into()),
                expires_in_seconds: Some(7197),
                problem: Some("the role does not answer".into()),
            },
            memory: MemoryStatus {
                limit: 256 << 20,
                used: 100 << 20,
                writers: 80 << 20,
                readers: 20 << 20,
                idle: 0,
                names: 1 << 20,
                names_limit: 32 << 20,
                inodes: 0,
                waiting: 1,
            },
            files: vec![file],
            files_count: 43,
            unpublished_count: 1,
            open_directories: 1,
            unsaved_directories: vec!["/d".into()],
            transfer: TransferStatus {
                bytes_up: 96 << 20,
                bytes_down: 5,
                requests: 1300,
                retries: 2,
                published: 3,
                cache_hits: 9,
                cache_misses: 1,
                rates: Vec::new(),
            },
            disk_cache: None,
            requests: BTreeMap::from([("UploadPart".into(), operation)]),
            calls: BTreeMap::new(),
            errors: vec![FailureStatus {
                at: "2026-11-29T19:59:00.000Z".into(),
                call: "flush".into(),
                path: "/a.bin".into(),
                key: "a.bin".into(),
                errno: "EACCES".into(),
                code: "AccessDenied".into(),
                request_id: "NTg3".into(),
                message: "PutObject \"a.bin\": access denied (status 403, code AccessDenied, request NTg3)".into(),
            }],
            cost: None,
            metrics: Some("http://127.0.0.1:9464/".into()),
        }
    }

    fn terminal(columns: usize, colour: bool, unicode: bool) -> Terminal {
        Terminal { is_terminal: true, columns, colour, unicode }
    }

    #[test]
    fn every_line_fits_a_terminal_of_80_and_of_120_columns() {
        for columns in [80, 120] {
            for unicode in [false, true] {
                let shown = text(&example(), &terminal(columns, false, unicode));
                for line in shown.lines() {
                    assert!(line.width() <= columns, "{} columns: {line}", line.width());
                }
                assert!(unicode || shown.is_ascii(), "{shown}");
                assert!(!shown.contains('\u{1b}'), "names of files do not reach the terminal as they are");
            }
        }
    }

    #[test]
    fn it_says_what_somebody_looks_for() {
        let shown = text(&example(), &terminal(120, false, false));
        // Wherever the lines are broken.
        let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        let expected = [
            "photos-1250000000:/2026 on /mnt/photos",
            "process 7, cosmount 0.1.0, up 2 hours",
            "page http://127.0.0.1:9464/",
            "key AKIDexample from the environment, until 2026-11-29T22:00:00.000Z, which is in 2 hours",
            "there is no new key: the role does not answer",
            "options memory=256MiB, region=ap-guangzhou",
            "writers 80.00 MiB, readers 20.00 MiB, idle 0 B; 1 wait for some",
            "files 43 open or waiting, 1 not published; 1 open directory",
            "publishing, 800.00 MiB, since 3 seconds, open for writing",
            "] 12/100 parts, 96.00 MiB landed, 2 copied, 1 re-sent, 45.00 MiB/s, 16 seconds left",
            "and 42 more",
            "/d: its attributes wait",
            "96.00 MiB up, 5 B down, 1300 requests (2 repeats), 3 published, 90 % of blocks read were there",
            "UploadPart 1234 2 8 21.0 30.5 120.2",
            "flush /a.bin: EACCES: PutObject",
        ];
        for part in expected {
            assert!(shown.contains(part), "{part:?} is not in\n{shown}");
        }
    }

    #[test]
    fn colours_change_no_word() {
        let (plain, painted) = (terminal(100, false, true), terminal(100, true, true));
        let painted = text(&example(), &painted);
        assert!(painted.contains("\u{1b}["));
        let bare: String = painted
            .split('\u{1b}')
            .enumerate()
            .map(|(index, piece)| if index == 0 { piece } else { piece.split_once('m').map_or("", |(_, rest)| rest) })
            .collect();
        assert_eq!(bare, text(&example(), &plain));
    }

    #[test]
    fn a_cell_for_several_parts_shows_the_one_that_is_least_far() {
        assert_eq!(cells("CLs.", 40, false), "c#>.");
        assert_eq!(cells("LLLs....", 4, false), "#>..");
        assert_eq!(cells("", 4, false), "");
        assert_eq!(cells(&"L".repeat(10_000), 40, true), "█".repeat(40));
    }
}
