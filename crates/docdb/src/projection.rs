//! Projections: which fields of a document are answered.

use bson::raw::RawDocument;
use bson::{Bson, Document, RawBsonRef};

use crate::error::{Code, CommandError, Result};
use crate::expression::Expression;
use crate::number::as_integer;

/// A parsed projection.
#[derive(Debug, Clone)]
pub(crate) struct Projection {
    is_inclusive: bool,
    includes_id: bool,
    fields: Tree,
    computed: Vec<(String, Expression)>,
}

/// Named fields, with the fields below them.
#[derive(Debug, Clone, Default)]
struct Tree(Vec<(String, Tree)>);

impl Tree {
    fn insert(&mut self, path: &str) {
        let (name, rest) =
            path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
        if self.find(name).is_none() {
            self.0.push((name.to_owned(), Self::default()));
        }
        let found = self.0.iter_mut().find(|(candidate, _)| candidate == name);
        if let (Some((_, below)), Some(rest)) = (found, rest) {
            below.insert(rest);
        }
    }

    fn find(&self, name: &str) -> Option<&Self> {
        self.0.iter().find(|(candidate, _)| candidate == name).map(|(_, below)| below)
    }
}

impl Projection {
    /// Reads a projection; `None` when it leaves documents as they are.
    pub(crate) fn parse(projection: &RawDocument) -> Result<Option<Self>> {
        let mut included = Vec::new();
        let mut excluded = Vec::new();
        let mut computed = Vec::new();
        let mut id = None;
        visit_fields(projection, &mut |name, value| {
            crate::depth::check_path(name)?;
            if name.split('.').any(|part| part.is_empty() || part.starts_with('$')) {
                return Err(CommandError::unsupported(format!("the projection path {name}")));
            }
            match flag(value) {
                Some(flag) if name == "_id" => id = Some(flag),
                Some(true) => included.push(name.to_owned()),
                Some(false) => excluded.push(name.to_owned()),
                None => computed.push((name.to_owned(), parse_computed(value)?)),
            }
            Ok(())
        })?;
        let is_inclusive = !included.is_empty()
            || !computed.is_empty()
            || (id == Some(true) && excluded.is_empty());
        if is_inclusive && !excluded.is_empty() {
            let text = "Cannot mix exclusion and inclusion in a projection, except for _id";
            return Err(CommandError::new(Code::BadValue, text));
        }
        if !is_inclusive && excluded.is_empty() && id != Some(false) {
            return Ok(None);
        }
        let computed_paths = computed.iter().map(|(path, _)| path);
        check_collisions(included.iter().chain(&excluded).chain(computed_paths))?;
        let mut fields = Tree::default();
        for path in included.iter().chain(&excluded) {
            fields.insert(path);
        }
        Ok(Some(Self { is_inclusive, includes_id: id.unwrap_or(true), fields, computed }))
    }

    /// Whether it computes fields, which may fail.
    pub(crate) fn is_computed(&self) -> bool {
        !self.computed.is_empty()
    }

    /// The projected document.
    pub(crate) fn apply(&self, document: &Document) -> Result<Document> {
        let mut out = Document::new();
        for (name, value) in document {
            if name == "_id" && self.fields.find("_id").is_none() {
                if self.includes_id {
                    out.insert(name, value);
                }
                continue;
            }
            let value = match (self.fields.find(name), self.is_inclusive) {
                (Some(below), true) => include(value, below),
                (Some(below), false) => exclude(value, below),
                (None, is_inclusive) => (!is_inclusive).then(|| value.clone()),
            };
            if let Some(value) = value {
                out.insert(name, value);
            }
        }
        for (path, expression) in &self.computed {
            let Some(value) = expression.evaluate(document)? else { continue };
            // A value below an array goes into each of its elements.
            if let Some((name, rest)) = path.split_once('.')
                && self.is_inclusive
                && !out.contains_key(name)
                && let Some(present) = document.get(name)
            {
                out.insert(name, shape(present, rest));
            }
            insert_at(&mut out, path, value);
        }
        Ok(out)
    }
}

/// Refuses a path that another one leads through or ends at.
pub(crate) fn check_collisions<'p>(paths: impl Iterator<Item = &'p String>) -> Result<()> {
    let mut parts: Vec<Vec<&str>> = paths.map(|path| path.split('.').collect()).collect();
    parts.sort_unstable();
    match parts.windows(2).find(|pair| matches!(pair, [a, b] if b.starts_with(a))) {
        Some([_, path]) => {
            let text = format!("Path collision at {}", path.join("."));
            Err(CommandError::new(Code::Location31250, text))
        }
        _ => Ok(()),
    }
}

/// The arrays and documents on the way of a path, without anything in them.
fn shape(value: &Bson, path: &str) -> Bson {
    match value {
        Bson::Array(items) => Bson::Array(items.iter().map(|item| shape(item, path)).collect()),
        Bson::Document(nested) => {
            let mut empty = Document::new();
            if let Some((name, rest)) = path.split_once('.')
                && let Some(inner) = nested.get(name)
            {
                empty.insert(name, shape(inner, rest));
            }
            Bson::Document(empty)
        }
        _ => Bson::Document(Document::new()),
    }
}

fn flag(value: RawBsonRef<'_>) -> Option<bool> {
    match value {
        RawBsonRef::Decimal128(number) => Some(!crate::number::is_decimal_zero(&number)),
        RawBsonRef::Boolean(flag) => Some(flag),
        RawBsonRef::Int32(_) | RawBsonRef::Int64(_) | RawBsonRef::Double(_) => {
            Some(as_integer(value) != Some(0))
        }
        _ => None,
    }
}

