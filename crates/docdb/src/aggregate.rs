//! Aggregation pipelines: the stages listed in `Stage`, run over documents in memory.
//!
//! Blocking stages keep at most `MEMORY_LIMIT_BYTES`; more is refused, as MongoDB does when it
//! may not use the disk.

mod group;

use bson::raw::{RawArray, RawDocument};
use bson::{Bson, Document, RawBsonRef};

use crate::error::{Code, CommandError, Result};
use crate::expression::{Expression, value_key};
use crate::filter::{Filter, parse_filter};
use crate::number::as_integer;
use crate::projection::{Projection, insert_at, visit_fields};
use crate::sort::{SortOrder, check_memory};

use group::{Group, Groups};

/// What a blocking stage may hold, in bytes of documents.
pub(crate) const MEMORY_LIMIT_BYTES: usize = 100 * 1024 * 1024;

/// A parsed pipeline.
#[derive(Debug, Clone)]
pub(crate) struct Pipeline(Vec<Stage>);

#[derive(Debug, Clone)]
enum Stage {
    Match(Filter),
    Group(Group),
    Sort(SortOrder),
    Limit(usize),
    Skip(usize),
    Project(Option<Projection>),
    AddFields(Vec<(String, Expression)>),
    ReplaceRoot(Expression),
    Unwind { path: Vec<String>, keeps_empty: bool, index_field: Option<String> },
    Count(String),
    SortByCount(Group),
}

impl Pipeline {
    /// Reads a pipeline.
    pub(crate) fn parse(stages: &RawArray) -> Result<Self> {
        let mut parsed = Vec::new();
        for stage in stages {
            let stage = stage?.as_document().ok_or_else(|| {
                CommandError::new(
                    Code::TypeMismatch,
                    "Each element of the 'pipeline' array must be an object",
                )
            })?;
            let mut fields = stage.into_iter();
            let (Some(field), None) = (fields.next(), fields.next()) else {
                let text = "A pipeline stage specification object must contain exactly one field.";
                return Err(CommandError::new(Code::Location40324, text));
            };
            let (name, argument) = field?;
            parsed.push(parse_stage(name.as_str(), argument)?);
        }
        Ok(Self(parsed))
    }

    /// Reads the pipeline of an update, which may only rewrite one document.
    pub(crate) fn parse_for_update(stages: &RawArray) -> Result<Self> {
        let pipeline = Self::parse(stages)?;
        let rewrites = |stage: &Stage| {
            matches!(stage, Stage::Project(_) | Stage::AddFields(_) | Stage::ReplaceRoot(_))
        };
        if pipeline.0.iter().all(rewrites) {
            Ok(pipeline)
        } else {
            let text = "an update pipeline may hold $set, $addFields, $unset, $project, $replaceRoot and $replaceWith";
            Err(CommandError::new(Code::InvalidOptions, text))
        }
    }

    /// The filter that can be pushed into the first read, and the rest of the pipeline.
    pub(crate) fn split_match(mut self) -> (Option<Filter>, Self) {
        match self.0.first() {
            Some(Stage::Match(filter)) => {
                let filter = filter.clone();
                self.0.remove(0);
                (Some(filter), self)
            }
            _ => (None, self),
        }
    }

    /// Runs the stages over documents that `feed` visits; a group at the beginning holds none of
    /// them.
    pub(crate) fn run_over(
        &self,
        feed: impl FnOnce(&mut dyn FnMut(&RawDocument) -> Result<()>) -> Result<()>,
    ) -> Result<Vec<Document>> {
        if let Some((Stage::Group(group), rest)) = self.0.split_first() {
            let mut groups = Groups::default();
            feed(&mut |document| group.add(&mut groups, &Document::try_from(document)?))?;
            return rest
                .iter()
                .try_fold(group.results(groups), |documents, stage| stage.run(documents));
        }
        let mut documents = Vec::new();
        let mut bytes_held = 0;
        feed(&mut |document| {
            bytes_held += document.as_bytes().len();
            check_memory(bytes_held)?;
            documents.push(Document::try_from(document)?);
            Ok(())
        })?;
        self.run(documents)
    }

