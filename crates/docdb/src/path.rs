//! Dotted paths through documents and arrays, with MongoDB's rules for arrays.

use std::ops::ControlFlow;

use bson::RawBsonRef;
use bson::raw::{RawArray, RawDocument};

/// A field path, cut at its dots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path(Vec<String>);

/// What a path leads to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a> {
    /// The value; `None` where the field is missing.
    pub(crate) value: Option<RawBsonRef<'a>>,
    /// Whether it is an element of the array that the path ends at, not the array itself.
    pub(crate) is_element: bool,
}

type Visitor<'v, 'a> = &'v mut dyn FnMut(Candidate<'a>) -> ControlFlow<()>;

impl Path {
    pub(crate) fn parse(text: &str) -> Self {
        Self(text.split('.').map(str::to_owned).collect())
    }

    pub(crate) fn first(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }

    pub(crate) fn is_nested(&self) -> bool {
        self.0.len() > 1
    }

    /// Visits every value that a condition on this path is tested against, until told to stop.
    ///
    /// An array at the end is visited as such and then element by element; arrays on the way are
    /// entered by index and through each document in them.
    pub(crate) fn visit<'a>(&self, document: &'a RawDocument, visitor: Visitor<'_, 'a>) {
        let _ = visit_document(document, &self.0, visitor);
    }

    /// The value, where the path leads through documents only and to something that is no array.
    pub(crate) fn only_value<'a>(&self, document: &'a RawDocument) -> Option<RawBsonRef<'a>> {
        let (last, way) = self.0.split_last()?;
        let inner = way.iter().try_fold(document, |inner, name| field(inner, name)?.as_document());
        field(inner?, last).filter(|value| !matches!(value, RawBsonRef::Array(_)))
    }

    /// The values as an index sees them: array elements instead of the array, and whether there
    /// was an array at all.
    pub(crate) fn index_values<'a>(
        &self,
        document: &'a RawDocument,
    ) -> (Vec<Option<RawBsonRef<'a>>>, bool) {
        let mut values = Vec::new();
        let mut arrays = 0;
        let mut elements = 0;
        self.visit(document, &mut |candidate| {
            match candidate.value {
                Some(RawBsonRef::Array(array)) if !candidate.is_element => {
                    arrays += 1;
                    if array.is_empty() {
                        values.push(Some(RawBsonRef::Undefined));
                    }
                }
                value => {
                    elements += usize::from(candidate.is_element);
                    values.push(value);
                }
            }
            ControlFlow::Continue(())
        });
        if values.is_empty() {
            // An array without a document to go on in: the field is missing.
            values.push(None);
        }
        let is_multikey = arrays > 0 || elements > 0 || values.len() > 1;
        (values, is_multikey)
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

fn field<'a>(document: &'a RawDocument, name: &str) -> Option<RawBsonRef<'a>> {
    document.get(name).ok().flatten()
}

fn missing(visitor: Visitor<'_, '_>) -> ControlFlow<()> {
    visitor(Candidate { value: None, is_element: false })
}

fn visit_document<'a>(
    document: &'a RawDocument,
    path: &[String],
    visitor: Visitor<'_, 'a>,
) -> ControlFlow<()> {
    let Some((name, rest)) = path.split_first() else {
        return ControlFlow::Continue(());
    };
    match field(document, name) {
        None => missing(visitor),
        Some(value) if rest.is_empty() => visit_end(value, visitor),
        Some(RawBsonRef::Document(nested)) => visit_document(nested, rest, visitor),
        Some(RawBsonRef::Array(array)) => visit_array(array, rest, visitor),
        Some(_) => missing(visitor),
    }
}

fn visit_end<'a>(value: RawBsonRef<'a>, visitor: Visitor<'_, 'a>) -> ControlFlow<()> {
    visitor(Candidate { value: Some(value), is_element: false })?;
    if let RawBsonRef::Array(array) = value {
        for element in array.into_iter().flatten() {
            visitor(Candidate { value: Some(element), is_element: true })?;
        }
    }
    ControlFlow::Continue(())
}

fn visit_array<'a>(
    array: &'a RawArray,
    path: &[String],
    visitor: Visitor<'_, 'a>,
) -> ControlFlow<()> {
    let Some((name, rest)) = path.split_first() else {
        return ControlFlow::Continue(());
    };
    let indexed = name.parse().ok().and_then(|index: usize| array.into_iter().flatten().nth(index));
    match indexed {
        Some(value) if rest.is_empty() => visit_end(value, visitor)?,
        Some(RawBsonRef::Document(nested)) => visit_document(nested, rest, visitor)?,
        Some(RawBsonRef::Array(nested)) => visit_array(nested, rest, visitor)?,
        _ => {}
    }
    for element in array.into_iter().flatten() {
        if let RawBsonRef::Document(nested) = element {
            visit_document(nested, path, visitor)?;
        }
    }
    ControlFlow::Continue(())
}

#[cfg(test)]
mod tests {
    use bson::{Bson, Document, doc};

    use super::*;

    fn found(document: &Document, path: &str) -> Vec<Option<Bson>> {
        let bytes = document.to_vec().unwrap();
        let mut values = Vec::new();
        Path::parse(path).visit(RawDocument::from_bytes(&bytes).unwrap(), &mut |candidate| {
            values.push(candidate.value.map(|value| value.try_into().unwrap()));
            ControlFlow::Continue(())
        });
        values
    }

    #[test]
    fn an_array_at_the_end_is_visited_whole_and_by_element() {
        let document = doc! { "a": [1, 2] };
        let expected = [Some(Bson::from(vec![1, 2])), Some(1.into()), Some(2.into())];
        assert_eq!(found(&document, "a"), expected);
    }

    #[test]
    fn an_array_on_the_way_is_entered_by_index_and_by_document() {
        let document = doc! { "a": [{ "b": 1 }, 5, { "c": 2 }] };
        assert_eq!(found(&document, "a.b"), [Some(1.into()), None]);
        assert_eq!(found(&document, "a.0.b"), [Some(1.into()), None, None]);
    }

    #[test]
    fn a_path_through_a_scalar_is_missing() {
        assert_eq!(found(&doc! { "a": 1 }, "a.b"), [None]);
        assert_eq!(found(&doc! {}, "a"), [None]);
    }
}
