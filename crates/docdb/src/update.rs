//! Updates: a new document, operators, or a pipeline, applied to one document.
//!
//! Source: the update operators of the MongoDB manual. Operators that are not here, and the
//! positional ones, are refused by name when the update is parsed.

mod arrays;
mod places;

use bson::raw::RawDocument;
use bson::{Bson, Document, RawBsonRef};

use crate::aggregate::Pipeline;
use crate::error::{Code, CommandError, Result};
use crate::expression::{arithmetic_error, value_key};
use crate::filter::{Comparison, Filter, Test};
use crate::number::{Arithmetic, compute};

use places::{get, place};

/// How a document changes.
#[derive(Debug, Clone)]
pub(crate) enum Update {
    Replacement(Document),
    Operators(Vec<Change>),
    Pipeline(Pipeline),
}

/// One operator on one path.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    operator: Operator,
    path: Vec<String>,
    argument: Bson,
}

macro_rules! operators {
    ($($variant:ident = $name:literal;)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum Operator {$($variant,)*}

        impl Operator {
            fn parse(name: &str) -> Option<Self> {
                match name {$($name => Some(Self::$variant),)* _ => None}
            }

            fn as_str(self) -> &'static str {
                match self {$(Self::$variant => $name,)*}
            }
        }
    };
}

operators! {
    Set = "$set";
    SetOnInsert = "$setOnInsert";
    Unset = "$unset";
    Inc = "$inc";
    Mul = "$mul";
    Min = "$min";
    Max = "$max";
    Rename = "$rename";
    CurrentDate = "$currentDate";
    Push = "$push";
    AddToSet = "$addToSet";
    Pull = "$pull";
    PullAll = "$pullAll";
    Pop = "$pop";
}

/// What an update may depend on besides the document.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UpdateContext {
    pub(crate) now: bson::DateTime,
    /// Whether the document is being made by an upsert.
    pub(crate) is_insert: bool,
}

/// Reads the `u` of an update statement.
pub(crate) fn parse_update(value: RawBsonRef<'_>) -> Result<Update> {
    match value {
        RawBsonRef::Array(stages) => Ok(Update::Pipeline(Pipeline::parse_for_update(stages)?)),
        RawBsonRef::Document(document) => parse_update_document(document),
        _ => Err(CommandError::new(Code::FailedToParse, "an update is a document or a pipeline")),
    }
}

fn parse_update_document(document: &RawDocument) -> Result<Update> {
    let first = document.into_iter().next().transpose()?;
    if !first.is_some_and(|(name, _)| name.as_str().starts_with('$')) {
        let replacement = Document::try_from(document)?;
        return match replacement.keys().find(|name| name.starts_with('$')) {
            Some(name) => Err(CommandError::new(
                Code::DollarPrefixedFieldName,
                format!("The dollar ($) prefixed field '{name}' is not allowed in a replacement"),
            )),
            None => Ok(Update::Replacement(replacement)),
        };
    }
    let mut changes = Vec::new();
    for element in document {
        let (name, arguments) = element?;
        let operator = Operator::parse(name.as_str()).ok_or_else(|| {
            let text = format!("Unknown modifier: {}. Expected an update modifier that the embedded engine supports", name.as_str());
            CommandError::new(Code::FailedToParse, text)
        })?;
        let arguments = arguments.as_document().ok_or_else(|| {
            let text = format!("Modifiers operate on fields but {} has no document", name.as_str());
            CommandError::new(Code::FailedToParse, text)
        })?;
        for argument in arguments {
            let (path, argument) = argument?;
            changes.push(Change {
                operator,
                path: parse_path(path.as_str())?,
                argument: argument.try_into()?,
            });
        }
    }
    check_conflicts(&changes)?;
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Update::Operators(changes))
}

fn parse_path(text: &str) -> Result<Vec<String>> {
    crate::depth::check_path(text)?;
    let path: Vec<String> = text.split('.').map(str::to_owned).collect();
    if path.iter().any(String::is_empty) {
        let message = format!("The update path '{text}' contains an empty field name");
        return Err(CommandError::new(Code::FailedToParse, message));
    }
    match path.iter().find(|part| part.starts_with('$')) {
        Some(part) => Err(CommandError::unsupported(format!("the positional operator {part}"))),
        None => Ok(path),
    }
}