    pub(crate) fn apply_to_one(&self, document: Document) -> Result<Document> {
        let out = self.run(vec![document])?.pop();
        out.ok_or_else(|| {
            CommandError::new(Code::InternalError, "an update pipeline lost its document")
        })
    }

    /// Runs the stages over all documents.
    pub(crate) fn run(&self, documents: Vec<Document>) -> Result<Vec<Document>> {
        self.0.iter().try_fold(documents, |documents, stage| stage.run(documents))
    }
}

fn parse_stage(name: &str, argument: RawBsonRef<'_>) -> Result<Stage> {
    let document = || {
        let text = format!("the argument of {name} must be a document");
        argument.as_document().ok_or_else(|| CommandError::new(Code::FailedToParse, text))
    };
    match name {
        "$match" => parse_filter(document()?).map(Stage::Match),
        "$group" => Group::parse(document()?).map(Stage::Group),
        "$sortByCount" => Group::count_by(Expression::parse(argument)?).map(Stage::SortByCount),
        "$sort" => SortOrder::parse(document()?).map(Stage::Sort),
        "$limit" => match whole_number(name, argument)? {
            0 => Err(CommandError::new(Code::BadValue, "the limit must be positive")),
            limit => Ok(Stage::Limit(limit)),
        },
        "$skip" => whole_number(name, argument).map(Stage::Skip),
        "$project" => Projection::parse(document()?).map(Stage::Project),
        "$addFields" | "$set" => parse_fields(document()?).map(Stage::AddFields),
        "$unset" => parse_unset(argument).map(Stage::Project),
        "$replaceWith" => Expression::parse(argument).map(Stage::ReplaceRoot),
        "$replaceRoot" => {
            let root = document()?.get("newRoot")?.ok_or_else(|| {
                CommandError::new(Code::FailedToParse, "no newRoot specified for $replaceRoot")
            })?;
            Expression::parse(root).map(Stage::ReplaceRoot)
        }
        "$unwind" => parse_unwind(argument),
        "$count" => match argument.as_str() {
            Some(field) if !field.is_empty() && !field.contains(['.', '$']) => {
                Ok(Stage::Count(field.to_owned()))
            }
            _ => Err(CommandError::new(
                Code::FailedToParse,
                "the count field must be a non-empty string without $ and .",
            )),
        },
        _ => Err(CommandError::new(
            Code::Location40324,
            format!(
                "Unrecognized pipeline stage name: '{name}', or one that the embedded engine does not support"
            ),
        )),
    }
}

fn whole_number(name: &str, argument: RawBsonRef<'_>) -> Result<usize> {
    as_integer(argument).and_then(|number| usize::try_from(number).ok()).ok_or_else(|| {
        CommandError::new(
            Code::FailedToParse,
            format!("{name} takes a whole number that is not negative"),
        )
    })
}

fn parse_fields(document: &RawDocument) -> Result<Vec<(String, Expression)>> {
    let mut fields = Vec::new();
    visit_fields(document, &mut |path, value| {
        fields.push((path.to_owned(), Expression::parse(value)?));
        Ok(())
    })?;
    Ok(fields)
}

fn parse_unset(argument: RawBsonRef<'_>) -> Result<Option<Projection>> {
    let names: Option<Vec<&str>> = match argument {
        RawBsonRef::String(name) => Some(vec![name]),
        RawBsonRef::Array(names) => names.into_iter().map(|name| name.ok()?.as_str()).collect(),
        _ => None,
    };
    let names = names.ok_or_else(|| {
        CommandError::new(Code::FailedToParse, "$unset takes a field name or an array of them")
    })?;
    let exclusion: Document =
        names.into_iter().map(|name| (name.to_owned(), Bson::Int32(0))).collect();
    Projection::parse(RawDocument::from_bytes(&exclusion.to_vec()?)?)
}

