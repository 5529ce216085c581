//! `findAndModify`.

use bson::raw::RawDocument;
use bson::{Bson, Document};

use super::update::find_matches;
use super::write::{update_context, writable_namespace, write_options};
use super::{Context, Reply};
use crate::collections::Collection;
use crate::error::{Code, CommandError, Result};
use crate::filter::{Filter, parse_filter};
use crate::projection::Projection;
use crate::query::{Hint, Query};
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
    let mut retry = Retry::load(engine, request.statement()?)?;
    let change = Change::parse(request)?;
    let filter = match request.document("query")? {
        Some(query) => parse_filter(query)?,
        None => Filter::All(Vec::new()),
    };
    let mut transaction = engine.begin();
    retry.reload(engine)?;
    if let Some(stored) = retry.outcome(0) {
        let (stored, at) = (stored.clone(), transaction.view().at);
        drop(transaction);
        engine.wait_durable(at)?;
        return Ok(stored.into());
    }
    transaction.set_options(write_options(request));
    transaction.set_statement(retry.statement(0));
    let found = match transaction.catalog().find(&namespace).cloned() {
        Some(collection) => {
            let mut query = Query::all(filter.clone());
            query.sort = request.document("sort")?.map(SortOrder::parse).transpose()?;
            query.hint = request
                .field("hint")
                .map(|hint| Hint::parse(hint, Some(&collection)))
                .transpose()?;
            let found = find_matches(engine, &transaction, &collection, (query, false))?;
            found.into_iter().next().map(|(record, bytes)| (collection, record, bytes))
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
