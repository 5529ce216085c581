//! The `$group` stage and its accumulators.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use bson::raw::RawDocument;
use bson::{Bson, Document};

use crate::error::{Code, CommandError, Result};
use crate::expression::{Expression, arithmetic_error, value_key};
use crate::number::{ArithmeticError, as_double};
use crate::sorter::Sorter;

/// What groups may hold before new ones wait in files.
const MEMORY_BYTES: usize = 48 * 1024 * 1024;
/// What they may hold at all, as on the server.
const LARGEST_GROUPS: usize = 100 * 1024 * 1024;

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
            if matches!(argument, bson::RawBsonRef::Array(_)) {
                let text = format!("The {} accumulator is a unary operator", operator.as_str());
                return Err(CommandError::new(Code::Location40237, text));
            }
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

    /// Puts a document into its group.
    pub(super) fn add(&self, groups: &mut Groups, document: &Document) -> Result<()> {
        let id = self.id.evaluate(document)?;
        let key = group_key(id.as_ref())?;
        let mut values = Vec::with_capacity(self.fields.len());
        for (_, _, expression) in &self.fields {
            values.push(expression.evaluate(document)?);
        }
        if let Some(position) = groups.positions.get(&key)
            && let Some((_, states)) = groups.held.get_mut(*position)
        {
            groups.bytes += self.add_values(states, values)?;
            return check_group(groups.bytes);
        }
        if groups.bytes >= MEMORY_BYTES {
            return groups.spill(&key, id, values);
        }
        let mut states: Vec<State> = self.fields.iter().map(|_| State::default()).collect();
        groups.bytes += 2 * key.len() + 64 + 128 * states.len();
        groups.bytes += self.add_values(&mut states, values)?;
        let id = id.unwrap_or(Bson::Null);
        groups.positions.insert(key, groups.held.len());
        groups.held.push((id, states));
        check_group(groups.bytes)
    }

    /// Adds the values of one document; answers how many bytes more are held.
    fn add_values(&self, states: &mut [State], values: Vec<Option<Bson>>) -> Result<usize> {
        let mut grown = 0;
        for ((state, (_, accumulator, _)), value) in states.iter_mut().zip(&self.fields).zip(values)
        {
            grown += state.add(*accumulator, value)?;
        }
        Ok(grown)
    }

    /// Passes all groups on, until told that no more are needed.
    pub(super) fn results(
        &self,
        groups: Groups,
        out: &mut dyn FnMut(Document) -> Result<bool>,
    ) -> Result<()> {
        for (id, states) in groups.held {
            if !out(self.finish(id, states)?)? {
                return Ok(());
            }
        }
        let Some(spilled) = groups.spilled else { return Ok(()) };
        // Equal keys come one after another, so only one group is held at a time.
        let mut sorted = spilled.finish()?;
        let mut open: Option<(Vec<u8>, Bson, Vec<State>, usize)> = None;
        while let Some((key, bytes)) = sorted.next()? {
            let (id, values) = read_spilled(&bytes, self.fields.len())?;
            if open.as_ref().is_none_or(|(present, ..)| *present != key) {
                if let Some((_, id, states, _)) = open.take()
                    && !out(self.finish(id, states)?)?
                {
                    return Ok(());
                }
                let states = self.fields.iter().map(|_| State::default()).collect();
                open = Some((key, id.unwrap_or(Bson::Null), states, 0));
            }
            if let Some((_, _, states, held)) = &mut open {
                *held += self.add_values(states, values)?;
                check_group(*held)?;
            }
        }
        match open {
            Some((_, id, states, _)) => out(self.finish(id, states)?).map(drop),
            None => Ok(()),
        }
    }

    fn finish(&self, id: Bson, states: Vec<State>) -> Result<Document> {
        let mut out = bson::doc! { "_id": id };
        for (state, (name, accumulator, _)) in states.into_iter().zip(&self.fields) {
            out.insert(name, state.finish(*accumulator));
        }
        crate::depth::check_result(&out)?;
        Ok(out)
    }
}

/// Groups in the making. What is too much for memory waits in files, sorted by its group.
pub(super) struct Groups {
    folder: PathBuf,
    positions: HashMap<Vec<u8>, usize>,
    /// In the order of their first documents.
    held: Vec<(Bson, Vec<State>)>,
    bytes: usize,
    spilled: Option<Sorter>,
}

impl Groups {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            positions: HashMap::new(),
            held: Vec::new(),
            bytes: 0,
            spilled: None,
        }
    }

    fn spill(&mut self, key: &[u8], id: Option<Bson>, values: Vec<Option<Bson>>) -> Result<()> {
        let mut document = Document::new();
        if let Some(id) = id {
            document.insert("id", id);
        }
        for (position, value) in values.into_iter().enumerate() {
            if let Some(value) = value {
                document.insert(position.to_string(), value);
            }
        }
        let folder = &self.folder;
        let sorter = self.spilled.get_or_insert_with(|| Sorter::new(folder));
        sorter.push(key, &document.to_vec()?)
    }
}

fn read_spilled(bytes: &[u8], fields: usize) -> Result<(Option<Bson>, Vec<Option<Bson>>)> {
    let mut document = Document::try_from(RawDocument::from_bytes(bytes)?)?;
    let values = (0..fields).map(|position| document.remove(position.to_string())).collect();
    Ok((document.remove("id"), values))
}

