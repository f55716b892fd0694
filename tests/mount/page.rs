//! The page in a browser: what it draws is what the service has, and everybody can use it.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};

use cosmount::object::ObjectKey;
use cosmount::store::ObjectStore;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::bed::{Bed, Bucket, cosmount, eventually, signal};
use crate::browser::{Browser, page_of, status};

/// How often the three are compared while a file goes up.
const MOMENTS: usize = 20;

/// The numbers of the parts that have a letter among these.
fn numbers(cells: &str, letters: &str) -> BTreeSet<u64> {
    let numbered = cells.chars().zip(1..);
    numbered.filter(|(letter, _)| letters.contains(*letter)).map(|(_, number)| number).collect()
}

/// The parts that the service has of the only upload there is.
fn listed(bucket: &Bucket, key: &str) -> BTreeSet<u64> {
    let uploads = bucket.run(|store| store.list_uploads("")).unwrap();
    let Some(upload) = uploads.first() else { return BTreeSet::new() };
    let key = ObjectKey::new(key).unwrap();
    let parts = bucket.run(|store| store.list_parts(&key, &upload.upload)).unwrap();
    parts.iter().map(|part| u64::from(part.number.get())).collect()
}

/// What `cosmount status --json` tells.
fn told(bed: &Bed) -> Value {
    let shown = cosmount().args(["status", "--json"]).arg(bed.at("")).output().unwrap();
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    serde_json::from_slice(&shown.stdout).unwrap()
}

/// The upload of the document, and its letters.
fn upload_of(status: &Value) -> (Value, String) {
    let upload = status["files"][0]["upload"].clone();
    let map = upload["map"].as_str().unwrap_or_default().to_owned();
    (upload, map)
}

/// The cells of the first upload of a page.
fn drawn(cells: &Value) -> String {
    cells["uploads"][0]["cells"].as_str().unwrap_or_default().to_owned()
}

/// A program that is stopped and let go on while it copies, and gone with the test.
struct Copying(Child);

impl Copying {
    fn stop(&self) {
        signal(self.0.id(), Signal::STOP);
    }

