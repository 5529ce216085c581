//! Reading: the choice of an index, and streams of matching documents.

mod access;

use std::sync::Arc;

use bson::Document;
use bson::raw::RawDocument;
use fjall::Readable;
use tidemark_model::OplogTime;

use crate::collections::Collection;
use crate::engine::{Engine, View, document_key, record_of};
use crate::error::{Code, CommandError, Result};
use crate::filter::Filter;
use crate::projection::Projection;
use crate::reply::Batch;
use crate::sort::{Direction, SortOrder, check_memory};

pub(crate) use access::{Hint, find_by_id};
use access::{oplog_bounds, plan_records};

/// A sort with a limit holds at least so many documents before it drops any.
const SORT_SLACK: usize = 1_000;

/// What is asked of a collection.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    pub(crate) filter: Filter,
    pub(crate) sort: Option<SortOrder>,
    pub(crate) projection: Option<Projection>,
    pub(crate) skip: u64,
    pub(crate) limit: Option<u64>,
    pub(crate) hint: Option<Hint>,
}

impl Query {
    /// Everything that matches a filter.
    pub(crate) fn all(filter: Filter) -> Self {
        Self { filter, sort: None, projection: None, skip: 0, limit: None, hint: None }
    }
}

/// Where the documents of a stream come from, and how far it is.
enum Source {
    Scan { collection: u32, direction: Direction, reached: Option<u64> },
    Records { collection: u32, records: Arc<[u64]>, next: usize },
    Documents { documents: Arc<[fjall::Slice]>, next: usize },
    Oplog { next: OplogTime, last: OplogTime, direction: Direction },
}

/// Matching documents, one after another.
pub(crate) struct Stream {
    /// The moment that is read; a tail reads the present instead.
    view: Option<Arc<View>>,
    source: Source,
    filter: Filter,
    projection: Option<Projection>,
    skip: u64,
    remaining: Option<u64>,
}

impl Source {
    fn documents(documents: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let documents = documents.into_iter().map(fjall::Slice::from).collect();
        Self::Documents { documents, next: 0 }
    }
}

type Candidate = Result<(u64, fjall::Slice)>;

impl Stream {
    /// The documents of a collection at one moment.
    pub(crate) fn open(
        engine: &Engine,
        view: &Arc<View>,
        collection: &Collection,
        query: Query,
    ) -> Result<Self> {
        let natural = query.sort.as_ref().and_then(SortOrder::natural);
        let hinted = match &query.hint {
            Some(Hint::Natural(direction)) => Some(*direction),
            _ => None,
        };
        let records = if natural.is_some() || hinted.is_some() {
            None
        } else {
            plan_records(engine, view, collection, &query)?
        };
        let source = match records {
            Some(records) => {
                Source::Records { collection: collection.id, records: records.into(), next: 0 }
            }
            None => Source::Scan {
                collection: collection.id,
                direction: natural.or(hinted).unwrap_or(Direction::Ascending),
                reached: None,
            },
        };
        let mut stream = Self {
            view: Some(Arc::clone(view)),
            source,
            filter: query.filter,
            projection: query.projection,
            skip: query.skip,
            remaining: query.limit,
        };
        if let Some(order) =
            query.sort.filter(|order| order.natural().is_none() && !order.is_empty())
        {
            stream.sort(engine, &order)?;
        }
        Ok(stream)
    }

    /// The entries of the oplog; a tail, which has no view, goes on with what comes later.
    pub(crate) fn open_oplog(
        engine: &Engine,
        view: Option<Arc<View>>,
        query: Query,
    ) -> Result<Self> {
        let hinted = match &query.hint {
            Some(Hint::Natural(direction)) => Some(*direction),
            _ => None,
        };
        let sorted = query.sort.as_ref().and_then(SortOrder::by_position);
        let (next, last) = oplog_bounds(&query.filter);
        let direction = sorted.or(hinted).unwrap_or(Direction::Ascending);
        let is_tail = view.is_none();
        let mut stream = Self {
            view,
            source: Source::Oplog { next, last, direction },
            filter: query.filter,
            projection: query.projection,
            skip: query.skip,
            remaining: query.limit,
        };
        match query.sort.filter(|order| sorted.is_none() && !order.is_empty()) {
            Some(_) if is_tail => Err(CommandError::new(
                Code::BadValue,
                "cannot use tailable option with a sort other than {$natural: 1}",
            )),
            Some(order) => {
                stream.sort(engine, &order)?;
                Ok(stream)
            }
            None => Ok(stream),
        }
    }

    /// Documents that are at hand already.
    pub(crate) fn of_documents(documents: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self {
            view: None,
            source: Source::documents(documents),
            filter: Filter::All(Vec::new()),
            projection: None,
            skip: 0,
            remaining: None,
        }
    }

