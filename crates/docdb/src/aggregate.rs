//! Aggregation pipelines: the stages listed in `Stage`, each document passed on as it comes.
//!
//! Only `$sort` and `$group` hold documents; what is too much for memory goes to unnamed files.

mod flow;
mod group;

use std::path::Path;

use bson::raw::{RawArray, RawDocument};
use bson::{Bson, Document, RawBsonRef};

use crate::error::{Code, CommandError, Result};
use crate::expression::{Expression, value_key};
use crate::filter::{Filter, parse_filter};
use crate::number::as_integer;
use crate::projection::{Projection, check_collisions, insert_at, visit_fields};
use crate::sort::SortOrder;

use flow::Flow;
use group::Group;

/// More stages are refused, as the server does.
const MOST_STAGES: usize = 1_000;

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
    Unwind(Unwind),
    Count(String),
    SortByCount(Group),
}

/// A parsed `$unwind`.
#[derive(Debug, Clone)]
struct Unwind {
    path: Vec<String>,
    keeps_empty: bool,
    index_field: Option<String>,
}

/// Takes the documents that come out of a pipeline.
type Sink<'s> = dyn FnMut(Document) -> Result<()> + 's;
/// Takes a document that goes into a pipeline; answers `false` when it needs no more.
type Push<'p> = dyn FnMut(Document) -> Result<bool> + 'p;

impl Pipeline {
    /// Reads a pipeline.
    pub(crate) fn parse(stages: &RawArray) -> Result<Self> {
        Self::parse_after(stages, 0)
    }

    /// Reads a pipeline but for its first stage, which somebody else runs.
    pub(crate) fn parse_after_first(stages: &RawArray) -> Result<Self> {
        Self::parse_after(stages, 1)
    }