    fn go_on(&self) {
        signal(self.0.id(), Signal::CONT);
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        self.go_on();
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// While 1 GiB is copied, at 20 moments: what has landed by the document, by the command and by the page the service has by then, what the
/// service had before the document says is landed or on its way, and nothing goes back. At each of them the writer then stands
/// still until nothing is on its way, and all three are the same.
#[test]
fn page_document_and_list_parts_agree_while_a_gibibyte_is_copied() {
    // Little memory, so that the writer is never far ahead of what has landed and there are 20 moments in a gibibyte.
    let bed = Bed::with(&["--latency-ms", "20"], &["--metrics-listen", "0", "--memory", "32MiB"]);
    let (page, bucket) = (page_of(&bed), bed.bucket());
    let mut browser = Browser::start();
    browser.open(&page, 1280, json!({}));
    bed.sh("truncate -s 1G $W/source");
    let mut command = Command::new("cp");
    command.arg("--sparse=never").arg(bed.local("source")).arg(bed.at("film")).stdin(Stdio::null());
    let mut copying = Copying(command.spawn().unwrap());
    let mut shown = Shown::default();
    for moment in 1..=MOMENTS {
        eventually("some more has landed", || upload_of(&status(&page)).1.len() > shown.landed.len() + 1);
        copying.stop();
        let before = listed(&bucket, "film");
        let (upload, map) = upload_of(&status(&page));
        let cells = drawn(&browser.ask("cells"));
        let after = listed(&bucket, "film");
        let begun = numbers(&map, "LCs");
        assert!(before.is_subset(&begun), "{moment}: the document shows less than there is: {before:?} of {begun:?}");
        for (who, letters) in [("the document", &map), ("the page", &cells)] {
            let landed = numbers(letters, "LC");
            assert!(landed.is_subset(&after), "{moment}: {who} shows more than there is: {landed:?} of {after:?}");
            assert!(shown.landed.is_subset(&landed), "{moment}: {who} goes back");
        }
        let bytes = upload["landed_bytes"].as_u64().unwrap();
        assert!(bytes >= shown.bytes, "{moment}: {bytes} bytes after {}", shown.bytes);

        eventually("nothing is on its way", || numbers(&upload_of(&status(&page)).1, ".s").is_empty());
        let (upload, map) = upload_of(&status(&page));
        let cells = browser.ask("next_cells");
        let there = listed(&bucket, "film");
        assert_eq!((numbers(&map, "LC"), numbers(&drawn(&cells), "LC")), (there.clone(), there.clone()), "{moment}");
        let numbered: Vec<u64> = serde_json::from_value(cells["uploads"][0]["numbers"].clone()).unwrap();
        assert!(numbered.into_iter().eq(1..=there.len() as u64), "{moment}: every cell has its number");
        let (told, told_map) = upload_of(&told(&bed));
        assert_eq!(numbers(&told_map, "LC"), there, "{moment}: what `cosmount status --json` tells");
        let bytes = upload["landed_bytes"].as_u64().unwrap();
        assert_eq!(told["landed_bytes"], bytes, "{moment}");
        shown = Shown { landed: there, bytes };
        copying.go_on();
    }
    assert!(copying.0.wait().unwrap().success());
    browser.tell(&json!({ "command": "wait_text", "text": "No upload is running." }));
    assert_eq!(browser.ask("requests")["complaints"], json!([]));
}

/// What was shown last.
#[derive(Default)]
struct Shown {
    landed: BTreeSet<u64>,
    bytes: u64,
}

/// A mount with an upload that stands still, a file that waits, and a failure.
fn busy() -> Bed {
    let plan = "[[rule]]\nop = \"PutObject\"\nkey = \"refused\"\nkind = \"status\"\ncode = \"AccessDenied\"\n";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), plan).unwrap();
    let bed = Bed::with(&["--faults", file.path().to_str().unwrap()], &["--metrics-listen", "0"]);
    bed.sh("echo hello > $W/hello; cp $W/hello note; cat note > /dev/null");
    bed.sh_fails("cp $W/hello refused", "Permission denied");
    bed
}

/// Keeps a file open of which 40 MiB are written.
fn writing(bed: &Bed) -> Copying {
    let program = "import time\nfile = open('a <b>film & more.mkv', 'wb')\n\
                   file.write(bytes(40 << 20)); file.flush()\ntime.sleep(600)\n";
    let mut command = bed.command(&bed.python_line(program));
    let writing = Copying(command.spawn().unwrap());
    let page = page_of(bed);
    eventually("parts have landed", || numbers(&upload_of(&status(&page)).1, "L").len() >= 4);
    writing
}

#[test]
fn everybody_can_use_the_page_in_light_and_dark_and_on_small_and_large_screens() {
    let bed = busy();
    let (page, _writing) = (page_of(&bed), writing(&bed));
    let mut browser = Browser::start();
    for (scheme, width) in [("light", 1920), ("light", 360), ("dark", 1920), ("dark", 360)] {
        assert_eq!(browser.open(&page, width, json!({ "scheme": scheme })), 200);
        browser.tell(&json!({ "command": "wait_for", "selector": "html[data-updates]" }));
        browser.ask("unfold");
        let axe = browser.ask("axe");
        assert_eq!(axe["violations"], json!([]), "{scheme}, {width}");
        assert!(axe["passes"].as_u64().unwrap() > 20, "{axe}");
        assert_eq!(browser.ask("overflow"), 0, "{scheme}, {width}");
        let told = browser.ask("requests");
        let requests: Vec<String> = serde_json::from_value(told["requests"].clone()).unwrap();
        assert!(requests.len() >= 5 && requests.iter().all(|url| url.starts_with(&page)), "{requests:?}");
        assert_eq!(told["complaints"], json!([]), "{scheme}, {width}");
    }
    let title = browser.tell(&json!({ "command": "text", "selector": ".upload h3" }));
    assert_eq!(title, "/a <b>film & more.mkv", "nothing of a name is markup");
    let advice = browser.tell(&json!({ "command": "text", "selector": ".errors .todo" }));
    assert!(advice.as_str().unwrap().contains("policies"), "{advice}");
}

