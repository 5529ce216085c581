//! `delete`.

use bson::RawBsonRef;
use bson::raw::RawDocument;

use super::update::find_matches;
use super::write::{
    Outcome, allow_in_statement, check_batch, is_ordered, stored_count, writable_namespace,
};
use super::{Context, Reply};
use crate::collections::Namespace;
use crate::engine::Engine;
use crate::error::{Code, CommandError, Result};
use crate::filter::parse_filter;
use crate::number::as_integer;
use crate::query::{Hint, Query};
use crate::request::Request;
use crate::session::Retry;

pub(super) fn run(context: &mut Context<'_>, request: &Request<'_>) -> Result<Reply> {
    request.allow(&["deletes", "ordered"])?;
    let namespace = writable_namespace(request)?;
    let statements = request.documents("deletes")?;
    check_batch(statements.len())?;
    let engine = &context.shared.engine;
    let mut retry = Retry::load(engine, request.statement()?)?;
    let mut outcome = Outcome::default();
    for (position, statement) in statements.into_iter().enumerate() {
        let result = delete(engine, &namespace, statement, (&mut retry, position, &mut outcome));
        match result {
            Ok(n) => outcome.n += n,
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

fn delete(
    engine: &Engine,
    namespace: &Namespace,
    statement: &RawDocument,
    (retry, position, outcome): (&mut Retry, usize, &mut Outcome),
) -> Result<i64> {
    allow_in_statement(statement, "delete", &["q", "limit", "hint"])?;
    let filter = statement.get("q")?.and_then(RawBsonRef::as_document).ok_or_else(|| {
        CommandError::new(
            Code::Location40414,
            "BSON field 'delete.deletes.q' is missing but a required field",
        )
    })?;
    let limit = statement.get("limit")?.and_then(as_integer);
    let is_multi = match limit {
        Some(0) => true,
        Some(1) => false,
        _ => {
            let text = "The limit field in delete objects must be 0 or 1";
            return Err(CommandError::new(Code::FailedToParse, text));
        }
    };
    let mut transaction = engine.begin();
    retry.reload(engine)?;
    if let Some(done) = retry.outcome(position) {
        outcome.at = transaction.view().at;
        return Ok(stored_count(done, "n"));
    }
    transaction.set_statement(retry.statement(position));
    let mut deleted = 0;
    if let Some(collection) = transaction.catalog().find(namespace).cloned() {
        let mut query = Query::all(parse_filter(filter)?);
        query.hint =
            statement.get("hint")?.map(|hint| Hint::parse(hint, Some(&collection))).transpose()?;
        for (record, bytes) in find_matches(engine, &transaction, &collection, (query, is_multi))? {
            transaction.delete(&collection, record, RawDocument::from_bytes(&bytes)?)?;
            deleted += 1;
        }
    }
    retry.note(position, bson::doc! { "n": deleted });
    retry.store(&mut transaction)?;
    outcome.at = transaction.commit()?;
    Ok(deleted)
}
