//! Which file names what is in which other file, and where that leads in a circle.
//!
//! Whoever understands a file has to understand those that it names, so files that all lead to each other are understood
//! together or not at all. A method that is called on a value is no import.

use std::collections::{BTreeMap, BTreeSet};

use super::names::{Found, Modules};

/// Nodes by name, each with those that it leads to.
pub(super) type Graph = BTreeMap<String, BTreeSet<String>>;

/// The files of a crate, and for each those that define what it names.
pub(super) fn of_files(modules: &Modules) -> Graph {
    let mut graph = Graph::new();
    for (path, module) in &modules.0 {
        let edges = graph.entry(module.file.clone()).or_default();
        for found in modules.named_in(path) {
            // A module alone is only a beginning of what is named.
            let Found::Item(home, _) = found else { continue };
            let Some(home) = modules.0.get(&home) else { continue };
            if home.file != module.file {
                edges.insert(home.file.clone());
            }
        }
    }
    graph
}

/// The folders beside each other that import from each other, for every folder that has some in it: an edge of two files
/// is one of the folders in which their paths part. What stands in the folder itself is above or below all of them.
pub(super) fn of_folders(files: &Graph) -> BTreeMap<String, Graph> {
    let places: BTreeMap<&String, Vec<String>> = files.keys().map(|file| (file, place(file, files))).collect();
    let mut graphs: BTreeMap<String, Graph> = BTreeMap::new();
    for (file, edges) in files {
        for other in edges {
            let (from, to) = (&places[file], &places[other]);
            let shared = from.iter().zip(to).take_while(|(a, b)| a == b).count();
            // The last component is the file.
            if shared + 1 < from.len() && shared + 1 < to.len() {
                let graph = graphs.entry(from[..shared].join("/")).or_default();
                graph.entry(to[shared].clone()).or_default();
                graph.entry(from[shared].clone()).or_default().insert(to[shared].clone());
            }
        }
    }
    graphs
}

/// The components of a file's path, where `x.rs` that has a folder `x` is in it, as if it were `x/mod.rs`.
fn place(file: &str, files: &Graph) -> Vec<String> {
    let stem = file.trim_end_matches(".rs");
    let has_folder = files.keys().any(|other| other.strip_prefix(stem).is_some_and(|rest| rest.starts_with('/')));
    let path = if has_folder { format!("{stem}/mod.rs") } else { file.to_owned() };
    path.split('/').map(str::to_owned).collect()
}

/// The strongly connected components of more than one node, the largest first.
pub(super) fn circles(graph: &Graph) -> Vec<Vec<String>> {
    let reached: BTreeMap<&String, BTreeSet<&String>> = graph.keys().map(|node| (node, reach(graph, node))).collect();
    let mut circles = BTreeSet::new();
    for (node, nodes) in &reached {
        let circle: Vec<String> =
            nodes.iter().filter(|other| reached[**other].contains(node)).map(|other| (*other).clone()).collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    let mut circles: Vec<Vec<String>> = circles.into_iter().collect();
    circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
    circles
}

/// The part of a graph whose nodes begin with `prefix`.
pub(super) fn within(graph: &Graph, prefix: &str) -> Graph {
    let is_within = |node: &&String| node.starts_with(prefix);
    let part = graph.iter().filter(|(node, _)| is_within(node));
    part.map(|(node, edges)| (node.clone(), edges.iter().filter(is_within).cloned().collect())).collect()
}

fn reach<'a>(graph: &'a Graph, from: &'a String) -> BTreeSet<&'a String> {
    let mut reached = BTreeSet::new();
    let mut next = vec![from];
    while let Some(node) = next.pop() {
        for other in &graph[node] {
            if reached.insert(other) {
                next.push(other);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(files: &[(&str, &str)]) -> Graph {
        let texts = files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
        of_files(&Modules::read(&texts))
    }

    const SAMPLE: [(&str, &str); 8] = [
        ("lib.rs", "mod fs;"),
        ("fs/mod.rs", "mod a; mod b; mod c; mod names; mod open; pub use a::A; use b::B; pub struct Fs(B);"),
        ("fs/a.rs", "pub struct A; use super::B as Other;"),
        ("fs/b.rs", "pub struct B; use super::A; use super::Fs;"),
        ("fs/c.rs", "use super::{a, names::N}; fn f(x: a::A) { g::<super::open::O>() }"),
        ("fs/names.rs", "mod deep; pub struct N; use super::open::O;"),
        ("fs/names/deep.rs", "use super::super::A;"),
        ("fs/open.rs", "mod deep; pub struct O; #[cfg(test)] mod tests { use super::super::c::C; }"),
    ];

    fn sample() -> Graph {
        let deep = ("fs/open/deep.rs", "use crate::fs::names::N;");
        graph(&[SAMPLE.as_slice(), &[deep]].concat())
    }

    #[test]
    fn an_import_leads_to_the_file_that_defines_what_it_names() {
        let expected: [(&str, &[&str]); 9] = [
            ("lib.rs", &[]),
            ("fs/mod.rs", &["fs/b.rs"]),
            ("fs/a.rs", &["fs/b.rs"]),
            ("fs/b.rs", &["fs/a.rs", "fs/mod.rs"]),
            ("fs/c.rs", &["fs/a.rs", "fs/names.rs", "fs/open.rs"]),
            ("fs/names.rs", &["fs/open.rs"]),
            ("fs/names/deep.rs", &["fs/a.rs"]),
            ("fs/open.rs", &[]),
            ("fs/open/deep.rs", &["fs/names.rs"]),
        ];
        let expected: Graph = expected
            .into_iter()
            .map(|(file, edges)| (file.to_owned(), edges.iter().map(|edge| (*edge).to_owned()).collect()))
            .collect();
        assert_eq!(sample(), expected);
    }

    #[test]
    fn circles_of_files_are_found() {
        assert_eq!(circles(&sample()), [["fs/a.rs", "fs/b.rs", "fs/mod.rs"]]);
        assert!(circles(&within(&sample(), "fs/names")).is_empty());
    }

    #[test]
    fn circles_of_folders_are_found_though_no_file_is_in_one() {
        let folders = of_folders(&sample());
        assert_eq!(folders.keys().collect::<Vec<_>>(), ["fs"]);
        assert_eq!(circles(&folders["fs"]), [["names", "open"]]);
    }
}