fn parse_computed(value: RawBsonRef<'_>) -> Result<Expression> {
    let first = value.as_document().and_then(|d| d.into_iter().next()?.ok());
    match first {
        Some((name, _)) if ["$slice", "$elemMatch", "$meta"].contains(&name.as_str()) => {
            Err(CommandError::unsupported(format!("the projection operator {}", name.as_str())))
        }
        _ => Expression::parse(value),
    }
}

fn include(value: &Bson, below: &Tree) -> Option<Bson> {
    if below.0.is_empty() {
        return Some(value.clone());
    }
    match value {
        Bson::Document(fields) => {
            let kept = fields.iter().filter_map(|(name, value)| {
                Some((name.clone(), include(value, below.find(name)?)?))
            });
            Some(Bson::Document(kept.collect()))
        }
        Bson::Array(items) => {
            Some(Bson::Array(items.iter().filter_map(|item| include(item, below)).collect()))
        }
        _ => None,
    }
}

fn exclude(value: &Bson, below: &Tree) -> Option<Bson> {
    if below.0.is_empty() {
        return None;
    }
    match value {
        Bson::Document(fields) => {
            let kept = fields.iter().filter_map(|(name, value)| match below.find(name) {
                Some(below) => Some((name.clone(), exclude(value, below)?)),
                None => Some((name.clone(), value.clone())),
            });
            Some(Bson::Document(kept.collect()))
        }
        Bson::Array(items) => {
            Some(Bson::Array(items.iter().filter_map(|item| exclude(item, below)).collect()))
        }
        value => Some(value.clone()),
    }
}

/// Puts a computed value at a dotted path, making the documents on the way; in every element of
/// an array.
pub(crate) fn insert_at(document: &mut Document, path: &str, value: Bson) {
    let Some((name, rest)) = path.split_once('.') else {
        document.insert(path, value);
        return;
    };
    insert_below(document.entry(name.to_owned()).or_insert(Bson::Null), rest, value);
}

fn insert_below(place: &mut Bson, path: &str, value: Bson) {
    match place {
        Bson::Document(nested) => insert_at(nested, path, value),
        Bson::Array(items) => {
            for item in items {
                insert_below(item, path, value.clone());
            }
        }
        other => {
            let mut nested = Document::new();
            insert_at(&mut nested, path, value);
            *other = Bson::Document(nested);
        }
    }
}

/// Visits the fields of a specification; documents in it that are no expressions count as the
/// dotted paths of their fields.
pub(crate) fn visit_fields<'a>(
    document: &'a RawDocument,
    visit: &mut dyn FnMut(&str, RawBsonRef<'a>) -> Result<()>,
) -> Result<()> {
    visit_fields_below("", document, visit)
}

fn visit_fields_below<'a>(
    prefix: &str,
    document: &'a RawDocument,
    visit: &mut dyn FnMut(&str, RawBsonRef<'a>) -> Result<()>,
) -> Result<()> {
    for field in document {
        let (name, value) = field?;
        let path = format!("{prefix}{}", name.as_str());
        match value {
            RawBsonRef::Document(nested) if !nested.is_empty() && !is_expression(nested) => {
                visit_fields_below(&format!("{path}."), nested, visit)?;
            }
            value => visit(&path, value)?,
        }
    }
    Ok(())
}

fn is_expression(document: &RawDocument) -> bool {
    document
        .into_iter()
        .next()
        .is_some_and(|f| f.is_ok_and(|(name, _)| name.as_str().starts_with('$')))
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    fn project(projection: &Document, document: &Document) -> Result<Document> {
        let bytes = projection.to_vec().unwrap();
        match Projection::parse(RawDocument::from_bytes(&bytes).unwrap())? {
            Some(projection) => projection.apply(document),
            None => Ok(document.clone()),
        }
    }

    #[test]
    fn fields_are_included_excluded_and_computed() {
        let document =
            doc! { "_id": 1, "a": { "b": 1, "c": 2 }, "d": [{ "e": 1, "f": 2 }, 5], "g": 3 };
        let cases = [
            (doc! {}, document.clone()),
            (doc! { "g": 1 }, doc! { "_id": 1, "g": 3 }),
            (doc! { "g": 1, "_id": 0 }, doc! { "g": 3 }),
            (
                doc! { "_id": 0 },
                doc! { "a": { "b": 1, "c": 2 }, "d": [{ "e": 1, "f": 2 }, 5], "g": 3 },
            ),
            (doc! { "a.b": true, "d.e": 1 }, doc! { "_id": 1, "a": { "b": 1 }, "d": [{ "e": 1 }] }),
            (doc! { "a.b": 0, "d": 0 }, doc! { "_id": 1, "a": { "c": 2 }, "g": 3 }),
            (doc! { "x": "$a.c" }, doc! { "_id": 1, "x": 2 }),
            (doc! { "a": { "b": 1 } }, doc! { "_id": 1, "a": { "b": 1 } }),
        ];
        for (projection, expected) in cases {
            assert_eq!(project(&projection, &document).unwrap(), expected, "{projection}");
        }
        assert!(project(&doc! { "a": 1, "g": 0 }, &document).is_err());
        assert!(project(&doc! { "d": { "$slice": 1 } }, &document).is_err());
    }
}