/// Refuses groups that hold more than may be held, as the server does for what it cannot spill.
fn check_group(bytes: usize) -> Result<()> {
    if bytes <= LARGEST_GROUPS {
        return Ok(());
    }
    let text = format!(
        "$group used too much memory and cannot spill to disk. Memory limit: {LARGEST_GROUPS} bytes"
    );
    Err(CommandError::new(Code::ExceededMemoryLimit, text))
}

/// What an accumulator has seen.
#[derive(Debug, Default)]
struct State {
    value: Option<Bson>,
    items: Vec<Bson>,
    keys: HashSet<Vec<u8>>,
    count: u32,
    /// The integers of a sum, and whether one of them was a long.
    integers: i128,
    is_long: bool,
    /// The doubles of a sum, apart from its integers.
    doubles: Option<CompensatedSum>,
}

/// A sum of doubles that keeps what rounding takes away, as the server's does.
#[derive(Debug, Clone, Copy, Default)]
struct CompensatedSum {
    sum: f64,
    lost: f64,
    is_any: bool,
}

impl CompensatedSum {
    fn add(&mut self, number: f64) {
        if !std::mem::replace(&mut self.is_any, true) {
            self.sum = number;
            return;
        }
        let sum = self.sum + number;
        // Neumaier's variant: what the larger of the two did not take up.
        let lost = if self.sum.abs() >= number.abs() {
            (self.sum - sum) + number
        } else {
            (number - sum) + self.sum
        };
        if lost.is_finite() {
            self.lost += lost;
        }
        self.sum = sum;
    }

    fn total(self) -> f64 {
        if self.lost == 0.0 { self.sum } else { self.sum + self.lost }
    }
}

/// Bytes that a value takes, about.
fn size_of_value(value: &Bson) -> usize {
    let nested = match value {
        Bson::String(text) => text.len(),
        Bson::Binary(binary) => binary.bytes.len(),
        Bson::Document(document) => {
            document.iter().map(|(name, value)| name.len() + 48 + size_of_value(value)).sum()
        }
        Bson::Array(items) => items.iter().map(size_of_value).sum(),
        _ => 0,
    };
    size_of::<Bson>() + nested
}

impl State {
    /// Adds a value; answers how many bytes more are held.
    fn add(&mut self, accumulator: Accumulator, value: Option<Bson>) -> Result<usize> {
        let mut grown = 0;
        let held = self.value.as_ref().map_or(0, size_of_value);
        match accumulator {
            Accumulator::Sum | Accumulator::Avg => self.add_number(value)?,
            Accumulator::Min | Accumulator::Max => self.keep_extreme(accumulator, value)?,
            Accumulator::First if self.count > 0 => {}
            Accumulator::First | Accumulator::Last => {
                self.value = Some(value.unwrap_or(Bson::Null));
            }
            Accumulator::Push => {
                grown = value.as_ref().map_or(0, size_of_value);
                self.items.extend(value);
            }
            Accumulator::AddToSet => {
                if let Some(value) = value {
                    let key = value_key(Some(&value))?;
                    let key_bytes = key.len();
                    if self.keys.insert(key) {
                        grown = key_bytes + 48 + size_of_value(&value);
                        self.items.push(value);
                    }
                }
            }
        }
        if !matches!(accumulator, Accumulator::Sum | Accumulator::Avg) {
            self.count += 1;
        }
        let holds = self.value.as_ref().map_or(0, size_of_value);
        Ok(grown + holds.saturating_sub(held))
    }

    fn add_number(&mut self, value: Option<Bson>) -> Result<()> {
        let Some(value) = value.filter(|value| as_double(value).is_some()) else {
            return Ok(());
        };
        self.count += 1;
        match value {
            Bson::Double(number) => self.doubles.get_or_insert_default().add(number),
            Bson::Int32(number) => self.integers += i128::from(number),
            Bson::Int64(number) => {
                self.integers += i128::from(number);
                self.is_long = true;
            }
            _ => return Err(arithmetic_error(&ArithmeticError::Decimal, "$sum")),
        }
        Ok(())
    }

    /// The sum of all numbers.
    #[expect(clippy::cast_precision_loss, reason = "a sum beyond 64 bits goes on as a double")]
    fn total(&self) -> Bson {
        if let Some(mut doubles) = self.doubles {
            if self.integers != 0 {
                doubles.add(self.integers as f64);
            }
            return Bson::Double(doubles.total());
        }
        match (i32::try_from(self.integers), i64::try_from(self.integers)) {
            (Ok(small), _) if !self.is_long => Bson::Int32(small),
            (_, Ok(long)) => Bson::Int64(long),
            _ => Bson::Double(self.integers as f64),
        }
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
            Accumulator::Sum => self.total(),
            Accumulator::Avg => match as_double(&self.total()) {
                Some(total) if self.count > 0 => Bson::Double(total / f64::from(self.count)),
                _ => Bson::Null,
            },
            Accumulator::Push | Accumulator::AddToSet => Bson::Array(self.items),
            _ => self.value.unwrap_or(Bson::Null),
        }
    }
}

/// The identity of a group.
fn group_key(value: Option<&Bson>) -> Result<Vec<u8>> {
    value_key(value.or(Some(&Bson::Null)))
}
