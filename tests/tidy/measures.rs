//! How much a reader has to keep in mind at once, counted: the methods of one type, the conditions that one struct can be
//! in, the files that are understood together or not at all.
//!
//! What is larger than its limit stands in a table with its exact number. A number that grows fails, and one that has become
//! smaller asks to be written down, so that it does not grow again.

use std::collections::BTreeMap;

use syn::visit::Visit;

use super::imports::{circles, of_files, of_folders, within};
use super::names::{Found, ModulePath, Modules, is_for_tests, segments};
use super::texts_below;

/// Methods of one type, over all its inherent `impl` blocks. Who calls one has to look through all of their names, and
/// each may rely on any field.
const METHODS_MAX: usize = 45;

/// Fields of one struct that are true or false. Of three there are eight combinations, and one can say which of them happen;
/// where there are more, an enum says it.
const BOOLEANS_MAX: usize = 3;

/// Files that all import from each other, by some way round.
const KNOT_FILES_MAX: usize = 4;

/// The folders in which files are looked at for that. Elsewhere nothing has grown large.
const KNOTS_COUNTED: [&str; 2] = ["fs", "upload"];

/// Folders beside each other that import from each other: none.
const FOLDERS_IN_CIRCLE_MAX: usize = 1;

/// Structs whose fields are what somebody asked for, each for itself, and not states that follow from each other.
const CHOICES: [(&str, &str); 2] = [
    ("fs::open::handles::OpenMode", "the flags of one open, which a program combines as it likes"),
    ("fs::context::options::FsOptions", "options of a mount"),
];

/// What is still larger than its limit: which measure, what, and how large exactly.
const EXCEPTIONS: [Exception; 0] = [];

/// A measure, what it counts, and how much of it there is.
type Exception = (&'static str, &'static str, usize);

/// How many lines of each measure are shown.
const SHOWN: usize = 8;

/// One thing that is counted, for everything that has it.
struct Measure {
    name: &'static str,
    max: usize,
    counts: BTreeMap<String, usize>,
}

impl Measure {
    /// What is wrong with it, by a table of exceptions.
    fn violations(&self, exceptions: &[Exception]) -> Vec<String> {
        let Measure { name, max, counts } = self;
        let excepted: BTreeMap<&str, usize> =
            exceptions.iter().filter(|(measure, ..)| measure == name).map(|(_, what, count)| (*what, *count)).collect();
        let mut found = Vec::new();
        for (what, count) in counts {
            match excepted.get(what.as_str()) {
                None if count > max => found.push(format!("{name} of {what}: {count}, and {max} are the most")),
                Some(allowed) if count > allowed => {
                    found.push(format!("{name} of {what}: {count}, and there were {allowed}"));
                }
                Some(allowed) if count < allowed && count > max => {
                    found.push(format!("{name} of {what}: {count}; write that in place of {allowed}"));
                }
                _ => {}
            }
        }
        for what in excepted.keys() {
            if counts.get(*what).is_none_or(|count| count <= max) {
                found.push(format!("{name} of {what}: no exception any more, take it from the table"));
            }
        }
        found
    }

    fn report(&self) -> String {
        let mut counts: Vec<(&String, &usize)> = self.counts.iter().collect();
        counts.sort_by_key(|(what, count)| (std::cmp::Reverse(**count), *what));
        let lines = counts.iter().take(SHOWN).map(|(what, count)| format!("{count:>5}  {what}\n"));
        format!("{}, {} at most\n{}", self.name, self.max, lines.collect::<String>())
    }

