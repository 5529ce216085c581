//! The update operators that change arrays.

use std::collections::HashSet;

use bson::raw::RawDocument;
use bson::{Bson, Document, RawBson};

use super::places::{get, place};
use crate::error::{Code, CommandError, Result};
use crate::expression::value_key;
use crate::filter::{Filter, Test, parse_filter, parse_tests};
use crate::number::as_integer;

/// The array at a path, made if it is missing.
fn array_at<'a>(
    document: &'a mut Document,
    path: &[String],
    operator: &str,
) -> Result<&'a mut Vec<Bson>> {
    let place = place(document, path)?;
    if matches!(place, Bson::Undefined) {
        *place = Bson::Array(Vec::new());
    }
    match place {
        Bson::Array(items) => Ok(items),
        _ => Err(CommandError::new(
            Code::BadValue,
            format!("The field '{}' must be an array for {operator}", path.join(".")),
        )),
    }
}

/// The array at a path that exists; nothing to do where there is none.
fn existing_array<'a>(
    document: &'a mut Document,
    path: &[String],
    operator: &str,
) -> Result<Option<&'a mut Vec<Bson>>> {
    if get(document, path).is_none() {
        Ok(None)
    } else {
        array_at(document, path, operator).map(Some)
    }
}

fn integer(value: &Bson, name: &str) -> Result<i64> {
    let raw = RawBson::try_from(value.clone())?;
    as_integer(raw.as_raw_bson_ref()).ok_or_else(|| {
        CommandError::new(Code::BadValue, format!("The value for {name} must be an integer"))
    })
}

/// The items of `{$each: […], …}` and the modifiers beside them, or the one item itself.
fn each(argument: &Bson) -> Result<(Vec<Bson>, Document)> {
    match argument {
        Bson::Document(modifiers) if modifiers.contains_key("$each") => {
            let mut modifiers = modifiers.clone();
            match modifiers.remove("$each") {
                Some(Bson::Array(items)) => Ok((items, modifiers)),
                _ => {
                    Err(CommandError::new(Code::BadValue, "The argument to $each must be an array"))
                }
            }
        }
        item => Ok((vec![item.clone()], Document::new())),
    }
}

pub(super) fn push(document: &mut Document, path: &[String], argument: &Bson) -> Result<()> {
    let (items, modifiers) = each(argument)?;
    if let Some(name) =
        modifiers.keys().find(|name| !["$position", "$slice", "$sort"].contains(&name.as_str()))
    {
        return Err(CommandError::new(
            Code::BadValue,
            format!("Unrecognized clause in $push: {name}"),
        ));
    }
    let array = array_at(document, path, "$push")?;
    let at = match modifiers.get("$position") {
        Some(position) => offset(integer(position, "$position")?, array.len()),
        None => array.len(),
    };
    array.splice(at..at, items);
    if let Some(order) = modifiers.get("$sort") {
        sort(array, order)?;
    }
    if let Some(slice) = modifiers.get("$slice") {
        let slice = integer(slice, "$slice")?;
        if slice >= 0 {
            array.truncate(usize::try_from(slice).unwrap_or(usize::MAX));
        } else {
            array.drain(..offset(slice, array.len()));
        }
    }
    Ok(())
}

/// An index that counts from the end when it is negative, kept within the array.
fn offset(position: i64, length: usize) -> usize {
    let distance = usize::try_from(position.unsigned_abs()).unwrap_or(usize::MAX);
    if position >= 0 { distance.min(length) } else { length.saturating_sub(distance) }
}

fn sort(array: &mut [Bson], order: &Bson) -> Result<()> {
    let descends = |direction: &Bson| match integer(direction, "$sort")? {
        1 => Ok(false),
        -1 => Ok(true),
        _ => {
            Err(CommandError::new(Code::BadValue, "The $sort element value must be either 1 or -1"))
        }
    };
    let keys: Vec<(Option<String>, bool)> = match order {
        Bson::Document(fields) => fields
            .iter()
            .map(|(name, direction)| Ok((Some(name.clone()), descends(direction)?)))
            .collect::<Result<_>>()?,
        direction => vec![(None, descends(direction)?)],
    };
    let mut failure = None;
    array.sort_by_cached_key(|item| {
        let key = sort_key(item, &keys);
        key.unwrap_or_else(|error| {
            failure = Some(error);
            Vec::new()
        })
    });
    failure.map_or(Ok(()), Err)
}

