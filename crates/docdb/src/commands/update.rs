//! `update`.

use bson::raw::RawDocument;
use bson::{Bson, Document, RawBsonRef};

use super::write::{
    Outcome, allow_in_statement, check_batch, is_ordered, stored_count, update_context,
    writable_namespace, write_options,
};
use super::{Context, Reply};
use crate::collections::Namespace;
use crate::engine::Engine;
use crate::error::{Code, CommandError, Result};
use crate::filter::{Filter, parse_filter};
use crate::query::{Hint, Query, Stream};
use crate::request::Request;
use crate::session::Retry;
use crate::transaction::{Transaction, WriteOptions};
use crate::update::{Update, UpdateContext, parse_update};

const STATEMENT_FIELDS: &[&str] = &["q", "u", "multi", "upsert", "hint"];

pub(super) fn run(context: &mut Context<'_>, request: &Request<'_>) -> Result<Reply> {
    request.allow(&[
        "updates",
        "ordered",
        "bypassDocumentValidation",
        "bypassEmptyTsReplacement",
    ])?;
    let namespace = writable_namespace(request)?;
    let statements = request.documents("updates")?;
    check_batch(statements.len())?;
    let mut retry = Retry::load(&context.shared.engine, request.statement()?)?;
    let mut outcome = Outcome::default();
    outcome.modified = Some(0);
    for (position, statement) in statements.into_iter().enumerate() {
        let context_of_update = (update_context(context), write_options(request));
        let result = Statement::parse(statement, context_of_update).and_then(|statement| {
            statement.run(&context.shared.engine, &namespace, (&mut retry, position), &mut outcome)
        });
        match result {
            Ok(done) => add(&mut outcome, position, &done),
            Err(error) => {
                outcome.push_error(position, &error);
                if is_ordered(request) {
                    break;
                }
            }
        }
    }
    outcome.finish(context, request)
}

/// Adds what a statement did to the command's outcome.
fn add(outcome: &mut Outcome, position: usize, done: &Document) {
    outcome.n += stored_count(done, "n");
    outcome.modified = outcome.modified.map(|n| n + stored_count(done, "nModified"));
    if let Some(id) = done.get("upserted") {
        let index = i32::try_from(position).unwrap_or(i32::MAX);
        outcome.upserted.push(bson::doc! { "index": index, "_id": id }.into());
    }
}

/// One update statement.
struct Statement<'a> {
    filter: Filter,
    update: Update,
    is_multi: bool,
    is_upsert: bool,
    hint: Option<RawBsonRef<'a>>,
    context: UpdateContext,
    options: WriteOptions,
}

impl<'a> Statement<'a> {
    fn parse(
        statement: &'a RawDocument,
        (context, options): (UpdateContext, WriteOptions),
    ) -> Result<Self> {
        allow_in_statement(statement, "update", STATEMENT_FIELDS)?;
        let missing = |field: &str| {
            let text =
                format!("BSON field 'update.updates.{field}' is missing but a required field");
            CommandError::new(Code::Location40414, text)
        };
        let filter =
            statement.get("q")?.and_then(RawBsonRef::as_document).ok_or_else(|| missing("q"))?;
        let update = parse_update(statement.get("u")?.ok_or_else(|| missing("u"))?)?;
        let flag = |field: &str| statement.get_bool(field).unwrap_or(false);
        if flag("multi") && matches!(update, Update::Replacement(_)) {
            let text = "multi update is not supported for replacement-style update";
            return Err(CommandError::new(Code::FailedToParse, text));
        }
        Ok(Self {
            filter: parse_filter(filter)?,
            update,
            is_multi: flag("multi"),
            is_upsert: flag("upsert"),
            hint: statement.get("hint")?,
            context,
            options,
        })
    }

    /// Runs the statement; the answer says `n`, `nModified` and the `_id` of an upsert.
    fn run(
        &self,
        engine: &Engine,
        namespace: &Namespace,
        (retry, position): (&mut Retry, usize),
        outcome: &mut Outcome,
    ) -> Result<Document> {
        let mut transaction = engine.begin();
        retry.reload(engine)?;
        if let Some(done) = retry.outcome(position) {
            outcome.at = transaction.view().at;
            return Ok(done.clone());
        }
        transaction.set_options(self.options);
        transaction.set_statement(retry.statement(position));
        let (matched, modified) = self.update_matches(engine, &mut transaction, namespace)?;
        let mut done = bson::doc! { "n": matched, "nModified": modified };
        if matched == 0 && self.is_upsert {
            let collection = transaction.existing_or_created(namespace)?;
            let document = self.update.upsert(&self.filter, self.context)?.to_vec()?;
            let id = transaction.insert(&collection, RawDocument::from_bytes(&document)?)?;
            done = bson::doc! { "n": 1i64, "nModified": 0i64, "upserted": id };
        }
        retry.note(position, done.clone());
        retry.store(&mut transaction)?;
        outcome.at = transaction.commit()?;
        Ok(done)
    }

    fn update_matches(
        &self,
        engine: &Engine,
        transaction: &mut Transaction<'_>,
        namespace: &Namespace,
    ) -> Result<(i64, i64)> {
        let Some(collection) = transaction.catalog().find(namespace).cloned() else {
            return Ok((0, 0));
        };
        let mut query = Query::all(self.filter.clone());
        query.hint = self.hint.map(|hint| Hint::parse(hint, Some(&collection))).transpose()?;
        let matches = find_matches(engine, transaction, &collection, (query, self.is_multi))?;
        let is_replacement = matches!(self.update, Update::Replacement(_));
        let (mut matched, mut modified) = (0, 0);
        for (record, bytes) in matches {
            let raw = RawDocument::from_bytes(&bytes)?;
            let before = Document::try_from(raw)?;
            let after = self.update.apply(&before, self.context)?;
            matched += 1;
            if after.to_vec()? != bytes {
                transaction.update(&collection, (record, raw), &after, is_replacement)?;
                modified += 1;
            }
        }
        Ok((matched, modified))
    }
}

/// The matching documents with their record numbers; the first one only unless `is_multi`.
pub(super) fn find_matches(
    engine: &Engine,
    transaction: &Transaction<'_>,
    collection: &crate::collections::Collection,
    (mut query, is_multi): (Query, bool),
) -> Result<Vec<(u64, Vec<u8>)>> {
    query.limit = if is_multi { None } else { Some(1) };
    let mut stream = Stream::open(engine, transaction.view(), collection, query)?;
    let mut matches = Vec::new();
    stream.for_each(engine, |document| {
        matches.push(document.as_bytes().to_vec());
        Ok(true)
    })?;
    let mut found = Vec::with_capacity(matches.len());
    for bytes in matches {
        let id = RawDocument::from_bytes(&bytes)?.get("_id")?.unwrap_or(RawBsonRef::Null);
        let record = crate::query::find_by_id(engine, collection, id)?.ok_or_else(|| {
            let id = Bson::try_from(id).unwrap_or(Bson::Null);
            let text = format!(
                "the index on _id of {} lacks {id}; restore this instance from a snapshot",
                collection.namespace
            );
            CommandError::new(Code::InternalError, text)
        })?;
        found.push((record, bytes));
    }
    Ok(found)
}
