//! Reading: the choice of an index, and streams of matching documents.

mod access;
mod ask;

use std::sync::Arc;

use bson::Document;
use bson::raw::RawDocument;
use tidemark_model::OplogTime;
use tidemark_store::{Range, Tree};

use crate::collections::{Collection, Namespace};
use crate::engine::{Engine, View, document_key, record_of};
use crate::error::{Code, CommandError, Result};
use crate::filter::Filter;
use crate::operation;
use crate::projection::Projection;
use crate::reply::Batch;
use crate::sort::{Direction, SortOrder};
use crate::sorter::{Sorted, Sorter};
use crate::spool::Spool;

pub(crate) use access::{id_entry, id_of};
use access::{oplog_bounds, plan_records};
pub(crate) use ask::{Hint, Query, Records};

/// A sort with a limit holds at least so many documents before it drops any.
const SORT_SLACK: usize = 1_000;
/// A sort with a larger limit than this is done as one without.
const LARGEST_TOP: usize = 50_000;

/// Which moment a stream shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadAt {
    /// What is there when it is asked for more, as on every MongoDB server.
    Present,
    /// The moment of a snapshot read, which must still be readable.
    Moment(OplogTime),
}

impl ReadAt {
    /// Opens the moment.
    pub(crate) fn view(self, engine: &Engine) -> Result<View> {
        match self {
            Self::Present => engine.view(),
            Self::Moment(at) => engine.view_at(at)?.ok_or_else(|| {
                let text = format!(
                    "Read timestamp {at} is not available; begin with a snapshot read without atClusterTime"
                );
                CommandError::new(Code::SnapshotTooOld, text)
            }),
        }
    }
}

/// Which collection a stream reads.
#[derive(Debug, Clone)]
struct Target {
    id: u32,
    namespace: Namespace,
}

impl Target {
    /// Refuses to go on in a collection that was dropped; a rename does no harm.
    fn check(&self, view: &View) -> Result<()> {
        let same = view.catalog.find(&self.namespace).is_some_and(|found| found.id == self.id);
        if same || view.catalog.has_id(self.id) {
            return Ok(());
        }
        let text = format!("collection dropped: '{}' between getMore calls", self.namespace);
        Err(CommandError::new(Code::QueryPlanKilled, text))
    }
}

/// Where the documents of a stream come from, and how far it is.
enum Source {
    /// What is left to scan.
    Scan {
        target: Target,
        direction: Direction,
        left: Records,
    },
    Records {
        target: Target,
        records: Arc<[u64]>,
        next: usize,
    },
    Sorted {
        sorted: Sorted,
        waiting: Option<Vec<u8>>,
    },
    Spool {
        spool: Spool,
        waiting: Option<Vec<u8>>,
    },
    Oplog {
        next: OplogTime,
        last: OplogTime,
        direction: Direction,
        /// Whether some of it was read already, in this order.
        is_begun: bool,
    },
}

/// Matching documents, one after another.
pub(crate) struct Stream {
    read_at: ReadAt,
    source: Source,
    chosen: Chosen,
}

/// Which documents of a source are answered, and how.
struct Chosen {
    filter: Filter,
    projection: Option<Projection>,
    skip: u64,
    remaining: Option<u64>,
}

/// What came of offering a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offer {
    Passed,
    /// The visitor wants no more; the document counts as not visited.
    Refused,
    /// It was the last one of the limit.
    Last,
}

impl Chosen {
    fn everything() -> Self {
        Self { filter: Filter::All(Vec::new()), projection: None, skip: 0, remaining: None }
    }

    fn offer(
        &mut self,
        bytes: &[u8],
        visit: &mut impl FnMut(&RawDocument) -> Result<bool>,
    ) -> Result<Offer> {
        operation::check()?;
        let document = RawDocument::from_bytes(bytes)?;
        if !self.filter.matches(document)? {
            return Ok(Offer::Passed);
        }
        if self.skip > 0 {
            self.skip -= 1;
            return Ok(Offer::Passed);
        }
        let is_taken = match &self.projection {
            None => visit(document)?,
            Some(projection) => {
                let projected = projection.apply(&Document::try_from(document)?)?.to_vec()?;
                visit(RawDocument::from_bytes(&projected)?)?
            }
        };
        if !is_taken {
            return Ok(Offer::Refused);
        }
        self.remaining = self.remaining.map(|remaining| remaining - 1);
        Ok(if self.remaining == Some(0) { Offer::Last } else { Offer::Passed })
    }
}