fn sort_key(item: &Bson, keys: &[(Option<String>, bool)]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for (name, descending) in keys {
        let value = match (name, item) {
            (None, item) => Some(item),
            (Some(name), Bson::Document(fields)) => {
                let path: Vec<String> = name.split('.').map(str::to_owned).collect();
                get(fields, &path)
            }
            (Some(_), _) => None,
        };
        let key = value_key(Some(value.unwrap_or(&Bson::Null)))?;
        out.extend(key.into_iter().map(|byte| if *descending { !byte } else { byte }));
    }
    Ok(out)
}

pub(super) fn add_to_set(document: &mut Document, path: &[String], argument: &Bson) -> Result<()> {
    let (items, modifiers) = each(argument)?;
    if let Some(name) = modifiers.keys().next() {
        return Err(CommandError::new(
            Code::BadValue,
            format!("Found unexpected fields after $each in $addToSet: {name}"),
        ));
    }
    let array = array_at(document, path, "$addToSet")?;
    let mut present: HashSet<Vec<u8>> =
        array.iter().map(|item| value_key(Some(item))).collect::<Result<_>>()?;
    for item in items {
        if present.insert(value_key(Some(&item))?) {
            array.push(item);
        }
    }
    Ok(())
}

pub(super) fn pull(document: &mut Document, path: &[String], argument: &Bson) -> Result<()> {
    let Some(array) = existing_array(document, path, "$pull")? else {
        return Ok(());
    };
    let pulled = Pulled::parse(argument)?;
    let mut failure = None;
    array.retain(|item| {
        !pulled.covers(item).unwrap_or_else(|error| {
            failure = Some(error);
            false
        })
    });
    failure.map_or(Ok(()), Err)
}

/// What `$pull` takes out.
enum Pulled {
    /// Documents that fulfil a filter.
    Documents(Filter),
    /// Values that fulfil the condition of a field `v`, which looks into arrays.
    Values(Filter),
    /// A value itself: an array is not looked into.
    Literal(Vec<Test>),
}

impl Pulled {
    fn parse(argument: &Bson) -> Result<Self> {
        let is_logical = |name: &String| ["$and", "$or", "$nor", "$expr"].contains(&name.as_str());
        if let Bson::Document(condition) = argument
            && condition.keys().next().is_none_or(|name| !name.starts_with('$') || is_logical(name))
        {
            let bytes = condition.to_vec()?;
            return Ok(Self::Documents(parse_filter(RawDocument::from_bytes(&bytes)?)?));
        }
        if matches!(argument, Bson::Document(_) | Bson::RegularExpression(_)) {
            let bytes = bson::doc! { "v": argument }.to_vec()?;
            return Ok(Self::Values(parse_filter(RawDocument::from_bytes(&bytes)?)?));
        }
        let raw = RawBson::try_from(argument.clone())?;
        Ok(Self::Literal(parse_tests(raw.as_raw_bson_ref())?))
    }

    fn covers(&self, item: &Bson) -> Result<bool> {
        match (self, item) {
            (Self::Documents(filter), Bson::Document(fields)) => {
                filter.matches(RawDocument::from_bytes(&fields.to_vec()?)?)
            }
            (Self::Documents(_), _) => Ok(false),
            (Self::Values(filter), item) => {
                filter.matches(RawDocument::from_bytes(&bson::doc! { "v": item }.to_vec()?)?)
            }
            (Self::Literal(tests), item) => {
                let raw = RawBson::try_from(item.clone())?;
                Ok(tests.iter().all(|test| test.holds_for(Some(raw.as_raw_bson_ref()))))
            }
        }
    }
}

pub(super) fn pull_all(document: &mut Document, path: &[String], argument: &Bson) -> Result<()> {
    let Bson::Array(unwanted) = argument else {
        return Err(CommandError::new(Code::BadValue, "$pullAll requires an array argument"));
    };
    let Some(array) = existing_array(document, path, "$pullAll")? else {
        return Ok(());
    };
    let unwanted: HashSet<Vec<u8>> =
        unwanted.iter().map(|item| value_key(Some(item))).collect::<Result<_>>()?;
    let keys: Vec<Vec<u8>> =
        array.iter().map(|item| value_key(Some(item))).collect::<Result<_>>()?;
    let mut keys = keys.into_iter();
    array.retain(|_| keys.next().is_none_or(|key| !unwanted.contains(&key)));
    Ok(())
}

pub(super) fn pop(document: &mut Document, path: &[String], argument: &Bson) -> Result<()> {
    let end = integer(argument, "$pop")?;
    let Some(array) = existing_array(document, path, "$pop")? else {
        return Ok(());
    };
    match end {
        1 => drop(array.pop()),
        -1 if array.is_empty() => {}
        -1 => drop(array.remove(0)),
        _ => {
            return Err(CommandError::new(Code::FailedToParse, "$pop expects 1 or -1"));
        }
    }
    Ok(())
}
