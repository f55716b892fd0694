//! The modules of a crate and the names in them: what a path in one of them leads to.
//!
//! Names are followed through `use` as the compiler follows them, to the module that defines the item. What is there for
//! tests only is left out. Macros are not expanded: a name that only a macro defines counts as one of the module that it is
//! looked for in.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::Visit;

use super::Texts;
use super::layers::{Token, tokens};

/// From the crate's root, which is the empty one.
pub(super) type ModulePath = Vec<String>;

/// `use` of `use` of ... further than anybody goes; where they lead in a circle, nothing is found.
const USES_FOLLOWED_MAX: usize = 32;

/// What there is in one crate.
#[derive(Default)]
pub(super) struct Modules(pub(super) BTreeMap<ModulePath, Module>);

#[derive(Default)]
pub(super) struct Module {
    /// Its path below `src`; that of the module around it for one that is written there.
    pub(super) file: String,
    pub(super) content: Vec<syn::Item>,
    modules: BTreeSet<String>,
    items: BTreeSet<String>,
    uses: BTreeMap<String, Vec<String>>,
    globs: Vec<Vec<String>>,
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Found {
    Module(ModulePath),
    /// An item by its name, in the module that defines it.
    Item(ModulePath, String),
}

impl Modules {
    /// Reads a crate from `lib.rs` on.
    pub(super) fn read(texts: &Texts) -> Modules {
        let mut modules = Modules::default();
        modules.read_file(texts, Vec::new(), "lib.rs");
        modules
    }

    fn read_file(&mut self, texts: &Texts, path: ModulePath, file: &str) {
        let parsed = syn::parse_file(&texts[file]).unwrap_or_else(|error| panic!("{file}: {error}"));
        self.add(texts, path, file, parsed.items);
    }

    fn add(&mut self, texts: &Texts, path: ModulePath, file: &str, content: Vec<syn::Item>) {
        let mut content: Vec<syn::Item> = content.into_iter().filter(|item| !is_for_tests(attributes(item))).collect();
        let mut module = Module { file: file.to_owned(), ..Module::default() };
        for item in &mut content {
            match item {
                syn::Item::Mod(inner) => {
                    let name = inner.ident.to_string();
                    let inner_path: ModulePath = [path.as_slice(), std::slice::from_ref(&name)].concat();
                    match &mut inner.content {
                        Some((_, items)) => self.add(texts, inner_path, file, std::mem::take(items)),
                        None => {
                            let stem = inner_path.join("/");
                            let files = [format!("{stem}.rs"), format!("{stem}/mod.rs")];
                            let of_module = files.iter().find(|file| texts.contains_key(*file));
                            self.read_file(texts, inner_path, of_module.expect("a module has its file"));
                        }
                    }
                    module.modules.insert(name);
                }
                syn::Item::Use(import) => {
                    for (alias, path) in used(&import.tree) {
                        if alias == "*" { module.globs.push(path) } else { module.uses.extend([(alias, path)]) }
                    }
                }
                _ => module.items.extend(defined(item)),
            }
        }
        module.content = content;
        self.0.insert(path, module);
    }

    /// Where a path leads that is written in a module; `None` if it leaves the crate.
    pub(super) fn find(&self, module: &ModulePath, path: &[String]) -> Option<Found> {
        self.follow(module, path, 0)
    }

    fn follow(&self, module: &ModulePath, path: &[String], depth: usize) -> Option<Found> {
        if depth > USES_FOLLOWED_MAX {
            return None;
        }
        let mut at = module.clone();
        let mut rest = path;
        while let Some(first) = rest.first() {
            match first.as_str() {
                "crate" => at.clear(),
                "self" => {}
                "super" => drop(at.pop()?),
                _ => break,
            }
            rest = &rest[1..];
        }
        let is_relative = rest.len() == path.len();
        for (index, name) in rest.iter().enumerate() {
            match self.member(&at, name, index + 1 == rest.len(), depth) {
                Some(Found::Module(inner)) => at = inner,
                // What follows is a variant, or an item of a type.
                Some(item) => return Some(item),
                None if is_relative && index == 0 => return None,
                None => return Some(Found::Item(at, name.clone())),
            }
        }
        Some(Found::Module(at))
    }