impl Stream {
    /// The documents of a collection; the view is the moment that `read_at` means.
    pub(crate) fn open(
        engine: &Engine,
        (view, read_at): (&View, ReadAt),
        collection: &Collection,
        query: Query,
    ) -> Result<Self> {
        let natural = query.sort.as_ref().and_then(SortOrder::natural);
        let hinted = match &query.hint {
            Some(Hint::Natural(direction)) => Some(*direction),
            _ => None,
        };
        let is_scan = natural.is_some()
            || hinted.is_some()
            || query.records.is_some()
            || collection.is_loading();
        let records = if is_scan { None } else { plan_records(view, collection, &query)? };
        let target = Target { id: collection.id, namespace: collection.namespace.clone() };
        let source = match records {
            Some(records) => Source::Records { target, records: records.into(), next: 0 },
            None => Source::Scan {
                target,
                direction: natural.or(hinted).unwrap_or(Direction::Ascending),
                left: query.records.unwrap_or(Records::ALL),
            },
        };
        let Query { filter, projection, skip, limit, sort, .. } = query;
        let chosen = Chosen { filter, projection, skip, remaining: limit };
        let mut stream = Self { read_at, source, chosen };
        if let Some(order) = sort.filter(|order| order.natural().is_none() && !order.is_empty()) {
            stream.sort(engine, view, &order)?;
        }
        Ok(stream)
    }

    /// The entries of the oplog; a tail goes on with what comes later.
    pub(crate) fn open_oplog(
        engine: &Engine,
        (view, read_at): (&View, ReadAt),
        query: Query,
        is_tail: bool,
    ) -> Result<Self> {
        let hinted = match &query.hint {
            Some(Hint::Natural(direction)) => Some(*direction),
            _ => None,
        };
        let sorted = query.sort.as_ref().and_then(SortOrder::by_position);
        let (next, last) = oplog_bounds(&query.filter);
        let last = if is_tail { last } else { last.min(view.at) };
        let direction = sorted.or(hinted).unwrap_or(Direction::Ascending);
        let Query { filter, projection, skip, limit, sort, .. } = query;
        let chosen = Chosen { filter, projection, skip, remaining: limit };
        let source = Source::Oplog { next, last, direction, is_begun: false };
        let mut stream = Self { read_at, source, chosen };
        match sort.filter(|order| sorted.is_none() && !order.is_empty()) {
            Some(_) if is_tail => Err(CommandError::new(
                Code::BadValue,
                "cannot use tailable option with a sort other than {$natural: 1}",
            )),
            Some(order) => {
                stream.sort(engine, view, &order)?;
                Ok(stream)
            }
            None => Ok(stream),
        }
    }

    /// Documents that were made already.
    pub(crate) fn of_spool(spool: Spool) -> Self {
        let source = Source::Spool { spool, waiting: None };
        Self { read_at: ReadAt::Present, source, chosen: Chosen::everything() }
    }

    /// Reads everything and goes on in order.
    fn sort(&mut self, engine: &Engine, view: &View, order: &SortOrder) -> Result<()> {
        let mut sorter = Sorter::new(engine.folder());
        let chosen = &mut self.chosen;
        let (skip, remaining) = (std::mem::take(&mut chosen.skip), chosen.remaining.take());
        // With a limit only so many can be among the first; more are dropped now and then.
        let wanted = remaining
            .map(|remaining| usize::try_from(remaining.saturating_add(skip)).unwrap_or(usize::MAX))
            .filter(|wanted| *wanted <= LARGEST_TOP);
        // What is left out is not written to files, but only what is answered may be computed, and
        // with a limit little is answered.
        let projection = chosen.projection.take();
        let is_early = wanted.is_none() && projection.as_ref().is_some_and(|p| !p.is_computed());
        let (early, late) = if is_early { (projection, None) } else { (None, projection) };
        self.visit_view(view, |document| {
            let key = order.key(document)?;
            match &early {
                None => sorter.push(&key, document.as_bytes())?,
                Some(projection) => {
                    let projected = projection.apply(&Document::try_from(document)?)?;
                    sorter.push(&key, &projected.to_vec()?)?;
                }
            }
            if let Some(wanted) = wanted
                && sorter.held() >= wanted.saturating_mul(2).max(SORT_SLACK)
            {
                sorter.keep_first(wanted);
            }
            Ok(true)
        })?;
        self.source = Source::Sorted { sorted: sorter.finish()?, waiting: None };
        self.chosen = Chosen { projection: late, skip, remaining, ..Chosen::everything() };
        Ok(())
    }