fn check_conflicts(changes: &[Change]) -> Result<()> {
    let mut paths: Vec<Vec<String>> = Vec::new();
    for change in changes {
        paths.push(change.path.clone());
        if change.operator == Operator::Rename {
            paths.push(rename_target(change)?);
        }
    }
    paths.sort();
    let conflict = paths.iter().zip(paths.iter().skip(1)).find(|(a, b)| b.starts_with(a));
    match conflict {
        Some((path, _)) => Err(CommandError::new(
            Code::ConflictingUpdateOperators,
            format!("Updating the path '{0}' would create a conflict at '{0}'", path.join(".")),
        )),
        None => Ok(()),
    }
}

fn rename_target(change: &Change) -> Result<Vec<String>> {
    let target = change.argument.as_str().ok_or_else(|| {
        CommandError::new(Code::BadValue, "The 'to' field for $rename must be a string")
    })?;
    parse_path(target)
}

impl Update {
    /// The document after the update; its `_id` stays.
    pub(crate) fn apply(&self, before: &Document, context: UpdateContext) -> Result<Document> {
        let mut after = match self {
            Self::Replacement(replacement) => {
                let mut after = Document::new();
                if let (Some(id), false) = (before.get("_id"), replacement.contains_key("_id")) {
                    after.insert("_id", id);
                }
                after.extend(replacement.clone());
                after
            }
            Self::Operators(changes) => {
                let mut after = before.clone();
                for change in changes {
                    change.apply(&mut after, context)?;
                }
                after
            }
            Self::Pipeline(pipeline) => pipeline.apply_to_one(before.clone())?,
        };
        keep_id(before, &mut after)?;
        Ok(after)
    }

    /// The document that an upsert inserts: what the filter says, then the update.
    pub(crate) fn upsert(&self, filter: &Filter, context: UpdateContext) -> Result<Document> {
        let mut seed = Document::new();
        for (path, test) in filter.conjuncts() {
            if let Test::Compare(Comparison::Equal, operand) = test {
                let path = parse_path(&path.to_string())?;
                let is_id = path.first().is_some_and(|name| name == "_id");
                if is_id || !matches!(self, Self::Replacement(_)) {
                    set(&mut seed, &path, operand.value.clone().try_into()?)?;
                }
            }
        }
        let context = UpdateContext { is_insert: true, ..context };
        let mut document = self.apply(&seed, context)?;
        let id =
            document.remove("_id").unwrap_or_else(|| Bson::ObjectId(bson::oid::ObjectId::new()));
        let mut ordered = bson::doc! { "_id": id };
        ordered.extend(document);
        Ok(ordered)
    }
}

/// Refuses another `_id`, and puts the one that stays first.
fn keep_id(before: &Document, after: &mut Document) -> Result<()> {
    let Some(id) = before.get("_id") else { return Ok(()) };
    let new = after.get("_id").unwrap_or(id).clone();
    if value_key(Some(&new))? != value_key(Some(id))? {
        return Err(immutable_id());
    }
    if after.keys().next().is_none_or(|first| first != "_id") {
        let mut rest = std::mem::take(after);
        rest.remove("_id");
        after.insert("_id", new);
        after.extend(rest);
    }
    Ok(())
}

fn immutable_id() -> CommandError {
    CommandError::new(
        Code::ImmutableField,
        "Performing an update on the path '_id' would modify the immutable field '_id'",
    )
}

impl Change {
    fn apply(&self, document: &mut Document, context: UpdateContext) -> Result<()> {
        match self.operator {
            Operator::SetOnInsert if !context.is_insert => Ok(()),
            Operator::Set | Operator::SetOnInsert => {
                set(document, &self.path, self.argument.clone())
            }
            Operator::Unset | Operator::Rename if self.path.first().is_some_and(|f| f == "_id") => {
                Err(immutable_id())
            }
            Operator::Unset => {
                unset(document, &self.path);
                Ok(())
            }
            Operator::Inc => self.compute(document, Arithmetic::Add),
            Operator::Mul => self.compute(document, Arithmetic::Multiply),
            Operator::Min | Operator::Max => self.keep_extreme(document),
            Operator::Rename => self.rename(document),
            Operator::CurrentDate => set(document, &self.path, self.current_date(context)?),
            Operator::Push => arrays::push(document, &self.path, &self.argument),
            Operator::AddToSet => arrays::add_to_set(document, &self.path, &self.argument),
            Operator::Pull => arrays::pull(document, &self.path, &self.argument),
            Operator::PullAll => arrays::pull_all(document, &self.path, &self.argument),
            Operator::Pop => arrays::pop(document, &self.path, &self.argument),
        }
    }