    fn member(&self, at: &ModulePath, name: &String, is_last: bool, depth: usize) -> Option<Found> {
        let module = self.0.get(at)?;
        let is_module = module.modules.contains(name);
        if module.items.contains(name) && (is_last || !is_module) {
            return Some(Found::Item(at.clone(), name.clone()));
        }
        if is_module {
            return Some(Found::Module([at.as_slice(), std::slice::from_ref(name)].concat()));
        }
        if let Some(path) = module.uses.get(name) {
            return self.follow(at, path, depth + 1);
        }
        module.globs.iter().find_map(|glob| match self.follow(at, glob, depth + 1)? {
            Found::Module(inner) if inner != *at => self.member(&inner, name, is_last, depth + 1),
            _ => None,
        })
    }

    /// All that the code of a module names, except what it only hands on with `pub use`.
    pub(super) fn named_in(&self, module: &ModulePath) -> BTreeSet<Found> {
        let mut paths = Paths::default();
        for item in &self.0[module].content {
            match item {
                // A module of its own.
                syn::Item::Mod(_) => {}
                syn::Item::Use(import) if matches!(import.vis, syn::Visibility::Inherited) => {
                    paths.0.extend(used(&import.tree).into_iter().map(|(_, path)| path));
                }
                syn::Item::Use(_) => {}
                _ => paths.visit_item(item),
            }
        }
        paths.0.iter().filter_map(|path| self.find(module, path)).collect()
    }
}

/// The paths that code names.
#[derive(Default)]
struct Paths(BTreeSet<Vec<String>>);

impl Visit<'_> for Paths {
    fn visit_item(&mut self, item: &syn::Item) {
        if !is_for_tests(attributes(item)) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &syn::ImplItemFn) {
        if !is_for_tests(&function.attrs) {
            syn::visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_item_use(&mut self, import: &syn::ItemUse) {
        self.0.extend(used(&import.tree).into_iter().map(|(_, path)| path));
    }

    fn visit_attribute(&mut self, _: &syn::Attribute) {}

    fn visit_path(&mut self, path: &syn::Path) {
        if path.leading_colon.is_none() {
            self.0.insert(segments(path));
        }
        syn::visit::visit_path(self, path);
    }

    /// What a macro is given need not be Rust, but names in it that lead to something are meant so.
    fn visit_macro(&mut self, call: &syn::Macro) {
        self.visit_path(&call.path);
        let tokens = tokens(&call.tokens.to_string());
        let mut path: Vec<String> = Vec::new();
        for (at, token) in tokens.iter().enumerate() {
            if let Token::Word(word) = token {
                path.push(word.clone());
                if tokens.get(at + 1) != Some(&Token::Path) {
                    self.0.insert(std::mem::take(&mut path));
                }
            } else if *token != Token::Path {
                path.clear();
            }
        }
    }
}

pub(super) fn segments(path: &syn::Path) -> Vec<String> {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect()
}

/// The names that a `use` gives, each with what it stands for; `*` for all that is in a module.
fn used(tree: &syn::UseTree) -> Vec<(String, Vec<String>)> {
    fn collect(tree: &syn::UseTree, before: &[String], names: &mut Vec<(String, Vec<String>)>) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => collect(&path.tree, &with(&path.ident), names),
            syn::UseTree::Name(name) if name.ident == "self" => {
                names.extend(before.last().map(|last| (last.clone(), before.to_vec())));
            }
            syn::UseTree::Name(name) => names.push((name.ident.to_string(), with(&name.ident))),
            syn::UseTree::Rename(rename) if rename.ident == "self" => {
                names.push((rename.rename.to_string(), before.to_vec()));
            }
            syn::UseTree::Rename(rename) => names.push((rename.rename.to_string(), with(&rename.ident))),
            syn::UseTree::Glob(_) => names.push(("*".to_owned(), before.to_vec())),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| collect(tree, before, names)),
        }
    }
    let mut names = Vec::new();
    collect(tree, &[], &mut names);
    names
}