fn parse_unwind(argument: RawBsonRef<'_>) -> Result<Stage> {
    let invalid =
        || CommandError::new(Code::FailedToParse, "$unwind needs a path that begins with $");
    let (path, options) = match argument {
        RawBsonRef::String(path) => (path, None),
        RawBsonRef::Document(options) => {
            (options.get_str("path").map_err(|_| invalid())?, Some(options))
        }
        _ => return Err(invalid()),
    };
    let path = path.strip_prefix('$').filter(|path| !path.is_empty()).ok_or_else(invalid)?;
    let keeps_empty =
        options.is_some_and(|o| o.get_bool("preserveNullAndEmptyArrays").unwrap_or(false));
    let index_field = options.and_then(|o| o.get_str("includeArrayIndex").ok()).map(str::to_owned);
    Ok(Stage::Unwind {
        path: path.split('.').map(str::to_owned).collect(),
        keeps_empty,
        index_field,
    })
}

impl Stage {
    fn run(&self, mut documents: Vec<Document>) -> Result<Vec<Document>> {
        match self {
            Self::Match(filter) => {
                let mut kept = Vec::new();
                for document in documents {
                    let bytes = document.to_vec()?;
                    if filter.matches(RawDocument::from_bytes(&bytes)?) {
                        kept.push(document);
                    }
                }
                Ok(kept)
            }
            Self::Group(group) => group.run(&documents),
            Self::SortByCount(group) => {
                let mut counted = group.run(&documents)?;
                counted.sort_by_key(|group| std::cmp::Reverse(group.get_i32("count").unwrap_or(0)));
                Ok(counted)
            }
            Self::Sort(order) => order.sort(documents),
            Self::Limit(limit) => {
                documents.truncate(*limit);
                Ok(documents)
            }
            Self::Skip(skip) => Ok(documents.split_off((*skip).min(documents.len()))),
            Self::Project(None) => Ok(documents),
            Self::Project(Some(projection)) => {
                documents.iter().map(|document| projection.apply(document)).collect()
            }
            Self::AddFields(fields) => {
                documents.into_iter().map(|document| add_fields(document, fields)).collect()
            }
            Self::ReplaceRoot(root) => {
                documents.iter().map(|document| replace_root(document, root)).collect()
            }
            Self::Unwind { path, keeps_empty, index_field } => {
                let mut out = Vec::new();
                for document in &documents {
                    unwind(document, path, (*keeps_empty, index_field.as_deref()), &mut out);
                }
                Ok(out)
            }
            Self::Count(_) if documents.is_empty() => Ok(Vec::new()),
            Self::Count(field) => {
                let count = i32::try_from(documents.len()).unwrap_or(i32::MAX);
                Ok(vec![bson::doc! { field: count }])
            }
        }
    }
}

fn add_fields(document: Document, fields: &[(String, Expression)]) -> Result<Document> {
    let mut out = document.clone();
    for (path, expression) in fields {
        if let Some(value) = expression.evaluate(&document)? {
            insert_at(&mut out, path, value);
        }
    }
    Ok(out)
}

fn replace_root(document: &Document, root: &Expression) -> Result<Document> {
    match root.evaluate(document)? {
        Some(Bson::Document(root)) => Ok(root),
        _ => Err(CommandError::new(
            Code::BadValue,
            "'newRoot' expression must evaluate to an object",
        )),
    }
}

fn unwind(
    document: &Document,
    path: &[String],
    (keeps_empty, index_field): (bool, Option<&str>),
    out: &mut Vec<Document>,
) {
    let found = Expression::Field(path.to_vec()).evaluate(document).ok().flatten();
    let path = path.join(".");
    let mut push = |value: Option<Bson>, index: Bson| {
        let mut document = document.clone();
        match value {
            Some(value) => insert_at(&mut document, &path, value),
            None if !path.contains('.') => drop(document.remove(&path)),
            None => {}
        }
        if let Some(field) = index_field {
            insert_at(&mut document, field, index);
        }
        out.push(document);
    };
    match found {
        Some(Bson::Array(items)) if !items.is_empty() => {
            for (index, item) in (0i64..).zip(items) {
                push(Some(item), Bson::Int64(index));
            }
        }
        None | Some(Bson::Null | Bson::Array(_)) => {
            if keeps_empty {
                let value = found.filter(|value| matches!(value, Bson::Null));
                push(value, Bson::Null);
            }
        }
        Some(value) => push(Some(value), Bson::Null),
    }
}