    fn compute(&self, document: &mut Document, operation: Arithmetic) -> Result<()> {
        let result = match get(document, &self.path) {
            Some(value) => compute(operation, value, &self.argument),
            // A missing field counts as zero, of the argument's type.
            None if operation == Arithmetic::Add => match &self.argument {
                number @ (Bson::Int32(_)
                | Bson::Int64(_)
                | Bson::Double(_)
                | Bson::Decimal128(_)) => Ok(number.clone()),
                other => compute(operation, other, &Bson::Int32(0)),
            },
            None => compute(operation, &self.argument, &Bson::Int32(0)),
        };
        let result = result.map_err(|error| arithmetic_error(&error, self.operator.as_str()))?;
        set(document, &self.path, result)
    }

    fn keep_extreme(&self, document: &mut Document) -> Result<()> {
        let replaces = match get(document, &self.path) {
            None => true,
            Some(present) => {
                let order = value_key(Some(&self.argument))?.cmp(&value_key(Some(present))?);
                if self.operator == Operator::Min { order.is_lt() } else { order.is_gt() }
            }
        };
        if replaces { set(document, &self.path, self.argument.clone()) } else { Ok(()) }
    }

    fn rename(&self, document: &mut Document) -> Result<()> {
        let target = rename_target(self)?;
        for (end, path) in [("source", &self.path), ("destination", &target)] {
            if let Some(array) = array_on_the_way(document, path) {
                let text = format!(
                    "The {end} field cannot be an array element, '{}' has an array field called '{array}'",
                    path.join(".")
                );
                return Err(CommandError::new(Code::BadValue, text));
            }
        }
        match unset(document, &self.path) {
            Some(value) => {
                unset(document, &target);
                set(document, &target, value)
            }
            None => Ok(()),
        }
    }

    fn current_date(&self, context: UpdateContext) -> Result<Bson> {
        let kind = match &self.argument {
            Bson::Boolean(_) => "date",
            Bson::Document(document) => document.get_str("$type").unwrap_or_default(),
            _ => "",
        };
        match kind {
            "date" => Ok(Bson::DateTime(context.now)),
            "timestamp" => {
                let seconds = context.now.timestamp_millis() / 1000;
                let time = u32::try_from(seconds).unwrap_or(u32::MAX);
                Ok(Bson::Timestamp(bson::Timestamp { time, increment: 1 }))
            }
            _ => Err(CommandError::new(
                Code::BadValue,
                "$currentDate takes true, {$type: 'date'} or {$type: 'timestamp'}",
            )),
        }
    }
}

/// The name of the array that a path leads through, if there is one.
fn array_on_the_way<'p>(document: &Document, path: &'p [String]) -> Option<&'p str> {
    let (name, rest) = path.split_first()?;
    match document.get(name)? {
        Bson::Array(_) if !rest.is_empty() => Some(name),
        Bson::Document(nested) => array_on_the_way(nested, rest),
        _ => None,
    }
}

fn set(document: &mut Document, path: &[String], value: Bson) -> Result<()> {
    *place(document, path)? = value;
    Ok(())
}

fn unset(document: &mut Document, path: &[String]) -> Option<Bson> {
    let (name, rest) = path.split_first()?;
    if rest.is_empty() {
        return document.remove(name);
    }
    unset_in(document.get_mut(name)?, rest)
}