#[test]
fn a_keyboard_reaches_everything_and_keeps_its_place_while_the_page_changes() {
    let bed = busy();
    let page = page_of(&bed);
    let mut browser = Browser::start();
    browser.open(&page, 1280, json!({}));
    browser.tell(&json!({ "command": "wait_for", "selector": "html[data-updates]" }));
    let met: Vec<Value> = serde_json::from_value(browser.ask("tabs")).unwrap();
    let names: Vec<&str> = met.iter().filter_map(|met| met["name"].as_str()).collect();
    assert_eq!(names[0], "Skip to what the mount does");
    for name in ["Pause", "Requests by operation, as a table", "Calls of programs", "About this mount", "metrics"] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    assert!(met.iter().all(|met| met["outlined"] == true), "{met:?}");

    browser.tell(&json!({ "command": "focus", "selector": "[aria-label='Requests by operation, as a table']" }));
    bed.sh("echo more > more");
    (0..3).for_each(|_| drop(browser.ask("next_cells")));
    assert_eq!(browser.ask("focused"), "Requests by operation, as a table");

    browser.tell(&json!({ "command": "focus", "selector": "#pause" }));
    browser.tell(&json!({ "command": "press", "key": "Enter" }));
    browser.tell(&json!({ "command": "wait_for", "selector": "#connection[data-connection=paused]" }));
    let paused = browser.ask("cells");
    bed.sh("echo still-more > still-more");
    let published = || status(&page)["transfer"]["published"].as_u64().unwrap();
    eventually("the mount goes on", || published() >= 3);
    assert_eq!(browser.ask("cells")["updates"], paused["updates"], "and the page does not");
    browser.tell(&json!({ "command": "press", "key": "Space" }));
    browser.ask("next_cells");
}

#[test]
fn the_page_is_whole_without_the_script_and_renews_itself() {
    let bed = busy();
    let page = page_of(&bed);
    let mut browser = Browser::start();
    let _writing = writing(&bed);
    browser.open(&page, 800, json!({ "script": false }));
    let cells = browser.ask("cells");
    assert_eq!(numbers(&drawn(&cells), "L"), listed(&bed.bucket(), "a <b>film & more.mkv"));
    assert_eq!(browser.ask("overflow"), 0);
    bed.sh("exec 9> opened-later; sleep 600 > /dev/null 2>&1 & echo $! > $W/pid");
    browser.tell(&json!({ "command": "wait_text", "text": "/opened-later" }));
    bed.sh("kill $(cat $W/pid)");
}

#[test]
fn a_page_of_another_site_gets_nothing() {
    let bed = busy();
    let page = page_of(&bed);
    let port = page.trim_end_matches('/').rsplit(':').next().unwrap();
    let mut browser = Browser::start();
    // The browser takes this name for the address of this machine, as a name server would make it.
    assert_eq!(browser.open(&format!("http://rebound.example:{port}/"), 800, json!({})), 403);
    let asked = browser.tell(&json!({ "command": "ask_from_elsewhere", "url": "/status.json" }));
    assert_eq!(asked, "answered 403");
    // The service of the test stands for another site.
    browser.open(bed.service().endpoint(), 800, json!({}));
    let asked = browser.tell(&json!({ "command": "ask_from_elsewhere", "url": format!("{page}status.json") }));
    assert!(asked.as_str().unwrap().starts_with("refused"), "{asked}");
}
