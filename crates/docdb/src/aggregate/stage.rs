//! The stages of a pipeline: how each is read, and what those do that change one document.

use bson::raw::RawDocument;
use bson::{Bson, Document, RawBsonRef};

use super::group::Group;
use crate::error::{Code, CommandError, Result};
use crate::expression::Expression;
use crate::filter::{Filter, parse_filter};
use crate::number::as_integer;
use crate::projection::{Projection, check_collisions, insert_at, visit_fields};
use crate::sort::SortOrder;

#[derive(Debug, Clone)]
pub(super) enum Stage {
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
    Sample(usize),
    SortByCount(Group),
}

/// A parsed `$unwind`.
#[derive(Debug, Clone)]
pub(super) struct Unwind {
    pub(super) path: Vec<String>,
    pub(super) keeps_empty: bool,
    pub(super) index_field: Option<String>,
}

pub(super) fn parse_stage(name: &str, argument: RawBsonRef<'_>) -> Result<Stage> {
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
        "$sample" => parse_sample(document()?).map(Stage::Sample),
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

/// Source: the manual's page for `$sample`.
fn parse_sample(argument: &RawDocument) -> Result<usize> {
    let invalid = |text: &str| CommandError::new(Code::FailedToParse, text);
    let mut size = None;
    for option in argument {
        match option? {
            (name, value) if name == "size" => size = Some(whole_number("$sample's size", value)?),
            (name, _) => {
                return Err(invalid(&format!("unrecognized option to $sample: {name}")));
            }
        }
    }
    size.filter(|size| *size > 0)
        .ok_or_else(|| invalid("$sample stage must specify a size above 0"))
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

pub(super) fn add_fields(document: Document, fields: &[(String, Expression)]) -> Result<Document> {
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
pub(super) fn remove_at(document: &mut Document, path: &str) {
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

pub(super) fn replace_root(document: &Document, root: &Expression) -> Result<Document> {
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