fn unset_in(value: &mut Bson, path: &[String]) -> Option<Bson> {
    let (name, rest) = path.split_first()?;
    match value {
        Bson::Document(nested) => unset(nested, path),
        Bson::Array(items) => {
            let item = items.get_mut(name.parse::<usize>().ok()?)?;
            if rest.is_empty() {
                Some(std::mem::replace(item, Bson::Null))
            } else {
                unset_in(item, rest)
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;
    use crate::filter::parse_filter;

    const CONTEXT: UpdateContext =
        UpdateContext { now: bson::DateTime::from_millis(5_000), is_insert: false };

    fn parse(update: &Document) -> Result<Update> {
        let bytes = update.to_vec().unwrap();
        parse_update(RawBsonRef::Document(RawDocument::from_bytes(&bytes).unwrap()))
    }

    fn apply(before: &Document, update: &Document) -> Result<Document> {
        parse(update)?.apply(before, CONTEXT)
    }

    #[test]
    fn each_operator_does_what_its_name_says() {
        let cases = [
            (doc! { "a": 1 }, doc! { "$set": { "b.c": 2 } }, doc! { "a": 1, "b": { "c": 2 } }),
            (doc! { "a": [1, 2] }, doc! { "$set": { "a.1": 9 } }, doc! { "a": [1, 9] }),
            (doc! { "a": 1, "b": 2 }, doc! { "$unset": { "a": "" } }, doc! { "b": 2 }),
            (doc! { "a": 1 }, doc! { "$inc": { "a": 2, "b": 5 } }, doc! { "a": 3, "b": 5 }),
            (doc! { "a": 3 }, doc! { "$mul": { "a": 2, "b": 5 } }, doc! { "a": 6, "b": 0 }),
            (doc! { "a": 3 }, doc! { "$min": { "a": 2 } }, doc! { "a": 2 }),
            (doc! { "a": 3 }, doc! { "$max": { "a": 2 } }, doc! { "a": 3 }),
            (doc! { "a": 3 }, doc! { "$rename": { "a": "b" } }, doc! { "b": 3 }),
            (doc! { "a": [1] }, doc! { "$push": { "a": 2 } }, doc! { "a": [1, 2] }),
            (
                doc! {},
                doc! { "$push": { "a": { "$each": [3, 1, 2], "$sort": 1, "$slice": 2 } } },
                doc! { "a": [1, 2] },
            ),
            (
                doc! { "a": [1] },
                doc! { "$push": { "a": { "$each": [0], "$position": 0 } } },
                doc! { "a": [0, 1] },
            ),
            (
                doc! { "a": [1] },
                doc! { "$addToSet": { "a": { "$each": [1, 2] } } },
                doc! { "a": [1, 2] },
            ),
            (doc! { "a": [1, 5, 3] }, doc! { "$pull": { "a": { "$gt": 2 } } }, doc! { "a": [1] }),
            (
                doc! { "a": [{ "b": 1 }, { "b": 2 }] },
                doc! { "$pull": { "a": { "b": 1 } } },
                doc! { "a": [{ "b": 2 }] },
            ),
            (doc! { "a": [1, 2, 1] }, doc! { "$pullAll": { "a": [1] } }, doc! { "a": [2] }),
            (doc! { "a": [1, 2] }, doc! { "$pop": { "a": -1 } }, doc! { "a": [2] }),
            (doc! {}, doc! { "$setOnInsert": { "a": 1 } }, doc! {}),
            (
                doc! {},
                doc! { "$currentDate": { "a": true } },
                doc! { "a": bson::DateTime::from_millis(5_000) },
            ),
        ];
        for (before, update, after) in cases {
            assert_eq!(apply(&before, &update).unwrap(), after, "{update}");
        }
    }

    #[test]
    fn the_id_never_changes() {
        let error = apply(&doc! { "_id": 1 }, &doc! { "$set": { "_id": 2 } }).unwrap_err();
        assert_eq!(error.code, Code::ImmutableField);
        assert_eq!(
            apply(&doc! { "_id": 1, "a": 1 }, &doc! { "b": 2 }).unwrap(),
            doc! { "_id": 1, "b": 2 }
        );
    }

    #[test]
    fn the_id_stays_first() {
        let after = apply(&doc! { "_id": 1 }, &doc! { "a": 1, "_id": 1 }).unwrap();
        assert_eq!(after.keys().collect::<Vec<_>>(), ["_id", "a"]);
    }

    #[test]
    fn conflicting_and_unknown_operators_are_refused() {
        let code = |update: Document| parse(&update).unwrap_err().code;
        assert_eq!(
            code(doc! { "$set": { "a": 1 }, "$inc": { "a.b": 1 } }),
            Code::ConflictingUpdateOperators
        );
        assert_eq!(code(doc! { "$bogus": { "a": 1 } }), Code::FailedToParse);
        assert_eq!(code(doc! { "$set": { "a.$": 1 } }), Code::CommandNotSupported);
        let error = apply(&doc! { "a": 5 }, &doc! { "$set": { "a.b": 1 } }).unwrap_err();
        assert_eq!(error.code, Code::PathNotViable);
    }

    #[test]
    fn an_upsert_starts_from_the_equalities_of_its_filter() {
        let filter = doc! { "_id": 7, "a.b": 1, "c": { "$gt": 5 } }.to_vec().unwrap();
        let filter = parse_filter(RawDocument::from_bytes(&filter).unwrap()).unwrap();
        let update = parse(&doc! { "$set": { "d": 1 }, "$setOnInsert": { "e": 2 } }).unwrap();
        let document = update.upsert(&filter, CONTEXT).unwrap();
        assert_eq!(document, doc! { "_id": 7, "a": { "b": 1 }, "d": 1, "e": 2 });
    }
}
