//! No circle of imports inside a crate: a file imports what lies below it, and nothing that imports
//! it, directly or over others.
//!
//! Paths are followed as they are written: those that begin with `crate`, `super`, `self` or a module
//! of the file's own. What a file only re-exports it does not import, and tests may import what they
//! like.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use syn::visit::Visit;
use syn::{Attribute, File, ItemMod, ItemUse, UseTree, Visibility};

use crate::layers::crates;

/// Which files each file imports, by their paths as modules.
type Imports = BTreeMap<String, BTreeSet<String>>;

/// Looks at every crate.
pub(crate) fn check() -> Result<(), String> {
    let mut errors = Vec::new();
    for (name, folder) in crates()? {
        let mut files = BTreeMap::new();
        collect(&folder.join("src"), &[], &mut files)
            .map_err(|error| format!("{name}: {error}"))?;
        if let Some(circle) = find_circle(&imports(&files)) {
            errors.push(format!("{name}: {}", circle.join(" → ")));
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(format!("files that import each other in a circle: {}", errors.join("; ")))
}

/// The files of a folder by their paths as modules, without the crate's root and tests.
fn collect(
    folder: &Path,
    parent: &[String],
    files: &mut BTreeMap<String, File>,
) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let module: Vec<String> = parent.iter().cloned().chain([stem.clone()]).collect();
        if path.is_dir() {
            collect(&path, &module, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !["lib", "main"].contains(&stem.as_str())
            && !module.iter().any(|word| word == "tests")
        {
            let text = std::fs::read_to_string(&path).map_err(failed)?;
            let file = syn::parse_file(&text)
                .map_err(|error| format!("{} cannot be parsed: {error}", path.display()))?;
            files.insert(module.join("::"), file);
        }
    }
    Ok(())
}

fn imports(files: &BTreeMap<String, File>) -> Imports {
    let look = |(module, file): (&String, &File)| {
        let mut paths = Paths::default();
        paths.visit_file(file);
        let found = paths.0.iter().filter_map(|path| resolve(module, path, files));
        (module.clone(), found.filter(|found| found != module).collect())
    };
    files.iter().map(look).collect()
}

/// The file that a path leads to, as it is written in a module.
fn resolve(module: &str, path: &[String], files: &BTreeMap<String, File>) -> Option<String> {
    let mut from: Vec<String> = module.split("::").map(str::to_owned).collect();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" => from.clear(),
        "self" | "super" => {}
        own if files.contains_key(&format!("{module}::{own}")) => {}
        _ => return None,
    }
    while let Some(word) =
        rest.first().filter(|word| ["crate", "self", "super"].contains(&word.as_str()))
    {
        if word == "super" {
            from.pop();
        }
        rest = rest.split_first()?.1;
    }
    from.extend_from_slice(rest);
    // What lies behind the last file is one of its items.
    while !from.is_empty() {
        let candidate = from.join("::");
        if files.contains_key(&candidate) {
            return Some(candidate);
        }
        from.pop();
    }
    None
}

/// The paths of a file outside of its tests.
#[derive(Default)]
struct Paths(Vec<Vec<String>>);

impl Paths {
    fn take_apart(&mut self, tree: &UseTree, mut path: Vec<String>) {
        match tree {
            UseTree::Path(next) => {
                path.push(next.ident.to_string());
                self.take_apart(&next.tree, path);
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|item| self.take_apart(item, path.clone()));
            }
            UseTree::Name(name) => {
                path.push(name.ident.to_string());
                self.0.push(path);
            }
            UseTree::Rename(renamed) => {
                path.push(renamed.ident.to_string());
                self.0.push(path);
            }
            UseTree::Glob(_) => self.0.push(path),
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if matches!(item.vis, Visibility::Inherited) && !is_for_tests(&item.attrs) {
            self.take_apart(&item.tree, Vec::new());
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !is_for_tests(&item.attrs) {
            syn::visit::visit_item_mod(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let words: Vec<String> = path.segments.iter().map(|word| word.ident.to_string()).collect();
        if words.len() > 1 {
            self.0.push(words);
        }
        syn::visit::visit_path(self, path);
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|word| word == "test")
    })
}

/// Files of which each imports the next, and the last the first.
fn find_circle(imports: &Imports) -> Option<Vec<String>> {
    let mut done = BTreeSet::new();
    imports.keys().find_map(|file| follow(file, imports, (&mut Vec::new(), &mut done)))
}

fn follow(
    file: &str,
    imports: &Imports,
    (way, done): (&mut Vec<String>, &mut BTreeSet<String>),
) -> Option<Vec<String>> {
    if let Some(at) = way.iter().position(|before| before == file) {
        let circle = way.iter().skip(at).cloned().chain([file.to_owned()]);
        return Some(circle.collect());
    }
    if !done.insert(file.to_owned()) {
        return None;
    }
    way.push(file.to_owned());
    let found =
        imports.get(file)?.iter().find_map(|next| follow(next, imports, (&mut *way, &mut *done)));
    way.pop();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circle(files: &[(&str, &str)]) -> Option<Vec<String>> {
        let parse = |(module, text): &(&str, &str)| {
            let file: File = syn::parse_str(text).ok()?;
            Some(((*module).to_owned(), file))
        };
        find_circle(&imports(&files.iter().filter_map(parse).collect()))
    }

    #[test]
    fn a_circle_is_found_over_several_files_and_ways_to_write_it() {
        let files = [
            ("a", "use crate::{b::{One, Two}, c};"),
            ("b", "mod d; fn f() { d::g() }"),
            ("b::d", "fn g() -> super::super::a::Thing { todo!() }"),
            ("c", ""),
        ];
        assert_eq!(circle(&files).unwrap(), ["a", "b", "b::d", "a"]);
    }

    #[test]
    fn what_tests_import_and_what_lies_below_is_no_circle() {
        let files = [
            ("a", "use crate::b; use crate::c::Thing;"),
            (
                "b",
                "pub(crate) use a::Other; use crate::c; #[cfg(test)] mod tests { use crate::a; }",
            ),
            ("b::a", "use super::Type;"),
            ("c", "use std::fmt; use crate::Error; #[cfg(test)] use crate::a;"),
        ];
        assert_eq!(circle(&files), None);
    }
}