    /// Visits the documents until told to stop with `false`; returns whether all were visited.
    ///
    /// A document at which the visitor stops counts as not visited.
    pub(crate) fn for_each(
        &mut self,
        engine: &Engine,
        visit: impl FnMut(&RawDocument) -> Result<bool>,
    ) -> Result<bool> {
        let view = match self.source {
            Source::Sorted { .. } | Source::Spool { .. } => engine.view()?,
            _ => self.read_at.view(engine)?,
        };
        self.visit_view(&view, visit)
    }

    /// As `for_each`, in a view.
    pub(crate) fn visit_view(
        &mut self,
        view: &View,
        mut visit: impl FnMut(&RawDocument) -> Result<bool>,
    ) -> Result<bool> {
        let chosen = &mut self.chosen;
        if chosen.remaining == Some(0) {
            return Ok(true);
        }
        match &mut self.source {
            Source::Scan { target, direction, left } => {
                target.check(view)?;
                let mut visit = |_, document: &RawDocument| visit(document);
                scan(view, (target.id, *direction, left), chosen, &mut visit)
            }
            Source::Records { target, records, next } => {
                target.check(view)?;
                let mut visit = |_, document: &RawDocument| visit(document);
                look_up(view, (target.id, records, next), chosen, &mut visit)
            }
            Source::Sorted { sorted, waiting } => {
                let next = || Ok(sorted.next()?.map(|(_, document)| document));
                drain(next, waiting, chosen, &mut visit)
            }
            Source::Spool { spool, waiting } => drain(|| spool.next(), waiting, chosen, &mut visit),
            Source::Oplog { next, last, direction, is_begun } => {
                if *is_begun {
                    check_oplog_kept(view, *next)?;
                }
                let from = *next;
                let outcome = read_oplog(view, (next, last, *direction), chosen, &mut visit);
                *is_begun |= *next != from;
                outcome
            }
        }
    }

    /// As `visit_view`, with the record number of each document; for streams that are not sorted.
    pub(crate) fn visit_records(
        &mut self,
        (view, collection): (&View, &Collection),
        mut visit: impl FnMut(u64, &RawDocument) -> Result<bool>,
    ) -> Result<bool> {
        let Self { source, chosen, .. } = self;
        if chosen.remaining == Some(0) {
            return Ok(true);
        }
        if let Source::Scan { target, .. } | Source::Records { target, .. } = source
            && target.id != collection.id
        {
            // Another one has its name now.
            let text = format!("collection dropped: '{}' while it was changed", target.namespace);
            return Err(CommandError::new(Code::QueryPlanKilled, text));
        }
        match source {
            Source::Scan { target, direction, left } => {
                scan(view, (target.id, *direction, left), chosen, &mut visit)
            }
            Source::Records { target, records, next } => {
                look_up(view, (target.id, records, next), chosen, &mut visit)
            }
            _ => Err(CommandError::new(Code::InternalError, "a sorted stream has no records")),
        }
    }

    /// Holds little memory from here on, until it is asked for more.
    pub(crate) fn put_aside(&mut self, engine: &Engine) -> Result<()> {
        match &mut self.source {
            Source::Sorted { sorted, .. } => sorted.put_aside(engine.folder()),
            _ => Ok(()),
        }
    }

