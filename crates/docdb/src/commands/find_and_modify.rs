//! `findAndModify`.

use bson::raw::RawDocument;
use bson::{Bson, Document};

use super::update::{Progress, begin, check_not_loading, find_matches};
use super::write::{update_context, writable_namespace, write_options};
use crate::collections::Collection;
use crate::context::Context;
use crate::engine::Engine;
use crate::error::{Code, CommandError, Result};
use crate::filter::{Filter, parse_filter};
use crate::projection::Projection;
use crate::query::{Hint, Query, ReadAt, Stream};
use crate::reply::Reply;
use crate::request::Request;
use crate::session::Retry;
use crate::sort::SortOrder;
use crate::transaction::Transaction;
use crate::update::{Update, parse_update};

const FIELDS: &[&str] = &[
    "query",
    "sort",
    "remove",
    "update",
    "new",
    "fields",
    "upsert",
    "bypassDocumentValidation",
    "hint",
];

pub(super) fn run(context: &mut Context<'_>, request: &Request<'_>) -> Result<Reply> {
    request.allow(FIELDS)?;
    let namespace = writable_namespace(request)?;
    let engine = &context.shared.engine;
    let mut retry = Retry::new(request.statement(context.login.user_name())?);
    let change = Change::parse(request)?;
    let filter = match request.document("query")? {
        Some(query) => parse_filter(query)?,
        None => Filter::All(Vec::new()),
    };
    let sort = request.document("sort")?.map(SortOrder::parse).transpose()?;
    let mut transaction = begin(engine, &filter)?;
    retry.reload(&transaction)?;
    if let Some(stored) = retry.outcome(0) {
        let (stored, at) = (stored.clone(), transaction.last());
        drop(transaction);
        engine.wait_durable(at)?;
        return Ok(stored.into());
    }
    transaction.set_options(write_options(request));
    transaction.set_statement(retry.statement(0));
    let found = match transaction.catalog().find(&namespace).cloned() {
        Some(collection) => {
            let mut query = Query::all(filter.clone());
            check_not_loading(&collection)?;
            query.sort = sort;
            query.hint = request
                .field("hint")
                .map(|hint| Hint::parse(hint, Some(&collection)))
                .transpose()?;
            let found = first_match(engine, &transaction, &collection, query)?;
            found.map(|(record, bytes)| (collection, record, bytes))
        }
        None => None,
    };
    let (value, last_error) = match (found, change) {
        (Some((collection, record, bytes)), change) => change.apply(
            &mut transaction,
            &collection,
            (record, &bytes),
            update_context(context),
        )?,
        (None, Change::Update { update, is_upsert: true, answers_new }) => {
            let collection = transaction.existing_or_created(&namespace)?;
            let document = update.upsert(&filter, update_context(context))?;
            let bytes = document.to_vec()?;
            let id = transaction.insert(&collection, RawDocument::from_bytes(&bytes)?)?;
            let value = answers_new.then_some(document);
            (value, bson::doc! { "n": 1, "updatedExisting": false, "upserted": id })
        }
        (None, Change::Remove) => (None, bson::doc! { "n": 0 }),
        (None, Change::Update { .. }) => (None, bson::doc! { "n": 0, "updatedExisting": false }),
    };
    let value = shown(request, value)?;
    let reply = bson::doc! { "lastErrorObject": last_error, "value": value };
    retry.note(0, reply.clone());
    retry.store(&mut transaction)?;
    let at = transaction.commit()?;
    engine.wait_durable(at)?;
    Ok(reply.into())
}

/// The first document in the order that was asked for.
fn first_match(
    engine: &Engine,
    transaction: &Transaction<'_>,
    collection: &Collection,
    mut query: Query,
) -> Result<Option<(u64, Vec<u8>)>> {
    let order = query.sort.take().filter(|order| order.natural().is_none() && !order.is_empty());
    let Some(order) = order else {
        let found = (query, false);
        let mut progress = Progress::default();
        let found = find_matches(engine, transaction, collection, found, &mut progress)?;
        return Ok(found.into_iter().next());
    };
    let read = (transaction.view(), ReadAt::Present);
    let mut best: Option<(Vec<u8>, u64, Vec<u8>)> = None;
    let mut stream = Stream::open(engine, read, collection, query)?;
    stream.visit_records((transaction.view(), collection), |record, document| {
        let key = order.key(document)?;
        if best.as_ref().is_none_or(|(smallest, _, _)| key < *smallest) {
            best = Some((key, record, document.as_bytes().to_vec()));
        }
        Ok(true)
    })?;
    Ok(best.map(|(_, record, bytes)| (record, bytes)))
}

/// The fields of the document that the request asks to see, or null without a document.
fn shown(request: &Request<'_>, value: Option<Document>) -> Result<Bson> {
    let projection = request.document("fields")?.map(Projection::parse).transpose()?.flatten();
    let value = match (value, projection) {
        (Some(value), Some(projection)) => Some(projection.apply(&value)?),
        (value, _) => value,
    };
    Ok(value.map_or(Bson::Null, Bson::Document))
}

/// What happens to the document that is found.
enum Change {
    Remove,
    Update { update: Update, is_upsert: bool, answers_new: bool },
}

impl Change {
    fn parse(request: &Request<'_>) -> Result<Self> {
        match (request.flag("remove"), request.field("update")) {
            (true, None) if request.flag("new") => Err(CommandError::new(
                Code::FailedToParse,
                "Cannot specify both new=true and remove=true; 'remove' always returns the deleted document",
            )),
            (true, None) if request.flag("upsert") => Err(CommandError::new(
                Code::FailedToParse,
                "Cannot specify both upsert=true and remove=true",
            )),
            (true, None) => Ok(Self::Remove),
            (false, Some(update)) => Ok(Self::Update {
                update: parse_update(update)?,
                is_upsert: request.flag("upsert"),
                answers_new: request.flag("new"),
            }),
            (true, Some(_)) => Err(CommandError::new(
                Code::FailedToParse,
                "Cannot specify both an update and remove=true",
            )),
            (false, None) => Err(CommandError::new(
                Code::FailedToParse,
                "Either an update or remove=true must be specified",
            )),
        }
    }

    /// Changes the document; answers the document to show and the `lastErrorObject`.
    fn apply(
        self,
        transaction: &mut Transaction<'_>,
        collection: &Collection,
        (record, bytes): (u64, &[u8]),
        context: crate::update::UpdateContext,
    ) -> Result<(Option<Document>, Document)> {
        let raw = RawDocument::from_bytes(bytes)?;
        let before = Document::try_from(raw)?;
        match self {
            Self::Remove => {
                transaction.delete(collection, record, raw)?;
                Ok((Some(before), bson::doc! { "n": 1 }))
            }
            Self::Update { update, answers_new, .. } => {
                let after = update.apply(&before, context)?;
                if after.to_vec()? != bytes {
                    let is_replacement = matches!(update, Update::Replacement(_));
                    transaction.update(collection, (record, raw), &after, is_replacement)?;
                }
                let value = if answers_new { after } else { before };
                Ok((Some(value), bson::doc! { "n": 1, "updatedExisting": true }))
            }
        }
    }
}