/// The identity of a group.
fn group_key(value: Option<&Bson>) -> Result<Vec<u8>> {
    value_key(value.or(Some(&Bson::Null)))
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    fn run(stages: Vec<Document>, documents: Vec<Document>) -> Result<Vec<Document>> {
        let wrapper = doc! { "p": stages }.to_vec().unwrap();
        let wrapper = RawDocument::from_bytes(&wrapper).unwrap();
        Pipeline::parse(wrapper.get_array("p").unwrap())?.run(documents)
    }

    #[test]
    fn groups_are_summed_and_sorted() {
        let documents =
            vec![doc! { "k": "a", "n": 1 }, doc! { "k": "b", "n": 5 }, doc! { "k": "a", "n": 2.5 }];
        let stages = vec![
            doc! { "$group": { "_id": "$k", "s": { "$sum": "$n" }, "avg": { "$avg": "$n" }, "lo": { "$min": "$n" }, "hi": { "$max": "$n" }, "f": { "$first": "$n" }, "l": { "$last": "$n" }, "all": { "$push": "$n" }, "c": { "$sum": 1 } } },
            doc! { "$sort": { "_id": 1 } },
        ];
        let expected = vec![
            doc! { "_id": "a", "s": 3.5, "avg": 1.75, "lo": 1, "hi": 2.5, "f": 1, "l": 2.5, "all": [Bson::Int32(1), Bson::Double(2.5)], "c": 2 },
            doc! { "_id": "b", "s": 5, "avg": 5.0, "lo": 5, "hi": 5, "f": 5, "l": 5, "all": [5], "c": 1 },
        ];
        assert_eq!(run(stages, documents).unwrap(), expected);
    }

    #[test]
    fn unwinding_makes_one_document_for_each_element() {
        let documents = vec![doc! { "a": [1, 2] }, doc! { "a": [] }, doc! { "a": 3 }, doc! {}];
        let out = run(vec![doc! { "$unwind": "$a" }], documents.clone()).unwrap();
        assert_eq!(out, [doc! { "a": 1 }, doc! { "a": 2 }, doc! { "a": 3 }]);
        let kept = doc! { "$unwind": { "path": "$a", "preserveNullAndEmptyArrays": true } };
        assert_eq!(run(vec![kept], documents).unwrap().len(), 5);
    }

    #[test]
    fn added_fields_go_into_arrays_and_beside_their_neighbours() {
        let documents = vec![doc! { "a": [{ "x": 1 }, { "x": 2 }], "b": { "c": 1 } }];
        let stage = doc! { "$set": { "a.y": 0, "b": { "d": "$b.c" } } };
        let expected =
            doc! { "a": [{ "x": 1, "y": 0 }, { "x": 2, "y": 0 }], "b": { "c": 1, "d": 1 } };
        assert_eq!(run(vec![stage], documents).unwrap(), [expected]);
    }

    #[test]
    fn counting_nothing_answers_nothing() {
        assert_eq!(run(vec![doc! { "$count": "n" }], vec![]).unwrap(), Vec::<Document>::new());
        assert_eq!(run(vec![doc! { "$count": "n" }], vec![doc! {}]).unwrap(), [doc! { "n": 1 }]);
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        for stage in [doc! { "$lookup": {} }, doc! { "$project": { "a": { "$map": 1 } } }] {
            let error = run(vec![stage.clone()], vec![]).unwrap_err();
            assert!(error.message.contains("'$"), "{}", error.message);
        }
    }
}