    /// Fills a batch; returns whether the stream is at its end.
    pub(crate) fn fill(&mut self, engine: &Engine, batch: &mut Batch) -> Result<bool> {
        self.for_each(engine, |document| Ok(batch.push(document)))
    }
}

fn look_up(
    view: &View,
    (collection, records, next): (u32, &[u64], &mut usize),
    chosen: &mut Chosen,
    visit: &mut impl FnMut(u64, &RawDocument) -> Result<bool>,
) -> Result<bool> {
    while let Some(record) = records.get(*next) {
        if let Some(document) = view.document(collection, *record)? {
            match chosen.offer(&document, &mut |document| visit(*record, document))? {
                Offer::Refused => return Ok(false),
                Offer::Last => return Ok(true),
                Offer::Passed => {}
            }
        }
        *next += 1;
    }
    Ok(true)
}

fn scan(
    view: &View,
    (collection, direction, left): (u32, Direction, &mut Records),
    chosen: &mut Chosen,
    visit: &mut impl FnMut(u64, &RawDocument) -> Result<bool>,
) -> Result<bool> {
    let key = |after: u64| document_key(collection, after.saturating_add(1));
    let range = Range::new(key(left.after), key(left.through));
    let mut is_refused = false;
    view.visit(Tree::Documents, &range, direction.into(), |key, bytes| {
        let record = record_of(key).unwrap_or(0);
        let offer = chosen.offer(bytes, &mut |document| visit(record, document))?;
        if offer == Offer::Refused {
            is_refused = true;
            return Ok(false);
        }
        match direction {
            Direction::Ascending => left.after = record,
            Direction::Descending => left.through = record.saturating_sub(1),
        }
        Ok::<_, CommandError>(offer == Offer::Passed)
    })?;
    Ok(!is_refused)
}

/// Offers what `next` makes; what is refused waits for the next time.
fn drain(
    mut next: impl FnMut() -> Result<Option<Vec<u8>>>,
    waiting: &mut Option<Vec<u8>>,
    chosen: &mut Chosen,
    visit: &mut impl FnMut(&RawDocument) -> Result<bool>,
) -> Result<bool> {
    loop {
        let document = match waiting.take() {
            Some(document) => document,
            None => match next()? {
                Some(document) => document,
                None => return Ok(true),
            },
        };
        match chosen.offer(&document, visit)? {
            Offer::Passed => {}
            Offer::Last => return Ok(true),
            Offer::Refused => {
                *waiting = Some(document);
                return Ok(false);
            }
        }
    }
}

/// Refuses to go on where entries were forgotten that come next: whoever follows the oplog would not
/// see that it misses some.
fn check_oplog_kept(view: &View, next: OplogTime) -> Result<()> {
    let begins = view.oplog_begins()?.map(u64::from_be_bytes);
    if begins.is_none_or(|begins| begins <= next.to_u64()) {
        return Ok(());
    }
    let text = format!("the oplog does not go back to {next} any more; begin anew");
    Err(CommandError::new(Code::CappedPositionLost, text))
}

fn read_oplog(
    view: &View,
    (next, last, direction): (&mut OplogTime, &mut OplogTime, Direction),
    chosen: &mut Chosen,
    visit: &mut impl FnMut(&RawDocument) -> Result<bool>,
) -> Result<bool> {
    if *next > *last {
        return Ok(true);
    }
    let key = |at: OplogTime| at.to_u64().to_be_bytes();
    let after = last.to_u64().checked_add(1).map(|after| after.to_be_bytes().to_vec());
    let range = Range { from: key(*next).to_vec(), to: after };
    let mut is_refused = false;
    view.visit(Tree::Oplog, &range, direction.into(), |key, bytes| {
        let offer = chosen.offer(bytes, visit)?;
        if offer == Offer::Refused {
            is_refused = true;
            return Ok(false);
        }
        let position = record_of(key).unwrap_or(0);
        match direction {
            Direction::Ascending => *next = OplogTime::from_u64(position.saturating_add(1)),
            Direction::Descending => *last = OplogTime::from_u64(position.saturating_sub(1)),
        }
        Ok::<_, CommandError>(offer == Offer::Passed)
    })?;
    Ok(!is_refused)
}
