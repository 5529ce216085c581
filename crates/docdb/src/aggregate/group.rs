//! The `$group` stage and its accumulators.

use std::collections::HashMap;

use bson::raw::RawDocument;
use bson::{Bson, Document};

use super::group_key;
use crate::error::{Code, CommandError, Result};
use crate::expression::{Expression, arithmetic_error, value_key};
use crate::number::{Arithmetic, ArithmeticError, as_double, compute};

/// A parsed `$group`.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    id: Expression,
    fields: Vec<(String, Accumulator, Expression)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Accumulator {
    Sum,
    Avg,
    Min,
    Max,
    First,
    Last,
    Push,
    AddToSet,
}

impl Accumulator {
    fn parse(name: &str) -> Result<Self> {
        Ok(match name {
            "$sum" => Self::Sum,
            "$avg" => Self::Avg,
            "$min" => Self::Min,
            "$max" => Self::Max,
            "$first" => Self::First,
            "$last" => Self::Last,
            "$push" => Self::Push,
            "$addToSet" => Self::AddToSet,
            _ => {
                let text = format!(
                    "unknown group operator '{name}', or one that the embedded engine does not support"
                );
                return Err(CommandError::new(Code::BadValue, text));
            }
        })
    }
}

impl Group {
    pub(super) fn parse(document: &RawDocument) -> Result<Self> {
        let mut id = None;
        let mut fields = Vec::new();
        for field in document {
            let (name, value) = field?;
            if name.as_str() == "_id" {
                id = Some(Expression::parse(value)?);
                continue;
            }
            let invalid = || {
                let text = format!("The field '{}' must be an accumulator object", name.as_str());
                CommandError::new(Code::BadValue, text)
            };
            let mut operators = value.as_document().ok_or_else(invalid)?.into_iter();
            let (operator, argument) = operators.next().ok_or_else(invalid)??;
            let accumulator = Accumulator::parse(operator.as_str())?;
            fields.push((name.as_str().to_owned(), accumulator, Expression::parse(argument)?));
        }
        let id = id.ok_or_else(|| {
            CommandError::new(Code::BadValue, "a group specification must include an _id")
        })?;
        Ok(Self { id, fields })
    }

    #[expect(clippy::unnecessary_wraps, reason = "beside parse in one match")]
    pub(super) fn count_by(id: Expression) -> Result<Self> {
        let one = Expression::Literal(Bson::Int32(1));
        Ok(Self { id, fields: vec![("count".to_owned(), Accumulator::Sum, one)] })
    }

    /// The groups, in the order of their first documents.
    pub(super) fn run(&self, documents: &[Document]) -> Result<Vec<Document>> {
        let mut groups = Groups::default();
        for document in documents {
            self.add(&mut groups, document)?;
        }
        Ok(self.results(groups))
    }

    /// Puts a document into its group.
    pub(super) fn add(&self, groups: &mut Groups, document: &Document) -> Result<()> {
        let id = self.id.evaluate(document)?;
        let Groups { positions, found } = groups;
        let position = *positions.entry(group_key(id.as_ref())?).or_insert_with(|| {
            let states = self.fields.iter().map(|_| State::default()).collect();
            found.push((id.unwrap_or(Bson::Null), states));
            found.len() - 1
        });
        let Some((_, states)) = found.get_mut(position) else { return Ok(()) };
        for (state, (_, accumulator, expression)) in states.iter_mut().zip(&self.fields) {
            state.add(*accumulator, expression.evaluate(document)?)?;
        }
        Ok(())
    }

    pub(super) fn results(&self, groups: Groups) -> Vec<Document> {
        groups.found.into_iter().map(|(id, states)| self.finish(id, states)).collect()
    }

    fn finish(&self, id: Bson, states: Vec<State>) -> Document {
        let mut out = bson::doc! { "_id": id };
        for (state, (name, accumulator, _)) in states.into_iter().zip(&self.fields) {
            out.insert(name, state.finish(*accumulator));
        }
        out
    }
}

/// Groups in the making.
#[derive(Debug, Default)]
pub(super) struct Groups {
    positions: HashMap<Vec<u8>, usize>,
    found: Vec<(Bson, Vec<State>)>,
}

/// What an accumulator has seen.
#[derive(Debug, Default)]
struct State {
    value: Option<Bson>,
    items: Vec<Bson>,
    keys: Vec<Vec<u8>>,
    count: u32,
}

impl State {
    fn add(&mut self, accumulator: Accumulator, value: Option<Bson>) -> Result<()> {
        match accumulator {
            Accumulator::Sum | Accumulator::Avg => self.add_number(value)?,
            Accumulator::Min | Accumulator::Max => self.keep_extreme(accumulator, value)?,
            Accumulator::First if self.count > 0 => {}
            Accumulator::First | Accumulator::Last => {
                self.value = Some(value.unwrap_or(Bson::Null));
            }
            Accumulator::Push => self.items.extend(value),
            Accumulator::AddToSet => {
                if let Some(value) = value {
                    let key = value_key(Some(&value))?;
                    if !self.keys.contains(&key) {
                        self.keys.push(key);
                        self.items.push(value);
                    }
                }
            }
        }
        if !matches!(accumulator, Accumulator::Avg) {
            self.count += 1;
        }
        Ok(())
    }

    fn add_number(&mut self, value: Option<Bson>) -> Result<()> {
        let Some(value) = value.filter(|value| as_double(value).is_some()) else {
            return Ok(());
        };
        let total = self.value.take().unwrap_or(Bson::Int32(0));
        self.value = Some(match compute(Arithmetic::Add, &total, &value) {
            // A sum that leaves 64 bits goes on as a double.
            Err(ArithmeticError::Overflow) => {
                Bson::Double(as_double(&total).unwrap_or(0.0) + as_double(&value).unwrap_or(0.0))
            }
            other => other.map_err(|error| arithmetic_error(&error, "$sum"))?,
        });
        self.count += 1;
        Ok(())
    }

    fn keep_extreme(&mut self, accumulator: Accumulator, value: Option<Bson>) -> Result<()> {
        let Some(value) = value.filter(|value| !matches!(value, Bson::Null)) else {
            return Ok(());
        };
        let replaces = match &self.value {
            None => true,
            Some(present) => {
                let order = value_key(Some(&value))?.cmp(&value_key(Some(present))?);
                if accumulator == Accumulator::Min { order.is_lt() } else { order.is_gt() }
            }
        };
        if replaces {
            self.value = Some(value);
        }
        Ok(())
    }

    fn finish(self, accumulator: Accumulator) -> Bson {
        match accumulator {
            Accumulator::Sum => self.value.unwrap_or(Bson::Int32(0)),
            Accumulator::Avg => match self.value.as_ref().and_then(as_double) {
                Some(total) if self.count > 0 => Bson::Double(total / f64::from(self.count)),
                _ => Bson::Null,
            },
            Accumulator::Push | Accumulator::AddToSet => Bson::Array(self.items),
            _ => self.value.unwrap_or(Bson::Null),
        }
    }
}