    /// Reads everything and keeps it in order.
    fn sort(&mut self, engine: &Engine, order: &SortOrder) -> Result<()> {
        let mut keyed: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut bytes_held = 0;
        let (skip, remaining) = (std::mem::take(&mut self.skip), self.remaining.take());
        let projection = self.projection.take();
        // With a limit only so many can be among the first; more are dropped now and then.
        let wanted = remaining
            .map(|remaining| usize::try_from(remaining.saturating_add(skip)).unwrap_or(usize::MAX));
        self.for_each(engine, |document| {
            bytes_held += document.as_bytes().len();
            keyed.push((order.key(document)?, document.as_bytes().to_vec()));
            if let Some(wanted) =
                wanted.filter(|wanted| keyed.len() >= wanted.saturating_mul(2).max(SORT_SLACK))
            {
                keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
                keyed.truncate(wanted);
                bytes_held = keyed.iter().map(|(_, document)| document.len()).sum();
            }
            check_memory(bytes_held)?;
            Ok(true)
        })?;
        keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.source = Source::documents(keyed.into_iter().map(|(_, document)| document));
        self.filter = Filter::All(Vec::new());
        (self.skip, self.remaining, self.projection) = (skip, remaining, projection);
        Ok(())
    }

    /// Visits the documents until told to stop with `false`; returns whether all were visited.
    ///
    /// A document at which the visitor stops counts as not visited.
    pub(crate) fn for_each(
        &mut self,
        engine: &Engine,
        mut visit: impl FnMut(&RawDocument) -> Result<bool>,
    ) -> Result<bool> {
        if self.remaining == Some(0) {
            return Ok(true);
        }
        let view = self.view.clone().unwrap_or_else(|| engine.view());
        let candidates = self.candidates(engine, &view);
        for candidate in candidates {
            let (position, bytes) = candidate?;
            let document = RawDocument::from_bytes(&*bytes)?;
            if self.filter.matches(document) {
                if self.skip > 0 {
                    self.skip -= 1;
                } else {
                    let is_taken = match &self.projection {
                        None => visit(document)?,
                        Some(projection) => {
                            let projected =
                                projection.apply(&Document::try_from(document)?)?.to_vec()?;
                            visit(RawDocument::from_bytes(&projected)?)?
                        }
                    };
                    if !is_taken {
                        return Ok(false);
                    }
                    self.remaining = self.remaining.map(|remaining| remaining - 1);
                }
            }
            self.advance(position);
            if self.remaining == Some(0) {
                return Ok(true);
            }
        }
        Ok(true)
    }

    /// Fills a batch; returns whether the stream is at its end.
    pub(crate) fn fill(&mut self, engine: &Engine, batch: &mut Batch) -> Result<bool> {
        self.for_each(engine, |document| Ok(batch.push(document)))
    }

    /// The candidates from here on, each with its position.
    fn candidates(&self, engine: &Engine, view: &Arc<View>) -> Box<dyn Iterator<Item = Candidate>> {
        let keyspaces = engine.keyspaces.clone();
        let pair = |entry: fjall::Guard| -> Candidate {
            let (key, value) = entry.into_inner()?;
            Ok((record_of(&key).unwrap_or(0), value))
        };
        match &self.source {
            Source::Scan { collection, direction: Direction::Ascending, reached } => {
                let from = document_key(*collection, reached.map_or(0, |reached| reached + 1));
                let to = document_key(*collection, u64::MAX);
                Box::new(view.snapshot.range(&keyspaces.documents, from..=to).map(pair))
            }
            Source::Scan { collection, direction: Direction::Descending, reached } => {
                let from = document_key(*collection, 0);
                let to = document_key(*collection, reached.unwrap_or(u64::MAX));
                Box::new(view.snapshot.range(&keyspaces.documents, from..to).rev().map(pair))
            }
            Source::Records { collection, records, next } => {
                let (collection, view, records) =
                    (*collection, Arc::clone(view), Arc::clone(records));
                Box::new((*next..records.len()).filter_map(move |position| {
                    let record = *records.get(position)?;
                    let found = view.document(&keyspaces, collection, record).transpose()?;
                    Some(found.map(|document| (position as u64, document)))
                }))
            }
            Source::Documents { documents, next } => {
                let documents = Arc::clone(documents);
                Box::new((*next..documents.len()).filter_map(move |position| {
                    Some(Ok((position as u64, documents.get(position)?.clone())))
                }))
            }
            Source::Oplog { next, last, direction } => {
                // Entries that are not on disk yet may vanish; nobody may see them.
                let last = (*last).min(engine.durable()).min(view.at);
                if *next > last {
                    return Box::new(std::iter::empty());
                }
                let bounds = next.to_u64().to_be_bytes()..=last.to_u64().to_be_bytes();
                let entries = view.snapshot.range(&keyspaces.oplog, bounds);
                match direction {
                    Direction::Ascending => Box::new(entries.map(pair)),
                    Direction::Descending => Box::new(entries.rev().map(pair)),
                }
            }
        }
    }

    fn advance(&mut self, position: u64) {
        match &mut self.source {
            Source::Scan { reached, .. } => *reached = Some(position),
            Source::Records { next, .. } | Source::Documents { next, .. } => {
                *next = usize::try_from(position).map_or(usize::MAX, |position| position + 1);
            }
            Source::Oplog { next, last, direction } => match direction {
                Direction::Ascending => *next = OplogTime::from_u64(position.saturating_add(1)),
                Direction::Descending => *last = OplogTime::from_u64(position.saturating_sub(1)),
            },
        }
    }
}