    /// Leaves out what is no state. Returns which of those names there is no reason to leave out.
    fn leave_out(&mut self, choices: &[(&'static str, &str)]) -> Vec<&'static str> {
        let names = choices.iter().map(|(name, _)| *name);
        names.filter(|name| self.counts.remove(*name).is_none_or(|count| count <= self.max)).collect()
    }
}

/// Methods by type, without those for tests.
fn methods(modules: &Modules) -> Measure {
    let mut counts = BTreeMap::new();
    for (path, module) in &modules.0 {
        for item in &module.content {
            let syn::Item::Impl(block) = item else { continue };
            let (None, syn::Type::Path(of)) = (&block.trait_, &*block.self_ty) else { continue };
            let is_method =
                |item: &&syn::ImplItem| matches!(item, syn::ImplItem::Fn(method) if !is_for_tests(&method.attrs));
            *counts.entry(name_of(modules, path, &of.path)).or_default() +=
                block.items.iter().filter(is_method).count();
        }
    }
    Measure { name: "methods", max: METHODS_MAX, counts }
}

/// What a type is called, in the module that defines it.
fn name_of(modules: &Modules, module: &ModulePath, path: &syn::Path) -> String {
    match modules.find(module, &segments(path)) {
        Some(Found::Item(home, name)) => [home, vec![name]].concat().join("::"),
        _ => segments(path).join("::"),
    }
}

/// Fields that are true or false, by struct, and by variant of an enum that has fields.
fn booleans(modules: &Modules) -> Measure {
    let mut counts = BTreeMap::new();
    for (path, module) in &modules.0 {
        let mut count = |names: &[&syn::Ident], fields: &syn::Fields| {
            let name = path.iter().cloned().chain(names.iter().map(ToString::to_string)).collect::<Vec<_>>().join("::");
            counts.insert(name, fields.iter().filter(|field| holds_boolean(&field.ty)).count());
        };
        for item in &module.content {
            match item {
                syn::Item::Struct(item) => count(&[&item.ident], &item.fields),
                syn::Item::Enum(item) => {
                    item.variants.iter().for_each(|variant| count(&[&item.ident, &variant.ident], &variant.fields));
                }
                _ => {}
            }
        }
    }
    Measure { name: "booleans", max: BOOLEANS_MAX, counts }
}

/// Whether a field of that type is true or false, also behind a lock or where it may be missing.
fn holds_boolean(of: &syn::Type) -> bool {
    struct Search(bool);
    impl Visit<'_> for Search {
        fn visit_path_segment(&mut self, segment: &syn::PathSegment) {
            self.0 |= segment.ident == "bool" || segment.ident == "AtomicBool";
            // What a function takes and returns is not kept.
            if !matches!(segment.arguments, syn::PathArguments::Parenthesized(_)) {
                syn::visit::visit_path_segment(self, segment);
            }
        }

        fn visit_type_fn_ptr(&mut self, _: &syn::TypeFnPtr) {}
    }
    let mut search = Search(false);
    search.visit_type(of);
    search.0
}

/// The largest of the circles of files in each of the folders where they are counted.
fn knots(modules: &Modules) -> Measure {
    let files = of_files(modules);
    let counts = KNOTS_COUNTED.into_iter().filter_map(|folder| {
        let circles = circles(&within(&files, &format!("{folder}/")));
        Some((folder.to_owned(), circles.first()?.len()))
    });
    Measure { name: "knotted files", max: KNOT_FILES_MAX, counts: counts.collect() }
}

/// The circles of folders that stand beside each other.
fn folder_circles(modules: &Modules) -> Measure {
    let mut counts = BTreeMap::new();
    for (folder, graph) in of_folders(&of_files(modules)) {
        for circle in circles(&graph) {
            let within = if folder.is_empty() { "src" } else { &folder };
            counts.insert(format!("{within}: {}", circle.join(", ")), circle.len());
        }
    }
    Measure { name: "folders in a circle", max: FOLDERS_IN_CIRCLE_MAX, counts }
}

/// Every circle of files in a crate, for whoever looks for what to mend.
fn report_of_circles(modules: &Modules) -> String {
    let circles = circles(&of_files(modules));
    let lines = circles.iter().map(|circle| format!("{:>5}  {}\n", circle.len(), circle.join(" ")));
    format!("circles of files\n{}", lines.collect::<String>())
}

#[test]
#[allow(clippy::print_stdout, reason = "the report is for whoever asks for it")]
fn nothing_has_grown_too_large_to_keep_in_mind() {
    let modules = Modules::read(&texts_below("src", "rs"));
    let mut booleans = booleans(&modules);
    let needless = booleans.leave_out(&CHOICES);
    assert!(needless.is_empty(), "{needless:?} need not be left out any more");
    let measures = [methods(&modules), booleans, knots(&modules), folder_circles(&modules)];
    measures.iter().for_each(|measure| println!("{}", measure.report()));
    println!("{}", report_of_circles(&modules));
    let found: Vec<String> = measures.iter().flat_map(|measure| measure.violations(&EXCEPTIONS)).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules(files: &[(&str, &str)]) -> Modules {
        Modules::read(&files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect())
    }

    fn counts(measure: &Measure) -> Vec<(&str, usize)> {
        measure.counts.iter().map(|(what, count)| (what.as_str(), *count)).collect()
    }

    #[test]
    fn methods_are_counted_wherever_they_stand() {
        let modules = modules(&[
            ("lib.rs", "mod fs; mod upload;"),
            ("fs/mod.rs", "mod a; pub struct Fs; impl Fs { fn one() {} const X: u8 = 0; } trait T { fn t(); }"),
            ("fs/a.rs", "use super::Fs; impl Fs { fn two() {} fn three() {} } impl super::T for Fs { fn t() {} }"),
            (
                "upload.rs",
                "struct State<T>(T); impl State<u8> { fn one() {} #[cfg(test)] fn two() {} }
                 impl<T> State<T> { fn three(&self) { fn inner() {} } } #[cfg(test)] impl State<u16> { fn four() {} }",
            ),
        ]);
        assert_eq!(counts(&methods(&modules)), [("fs::Fs", 3), ("upload::State", 2)]);
    }

    #[test]
    fn booleans_are_counted_and_choices_are_not() {
        let modules = modules(&[
            ("lib.rs", "mod a;"),
            (
                "a.rs",
                "struct A { a: bool, b: Arc<AtomicBool>, c: Option<bool>, d: u8, e: fn(u8) -> bool, f: F<dyn Fn() -> bool> }
                 struct Options(bool, bool, bool, bool); struct Tuple(bool, bool); enum E { A { a: bool }, B }",
            ),
        ]);
        let mut measure = booleans(&modules);
        assert_eq!(measure.leave_out(&[("a::Options", "it has four"), ("a::Gone", "it is gone")]), ["a::Gone"]);
        assert_eq!(counts(&measure), [("a::A", 3), ("a::E::A", 1), ("a::E::B", 0), ("a::Tuple", 2)]);
        assert_eq!(measure.leave_out(&[("a::Tuple", "it has two")]), ["a::Tuple"], "two are not too many");
    }

    #[test]
    fn a_number_may_only_become_smaller_and_is_written_down_then() {
        let measure = |count| Measure { name: "methods", max: 3, counts: BTreeMap::from([("A".to_owned(), count)]) };
        let table: [(usize, &[Exception], &[&str]); 7] = [
            (3, &[], &[]),
            (4, &[], &["methods of A: 4, and 3 are the most"]),
            (4, &[("methods", "A", 4)], &[]),
            (5, &[("methods", "A", 4)], &["methods of A: 5, and there were 4"]),
            (4, &[("methods", "A", 5)], &["methods of A: 4; write that in place of 5"]),
            (3, &[("methods", "A", 4)], &["methods of A: no exception any more, take it from the table"]),
            (3, &[("booleans", "A", 4)], &[]),
        ];
        for (count, exceptions, expected) in table {
            assert_eq!(measure(count).violations(exceptions), expected, "{count} with {exceptions:?}");
        }
        let gone = measure(1).violations(&[("methods", "B", 4)]);
        assert_eq!(gone, ["methods of B: no exception any more, take it from the table"]);
    }
}
