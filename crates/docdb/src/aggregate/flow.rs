//! A pipeline at work: one state for each stage, documents pushed from stage to stage.

use std::path::Path;

use bson::raw::RawDocument;
use bson::{Bson, Document};
use tidemark_model::random_bytes;

use super::group::{Group, Groups};
use super::stage::{Stage, Unwind, add_fields, remove_at, replace_root};
use crate::error::Result;
use crate::operation;
use crate::projection::insert_at;
use crate::sort::SortOrder;
use crate::sorter::Sorter;

/// Takes the documents that come out of a pipeline.
pub(super) type Sink<'s> = dyn FnMut(Document) -> Result<()> + 's;

/// The stages of a pipeline with what they hold.
pub(super) struct Flow<'p> {
    steps: Vec<Step<'p>>,
    folder: &'p Path,
}

enum Step<'p> {
    /// Passes each document on, changed or not.
    Each(&'p Stage),
    Unwind(&'p Unwind),
    Limit {
        left: usize,
    },
    Skip {
        left: usize,
    },
    Group(&'p Group, Groups),
    SortByCount(&'p Group, Groups),
    Sort(&'p SortOrder, Sorter),
    Count(&'p str, u64),
    /// So many documents, each with a key by chance of which the first are kept.
    Sample(usize, Sorter),
}

/// A sample drops what is certain to be left out when it holds this many times what is wanted, and
/// not before it holds so many.
const SAMPLE_SLACK: usize = 2;
const SMALLEST_SLACK: usize = 1_000;

impl<'p> Step<'p> {
    fn new(stage: &'p Stage, folder: &Path) -> Self {
        match stage {
            Stage::Unwind(unwind) => Self::Unwind(unwind),
            Stage::Limit(limit) => Self::Limit { left: *limit },
            Stage::Skip(skip) => Self::Skip { left: *skip },
            Stage::Group(group) => Self::Group(group, Groups::new(folder)),
            Stage::SortByCount(group) => Self::SortByCount(group, Groups::new(folder)),
            Stage::Sort(order) => Self::Sort(order, Sorter::new(folder)),
            Stage::Count(field) => Self::Count(field, 0),
            Stage::Sample(size) => Self::Sample(*size, Sorter::new(folder)),
            stage => Self::Each(stage),
        }
    }
}

impl<'p> Flow<'p> {
    pub(super) fn new(stages: &'p [Stage], folder: &'p Path) -> Self {
        Self { steps: stages.iter().map(|stage| Step::new(stage, folder)).collect(), folder }
    }

    /// Takes a document; `false` when no more is needed.
    pub(super) fn push(&mut self, document: Document, sink: &mut Sink<'_>) -> Result<bool> {
        push(&mut self.steps, document, sink)
    }

    /// Lets go of what the stages hold.
    pub(super) fn finish(mut self, sink: &mut Sink<'_>) -> Result<()> {
        let mut steps = self.steps.as_mut_slice();
        while let Some((step, rest)) = steps.split_first_mut() {
            release(step, rest, self.folder, sink)?;
            steps = rest;
        }
        Ok(())
    }
}

fn push(steps: &mut [Step<'_>], document: Document, sink: &mut Sink<'_>) -> Result<bool> {
    operation::check()?;
    let Some((step, rest)) = steps.split_first_mut() else {
        return sink(document).map(|()| true);
    };
    match step {
        Step::Each(stage) => match pass(stage, document)? {
            Some(document) => push(rest, document, sink),
            None => Ok(true),
        },
        Step::Unwind(unwind) => push_elements(unwind, document, rest, sink),
        Step::Limit { left: 0 } => Ok(false),
        Step::Limit { left } => {
            *left -= 1;
            let is_last = *left == 0;
            Ok(push(rest, document, sink)? && !is_last)
        }
        Step::Skip { left: 0 } => push(rest, document, sink),
        Step::Skip { left } => {
            *left -= 1;
            Ok(true)
        }
        Step::Group(group, groups) | Step::SortByCount(group, groups) => {
            group.add(groups, &document).map(|()| true)
        }
        Step::Sort(order, sorter) => {
            let bytes = document.to_vec()?;
            sorter.push(&order.key(RawDocument::from_bytes(&bytes)?)?, &bytes)?;
            Ok(true)
        }
        Step::Count(_, count) => {
            *count += 1;
            Ok(true)
        }
        Step::Sample(size, sorter) => {
            sorter.push(&random_bytes::<8>(), &document.to_vec()?)?;
            if sorter.held() >= size.saturating_mul(SAMPLE_SLACK).max(SMALLEST_SLACK) {
                sorter.keep_first(*size);
            }
            Ok(true)
        }
    }
}

/// What a stage makes of one document; `None` if it goes no further.
fn pass(stage: &Stage, document: Document) -> Result<Option<Document>> {
    match stage {
        Stage::Match(filter) => {
            let bytes = document.to_vec()?;
            Ok(filter.matches(RawDocument::from_bytes(&bytes)?)?.then_some(document))
        }
        Stage::Project(Some(projection)) => {
            let projected = projection.apply(&document)?;
            crate::depth::check_result(&projected)?;
            Ok(Some(projected))
        }
        Stage::AddFields(fields) => add_fields(document, fields).map(Some),
        Stage::ReplaceRoot(root) => replace_root(&document, root).map(Some),
        _ => Ok(Some(document)),
    }
}

/// The value at a path that leads through documents only.
fn value_at<'d>(document: &'d mut Document, path: &[String]) -> Option<&'d mut Bson> {
    let (name, rest) = path.split_first()?;
    let value = document.get_mut(name)?;
    if rest.is_empty() {
        return Some(value);
    }
    match value {
        Bson::Document(nested) => value_at(nested, rest),
        _ => None,
    }
}

fn push_elements(
    unwind: &Unwind,
    mut document: Document,
    rest: &mut [Step<'_>],
    sink: &mut Sink<'_>,
) -> Result<bool> {
    let with_index = |mut document: Document, index: Bson| {
        if let Some(field) = &unwind.index_field {
            insert_at(&mut document, field, index);
        }
        document
    };
    // The array leaves the document, so that it is not copied for each of its elements.
    let found = value_at(&mut document, &unwind.path).map(|value| match value {
        Bson::Array(items) => Bson::Array(std::mem::take(items)),
        other => other.clone(),
    });
    match found {
        Some(Bson::Array(items)) if !items.is_empty() => {
            for (index, item) in (0i64..).zip(items) {
                let mut one = document.clone();
                if let Some(place) = value_at(&mut one, &unwind.path) {
                    *place = item;
                }
                if !push(rest, with_index(one, Bson::Int64(index)), sink)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        None | Some(Bson::Null | Bson::Undefined | Bson::Array(_)) => {
            if !unwind.keeps_empty {
                return Ok(true);
            }
            if matches!(found, Some(Bson::Array(_))) {
                remove_at(&mut document, &unwind.path.join("."));
            }
            push(rest, with_index(document, Bson::Null), sink)
        }
        Some(_) => push(rest, with_index(document, Bson::Null), sink),
    }
}

/// Passes on what a stage holds, now that nothing more comes into it.
fn release(
    step: &mut Step<'_>,
    rest: &mut [Step<'_>],
    folder: &Path,
    sink: &mut Sink<'_>,
) -> Result<()> {
    match step {
        Step::Group(group, groups) => {
            let groups = std::mem::replace(groups, Groups::new(folder));
            group.results(groups, &mut |document| push(rest, document, sink))
        }
        Step::SortByCount(group, groups) => {
            let groups = std::mem::replace(groups, Groups::new(folder));
            let mut sorter = Sorter::new(folder);
            group.results(groups, &mut |document| {
                let count = document.get_i32("count").map_or(0, i64::from);
                let count = document.get_i64("count").unwrap_or(count).cast_unsigned();
                sorter.push(&(u64::MAX - count).to_be_bytes(), &document.to_vec()?)?;
                Ok(true)
            })?;
            release_sorted(sorter, rest, sink)
        }
        Step::Sort(_, sorter) => {
            let sorter = std::mem::replace(sorter, Sorter::new(folder));
            release_sorted(sorter, rest, sink)
        }
        Step::Sample(size, sorter) => {
            let sorter = std::mem::replace(sorter, Sorter::new(folder));
            let mut left = *size;
            release_some(sorter, |document| {
                left -= 1;
                Ok(push(rest, document, sink)? && left > 0)
            })
        }
        Step::Count(field, count) if *count > 0 => {
            let count = i32::try_from(*count).map_or_else(
                |_| Bson::Int64(i64::try_from(*count).unwrap_or(i64::MAX)),
                Bson::Int32,
            );
            push(rest, bson::doc! { *field: count }, sink).map(drop)
        }
        _ => Ok(()),
    }
}

fn release_sorted(sorter: Sorter, rest: &mut [Step<'_>], sink: &mut Sink<'_>) -> Result<()> {
    release_some(sorter, |document| push(rest, document, sink))
}

/// Passes on what is sorted, until no more is wanted.
fn release_some(sorter: Sorter, mut pass: impl FnMut(Document) -> Result<bool>) -> Result<()> {
    let mut sorted = sorter.finish()?;
    while let Some((_, bytes)) = sorted.next()? {
        if !pass(Document::try_from(RawDocument::from_bytes(&bytes)?)?)? {
            return Ok(());
        }
    }
    Ok(())
}
