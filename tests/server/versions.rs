//! Buckets that keep versions.

use cosmount::wire::request::Method;

use crate::bed::{Bed, Reply};

fn switch(bed: &Bed, status: &str) {
    let xml = format!("<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>");
    assert_eq!(bed.ask(Method::Put, "/", &[("versioning", "")], &[], xml.as_bytes()).status, 200);
}

fn put(bed: &Bed, path: &str, body: &[u8]) -> String {
    bed.put(path, body).header("x-cos-version-id").unwrap_or("null").to_owned()
}

fn listed(bed: &Bed, query: &[(&str, &str)]) -> Reply {
    let query: Vec<_> = [("versions", "")].into_iter().chain(query.iter().copied()).collect();
    bed.ask(Method::Get, "/", &query, &[], b"")
}

fn of_version(bed: &Bed, method: Method, path: &str, version: &str) -> Reply {
    bed.ask(method, path, &[("versionId", version)], &[], b"")
}

#[test]
fn what_is_overwritten_or_deleted_stays_as_a_version() {
    let bed = Bed::start();
    assert_eq!(put(&bed, "/a", b"before"), "null");
    assert_eq!(listed(&bed, &[]).elements("VersionId"), [""], "there were never any");
    switch(&bed, "Enabled");
    assert_eq!(bed.ask(Method::Get, "/", &[("versioning", "")], &[], b"").element("Status"), "Enabled");
    let (one, two) = (put(&bed, "/a", b"one"), put(&bed, "/a", b"two"));
    let deleted = bed.ask(Method::Delete, "/a", &[], &[], b"");
    assert_eq!((deleted.status, deleted.header("x-cos-delete-marker")), (204, Some("true")));
    let mark = deleted.header("x-cos-version-id").unwrap().to_owned();
    assert_eq!(bed.get("/a").status, 404);
    assert!(bed.ask(Method::Get, "/", &[], &[], b"").elements("Key").is_empty());
    let all = listed(&bed, &[]);
    // Versions, and then marks, as they come: this key's newest is the mark.
    assert_eq!(all.elements("VersionId"), [&*mark, &*two, &*one, "null"]);
    assert_eq!(all.elements("IsLatest"), ["true", "false", "false", "false"]);
    for (version, body) in [(&*two, "two"), (&*one, "one"), ("null", "before")] {
        let found = of_version(&bed, Method::Get, "/a", version);
        assert_eq!(found.text(), body);
        assert_eq!(found.header("x-cos-version-id").unwrap_or("null"), version);
    }
    of_version(&bed, Method::Get, "/a", &mark).assert_refused(405, "MethodNotAllowed");
    of_version(&bed, Method::Get, "/a", "never").assert_refused(404, "NoSuchVersion");
    let source = format!("/local-1250000000/a?versionId={one}");
    assert_eq!(bed.ask(Method::Put, "/copy", &[], &[("x-cos-copy-source", &source)], b"").status, 200);
    assert_eq!(bed.get("/copy").text(), "one");

    // The newest that is left is the object.
    assert_eq!(of_version(&bed, Method::Delete, "/a", &mark).header("x-cos-delete-marker"), Some("true"));
    assert_eq!(bed.get("/a").text(), "two");
    of_version(&bed, Method::Delete, "/a", &two);
    assert_eq!(bed.get("/a").text(), "one");
    of_version(&bed, Method::Delete, "/a", "null");
    assert_eq!(listed(&bed, &[("prefix", "a")]).elements("VersionId"), [one]);
}

#[test]
fn a_suspended_bucket_has_one_version_without_an_id() {
    let bed = Bed::start();
    switch(&bed, "Enabled");
    let first = put(&bed, "/a", b"first");
    switch(&bed, "Suspended");
    assert_eq!(put(&bed, "/a", b"second"), "null");
    assert_eq!(put(&bed, "/a", b"third"), "null");
    assert_eq!(listed(&bed, &[]).elements("VersionId"), ["null", &*first]);
    bed.ask(Method::Delete, "/a", &[], &[], b"");
    let all = listed(&bed, &[]);
    assert_eq!(
        (all.elements("VersionId"), all.elements("DeleteMarker").len()),
        (vec!["null".into(), first.clone()], 1)
    );
    assert_eq!(of_version(&bed, Method::Get, "/a", &first).text(), "first");
    // A bucket with versions alone is not empty, and what has been suspended is no bar to overwriting.
    bed.ask(Method::Delete, "/", &[], &[], b"").assert_refused(409, "BucketNotEmpty");
    let again = bed.ask(Method::Put, "/a", &[], &[("x-cos-forbid-overwrite", "true")], b"x");
    assert_eq!(again.status, 200);
}

#[test]
fn versions_are_listed_by_the_page_and_by_prefix() {
    let bed = Bed::start();
    switch(&bed, "Enabled");
    for path in ["/a", "/d/x", "/d/y", "/e"] {
        put(&bed, path, b"1");
        put(&bed, path, b"2");
    }
    let whole = listed(&bed, &[]);
    assert_eq!(whole.elements("Key"), ["a", "a", "d/x", "d/x", "d/y", "d/y", "e", "e"]);
    let (mut keys, mut versions, mut markers) = (Vec::new(), Vec::new(), (String::new(), String::new()));
    loop {
        let page = listed(&bed, &[("max-keys", "3"), ("key-marker", &markers.0), ("version-id-marker", &markers.1)]);
        keys.extend(page.elements("Key"));
        versions.extend(page.elements("VersionId"));
        if page.element("IsTruncated") == "false" {
            break;
        }
        markers = (page.element("NextKeyMarker"), page.element("NextVersionIdMarker"));
    }
    assert_eq!((keys, versions), (whole.elements("Key"), whole.elements("VersionId")));
    let top = listed(&bed, &[("delimiter", "/")]);
    assert_eq!(top.elements("Key"), ["a", "a", "e", "e"]);
    assert!(top.elements("Prefix").contains(&"d/".to_owned()));
    let after = listed(&bed, &[("key-marker", "a"), ("prefix", "")]);
    assert_eq!(after.elements("Key").first().map(String::as_str), Some("d/x"));
    let deletion = b"<Delete><Object><Key>a</Key></Object><Object><Key>e</Key></Object></Delete>";
    let md5 = ("content-md5", &*cosmount::wire::digest::content_md5(deletion));
    let deleted = bed.ask(Method::Post, "/", &[("delete", "")], &[md5], deletion);
    assert_eq!((deleted.elements("DeleteMarkerVersionId").len(), listed(&bed, &[]).elements("Key").len()), (2, 10));
}

#[test]
fn versions_outlive_the_service_and_its_index() {
    let data = tempfile::tempdir().unwrap();
    let directory = data.path().to_owned();
    let open = |rebuild: bool| {
        let directory = directory.clone();
        Bed::with(move |options| {
            options.directory = Some(directory);
            options.rebuild = rebuild;
        })
    };
    let mut bed = open(false);
    switch(&bed, "Enabled");
    let (one, _) = (put(&bed, "/a", b"one"), put(&bed, "/a", b"two"));
    bed.ask(Method::Delete, "/a", &[], &[], b"");
    let before = listed(&bed, &[]).elements("VersionId");
    bed.stop();
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("index")) {
            std::fs::remove_file(path).unwrap();
        }
    }
    let bed = open(true);
    assert_eq!(listed(&bed, &[]).elements("VersionId"), before);
    assert_eq!(of_version(&bed, Method::Get, "/a", &one).text(), "one");
}
