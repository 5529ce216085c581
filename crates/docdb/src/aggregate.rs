//! Aggregation pipelines: the stages listed in `Stage`, each document passed on as it comes.
//!
//! Only `$sort` and `$group` hold documents; what is too much for memory goes to unnamed files.

mod flow;
mod group;
mod stage;

use std::path::Path;

use bson::Document;
use bson::raw::RawArray;

use crate::error::{Code, CommandError, Result};
use crate::filter::Filter;

use flow::{Flow, Sink};
use stage::{Stage, parse_stage};

/// More stages are refused, as the server does.
const MOST_STAGES: usize = 1_000;

/// A parsed pipeline.
#[derive(Debug, Clone)]
pub(crate) struct Pipeline(Vec<Stage>);

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

#[cfg(test)]
mod tests {
    use bson::raw::RawDocument;
    use bson::{Bson, doc};

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