/// The name that an item gives to its module.
fn defined(item: &syn::Item) -> Option<String> {
    let name = match item {
        syn::Item::Const(item) => &item.ident,
        syn::Item::Enum(item) => &item.ident,
        syn::Item::Fn(item) => &item.sig.ident,
        syn::Item::Static(item) => &item.ident,
        syn::Item::Struct(item) => &item.ident,
        syn::Item::Trait(item) => &item.ident,
        syn::Item::TraitAlias(item) => &item.ident,
        syn::Item::Type(item) => &item.ident,
        syn::Item::Union(item) => &item.ident,
        syn::Item::Macro(item) => item.ident.as_ref()?,
        _ => return None,
    };
    Some(name.to_string())
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether a `cfg` asks for `test`, alone or as one of several.
pub(super) fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) if list.path.is_ident("cfg") => {
            let tokens = tokens(&list.tokens.to_string());
            let has = |word: &str| tokens.contains(&Token::Word(word.to_owned()));
            has("test") && !has("not")
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules(files: &[(&str, &str)]) -> Modules {
        Modules::read(&files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect())
    }

    fn words(path: &str) -> Vec<String> {
        path.split("::").filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn a_path_leads_to_where_its_item_is_defined() {
        let modules = modules(&[
            ("lib.rs", "pub mod a; mod b;"),
            ("a/mod.rs", "mod c; mod d; pub use c::{C, f as g}; use d::*; struct Own; mod c_like {}"),
            ("a/c.rs", "pub struct C; pub fn f() {} pub enum E { V } mod inner { pub use super::super::d::D; }"),
            ("a/d.rs", "pub struct D; use crate::b as other; pub fn d() {}"),
            ("b.rs", "pub use crate::a::C as B; use std::fmt; use log;"),
        ]);
        let item = |module: &str, name: &str| Some(Found::Item(words(module), name.to_owned()));
        let table = [
            ("a::d", "super::C", item("a::c", "C")),
            ("a::d", "super::g", item("a::c", "f")),
            ("a::d", "super::c::E::V", item("a::c", "E")),
            ("a::d", "super::Own", item("a", "Own")),
            ("a::d", "other::B", item("a::c", "C")),
            ("a::d", "super::super::b::B", item("a::c", "C")),
            ("a::d", "self::d", item("a::d", "d")),
            ("a", "D", item("a::d", "D")),
            ("a", "d", Some(Found::Module(words("a::d")))),
            ("a", "c::inner::D", item("a::d", "D")),
            ("b", "crate::a", Some(Found::Module(words("a")))),
            ("b", "crate::a::made_by_a_macro", item("a", "made_by_a_macro")),
            ("b", "fmt::Display", None),
            ("b", "log::info", None),
            ("b", "self_made", None),
        ];
        for (module, path, expected) in table {
            assert_eq!(modules.find(&words(module), &words(path)), expected, "{path} in {module}");
        }
    }

    #[test]
    fn code_names_what_it_uses_and_not_what_it_hands_on_or_tests() {
        let modules = modules(&[
            ("lib.rs", "mod a; mod b; #[cfg(test)] mod missing;"),
            (
                "a.rs",
                "pub struct A; pub struct B; pub struct C; pub struct D; pub struct E; pub struct F; pub struct G;
                 pub struct H; pub struct I; pub const J: u8 = 0;",
            ),
            (
                "b.rs",
                "use super::a::A; pub use super::a::{B, C}; pub(crate) use crate::a as other;
                 fn f(c: &C) -> Option<other::D> { assert!(matches!(c, crate::a::E { .. }), \"{}\", super::a::J); g() }
                 fn g() { use super::a::F; }
                 #[cfg(test)] fn h(g: super::a::G) {}
                 impl X { #[cfg(any(test, debug_assertions))] fn i(h: super::a::H) {} }
                 #[cfg(test)] mod tests { use super::super::a::I; }",
            ),
        ]);
        let named = modules.named_in(&words("b"));
        let names: Vec<&str> = named
            .iter()
            .filter_map(|found| match found {
                Found::Item(module, name) if *module == ["a"] => Some(name.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(names, ["A", "C", "D", "E", "F", "J"]);
    }
}