    fn parse_after(stages: &RawArray, skipped: usize) -> Result<Self> {
        let mut parsed = Vec::new();
        for (position, stage) in stages.into_iter().enumerate() {
            if position >= MOST_STAGES {
                let text = format!("Pipeline length must be no longer than {MOST_STAGES} stages.");
                return Err(CommandError::new(Code::Location7749501, text));
            }
            let stage = stage?.as_document().ok_or_else(|| {
                CommandError::new(
                    Code::TypeMismatch,
                    "Each element of the 'pipeline' array must be an object",
                )
            })?;
            let mut fields = stage.into_iter();
            let (Some(field), None) = (fields.next(), fields.next()) else {
                let text = "A pipeline stage specification object must contain exactly one field.";
                return Err(CommandError::new(Code::Location40323, text));
            };
            let (name, argument) = field?;
            if position >= skipped {
                parsed.push(parse_stage(name.as_str(), argument)?);
            }
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

    /// Runs the stages over the documents that `feed` pushes; temporary files go to `folder`.
    pub(crate) fn run(
        &self,
        folder: &Path,
        sink: &mut Sink<'_>,
        feed: impl FnOnce(&mut Push<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut flow = Flow::new(&self.0, folder);
        feed(&mut |document| flow.push(document, sink))?;
        flow.finish(sink)
    }

    pub(crate) fn apply_to_one(&self, document: Document) -> Result<Document> {
        let mut out = None;
        let mut sink = |document| {
            out = Some(document);
            Ok(())
        };
        // The stages of an update hold nothing, so no file is made.
        self.run(Path::new(""), &mut sink, |push| push(document).map(drop))?;
        out.ok_or_else(|| {
            CommandError::new(Code::InternalError, "an update pipeline lost its document")
        })
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
        crate::depth::check_path(path)?;
        fields.push((path.to_owned(), Expression::parse(value)?));
        Ok(())
    })?;
    check_collisions(fields.iter().map(|(path, _)| path))?;
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
    let invalid = |text: String| CommandError::new(Code::FailedToParse, text);
    let no_path = || invalid("$unwind needs a path that begins with $".to_owned());
    let (mut path, mut keeps_empty, mut index_field) = (None, false, None);
    match argument {
        RawBsonRef::String(text) => path = Some(text),
        RawBsonRef::Document(options) => {
            for option in options {
                let (name, value) = option?;
                match (name.as_str(), value) {
                    ("path", RawBsonRef::String(text)) => path = Some(text),
                    ("preserveNullAndEmptyArrays", RawBsonRef::Boolean(flag)) => keeps_empty = flag,
                    ("includeArrayIndex", RawBsonRef::String(field))
                        if !field.is_empty() && !field.starts_with('$') =>
                    {
                        crate::depth::check_path(field)?;
                        index_field = Some(field.to_owned());
                    }
                    ("path" | "preserveNullAndEmptyArrays" | "includeArrayIndex", _) => {
                        let text = format!("{} of $unwind has a wrong value", name.as_str());
                        return Err(invalid(text));
                    }
                    (other, _) => {
                        return Err(invalid(format!(
                            "unrecognized option to $unwind stage: {other}"
                        )));
                    }
                }
            }
        }
        _ => return Err(no_path()),
    }
    let path = path.and_then(|path| path.strip_prefix('$')).filter(|path| !path.is_empty());
    let path = path.ok_or_else(no_path)?;
    crate::depth::check_path(path)?;
    let path = path.split('.').map(str::to_owned).collect();
    Ok(Stage::Unwind(Unwind { path, keeps_empty, index_field }))
}

fn add_fields(document: Document, fields: &[(String, Expression)]) -> Result<Document> {
    let mut out = document.clone();
    for (path, expression) in fields {
        match expression.evaluate(&document)? {
            Some(value) => insert_at(&mut out, path, value),
            None => remove_at(&mut out, path),
        }
    }
    crate::depth::check_result(&out)?;
    Ok(out)
}

/// Removes a field, also from the documents in an array on the way.
fn remove_at(document: &mut Document, path: &str) {
    match path.split_once('.') {
        None => drop(document.remove(path)),
        Some((name, rest)) => document.get_mut(name).into_iter().for_each(|v| remove_in(v, rest)),
    }
}

fn remove_in(value: &mut Bson, path: &str) {
    match value {
        Bson::Document(nested) => remove_at(nested, path),
        Bson::Array(items) => items.iter_mut().for_each(|item| remove_in(item, path)),
        _ => {}
    }
}

fn replace_root(document: &Document, root: &Expression) -> Result<Document> {
    match root.evaluate(document)? {
        Some(Bson::Document(root)) => {
            crate::depth::check_result(&root)?;
            Ok(root)
        }
        _ => Err(CommandError::new(
            Code::Location40228,
            "'newRoot' expression must evaluate to an object",
        )),
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
        let pipeline = Pipeline::parse(wrapper.get_array("p").unwrap())?;
        let mut out = Vec::new();
        let mut sink = |document| {
            out.push(document);
            Ok(())
        };
        pipeline.run(&std::env::temp_dir(), &mut sink, |push| {
            for document in documents {
                if !push(document)? {
                    break;
                }
            }
            Ok(())
        })?;
        Ok(out)
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
    fn a_path_through_an_array_unwinds_nothing() {
        let documents = vec![doc! { "a": [{ "b": [1] }, { "b": [2] }] }];
        assert!(run(vec![doc! { "$unwind": "$a.b" }], documents).unwrap().is_empty());
        let nested = vec![doc! { "a": { "b": [1, 2] }, "z": 0 }];
        let out = run(vec![doc! { "$unwind": "$a.b" }], nested).unwrap();
        assert_eq!(out, [doc! { "a": { "b": 1 }, "z": 0 }, doc! { "a": { "b": 2 }, "z": 0 }]);
    }

    #[test]
    fn a_field_set_to_nothing_is_removed() {
        let stage = doc! { "$set": { "b": "$missing", "c.d": "$missing" } };
        let documents = vec![doc! { "b": 1, "c": { "d": 1, "e": 2 } }];
        assert_eq!(run(vec![stage], documents).unwrap(), [doc! { "c": { "e": 2 } }]);
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
