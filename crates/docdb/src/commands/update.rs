//! `update`.

use bson::raw::RawDocument;
use bson::{Document, RawBsonRef};

use super::write::{
    Outcome, allow_in_statement, check_batch, is_ordered, stored_count, update_context,
    writable_namespace, write_options,
};
use crate::collections::{Collection, Namespace};
use crate::context::Context;
use crate::engine::Engine;
use crate::error::{Code, CommandError, Result};
use crate::filter::{Filter, parse_filter};
use crate::query::{Hint, Query, ReadAt, Stream, id_of};
use crate::reply::Reply;
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
    let mut retry = Retry::new(request.statement(context.login.user_name())?);
    let mut outcome = Outcome::new(context);
    outcome.modified = Some(0);
    for (position, statement) in statements.into_iter().enumerate() {
        let context_of_update = (update_context(context), write_options(request));
        let result = Statement::parse(statement, context_of_update).and_then(|statement| {
            statement.run(&context.shared.engine, &namespace, (&mut retry, position), &mut outcome)
        });
        match result {
            Ok(done) => add(&mut outcome, position, &done),
            Err(error) => {
                if !outcome.push_error(position, &error) || is_ordered(request) {
                    break;
                }
            }
        }
    }
    outcome.finish(context, &namespace)
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
        let mut done = bson::doc! { "n": 0i64, "nModified": 0i64 };
        let mut progress = Progress::default();
        loop {
            let mut transaction = begin(engine, &self.filter)?;
            retry.reload(&transaction)?;
            if let Some(done) = retry.outcome(position) {
                outcome.at = transaction.last();
                return Ok(done.clone());
            }
            transaction.set_options(self.options);
            transaction.set_statement(retry.statement(position));
            self.update_matches(engine, &mut transaction, namespace, &mut progress)?;
            done.insert("n", progress.matched);
            done.insert("nModified", progress.modified);
            if progress.is_at_end && progress.matched == 0 && self.is_upsert {
                let collection = transaction.existing_or_created(namespace)?;
                let document = self.update.upsert(&self.filter, self.context)?.to_vec()?;
                let id = transaction.insert(&collection, RawDocument::from_bytes(&document)?)?;
                done = bson::doc! { "n": 1i64, "nModified": 0i64, "upserted": id };
            }
            if progress.is_at_end {
                retry.note(position, done.clone());
                retry.store(&mut transaction)?;
            }
            outcome.at = transaction.commit()?;
            if progress.is_at_end {
                return Ok(done);
            }
        }
    }

    /// Changes the matches from where the last commit ended, as many as one commit may hold.
    fn update_matches(
        &self,
        engine: &Engine,
        transaction: &mut Transaction<'_>,
        namespace: &Namespace,
        progress: &mut Progress,
    ) -> Result<()> {
        progress.is_at_end = true;
        let Some(collection) = transaction.catalog().find(namespace).cloned() else {
            return Ok(());
        };
        check_not_loading(&collection)?;
        let hint = self.hint.map(|hint| Hint::parse(hint, Some(&collection))).transpose()?;
        let query = Query { hint, ..Query::all(self.filter.clone()) };
        let is_replacement = matches!(self.update, Update::Replacement(_));
        let matches =
            find_matches(engine, transaction, &collection, (query, self.is_multi), progress)?;
        let mut matches = matches.into_iter();
        while let Some((record, bytes)) = matches.next() {
            let raw = RawDocument::from_bytes(&bytes)?;
            let before = Document::try_from(raw)?;
            let after = self.update.apply(&before, self.context)?;
            progress.matched += 1;
            if after.to_vec()? != bytes {
                transaction.update(&collection, (record, raw), &after, is_replacement)?;
                progress.modified += 1;
            }
            if transaction.is_large() {
                // Documents may grow; the rest is for the next commit, which reads them again.
                progress.postponed = matches.map(|(record, _)| record).collect();
                progress.is_at_end &= progress.postponed.is_empty();
                break;
            }
        }
        Ok(())
    }
}

/// How far a statement is that takes several commits, as one on many documents does.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) matched: i64,
    modified: i64,
    /// Goes on where the last commit ended.
    stream: Option<Stream>,
    /// Records that were found and not looked at yet.
    postponed: Vec<u64>,
    pub(super) is_at_end: bool,
}

/// Bytes of documents that one commit changes.
const CHANGED_BYTES: usize = 16 * 1024 * 1024;
/// Documents that one commit changes.
const CHANGED_DOCUMENTS: usize = 8_000;

/// Begins a commit that can find what a filter matches.
pub(super) fn begin<'e>(engine: &'e Engine, filter: &Filter) -> Result<Transaction<'e>> {
    // A single document is found by its key; anything else is read from what is settled.
    if id_of(filter).is_some() { engine.begin() } else { engine.begin_settled() }
}

/// Refuses to look for documents in a collection that has no index yet.
pub(super) fn check_not_loading(collection: &Collection) -> Result<()> {
    if !collection.is_loading() {
        return Ok(());
    }
    let text = format!(
        "{} is being loaded; build its index on _id before its documents are changed",
        collection.namespace
    );
    Err(CommandError::new(Code::IllegalOperation, text))
}

/// The matching documents with their record numbers: the first one only unless `is_multi`, else
/// those of one commit, from where `progress` is.
pub(super) fn find_matches(
    engine: &Engine,
    transaction: &Transaction<'_>,
    collection: &Collection,
    (mut query, is_multi): (Query, bool),
    progress: &mut Progress,
) -> Result<Vec<(u64, Vec<u8>)>> {
    if let Some(id) = id_of(&query.filter) {
        let found = transaction.find_by_id(collection, id.as_raw_bson_ref())?;
        let matches = |(_, bytes): &(u64, Vec<u8>)| -> Result<bool> {
            query.filter.matches(RawDocument::from_bytes(bytes)?)
        };
        return match found {
            Some(found) if matches(&found)? => Ok(vec![found]),
            _ => Ok(Vec::new()),
        };
    }
    query.limit = if is_multi { None } else { Some(1) };
    let filter = query.filter.clone();
    let read = (transaction.view(), ReadAt::Present);
    let mut stream = match progress.stream.take() {
        Some(stream) => stream,
        None => Stream::open(engine, read, collection, query)?,
    };
    let (mut found, mut bytes) = (Vec::new(), 0);
    for record in std::mem::take(&mut progress.postponed) {
        if let Some(document) = transaction.view().document(collection.id, record)?
            && filter.matches(RawDocument::from_bytes(&document)?)?
        {
            bytes += document.len();
            found.push((record, document.into_owned()));
        }
    }
    progress.is_at_end =
        stream.visit_records((transaction.view(), collection), |record, document| {
            if bytes >= CHANGED_BYTES || found.len() >= CHANGED_DOCUMENTS {
                return Ok(false);
            }
            bytes += document.as_bytes().len();
            found.push((record, document.as_bytes().to_vec()));
            Ok(true)
        })?;
    progress.stream = Some(stream);
    Ok(found)
}
