//! `delete`.

use bson::RawBsonRef;
use bson::raw::RawDocument;

use super::update::{Progress, begin, check_not_loading, find_matches};
use super::write::{
    Outcome, allow_in_statement, check_batch, is_ordered, stored_count, writable_namespace,
};
use crate::collections::Namespace;
use crate::context::Context;
use crate::engine::Engine;
use crate::error::{Code, CommandError, Result};
use crate::filter::parse_filter;
use crate::number::as_integer;
use crate::query::{Hint, Query};
use crate::reply::Reply;
use crate::request::Request;
use crate::session::Retry;

pub(super) fn run(context: &mut Context<'_>, request: &Request<'_>) -> Result<Reply> {
    request.allow(&["deletes", "ordered"])?;
    let namespace = writable_namespace(request)?;
    let statements = request.documents("deletes")?;
    check_batch(statements.len())?;
    let engine = &context.shared.engine;
    let mut retry = Retry::new(request.statement(context.login.user_name())?);
    let mut outcome = Outcome::new(context);
    for (position, statement) in statements.into_iter().enumerate() {
        let result = delete(engine, &namespace, statement, (&mut retry, position, &mut outcome));
        match result {
            Ok(n) => outcome.n += n,
            Err(error) => {
                if !outcome.push_error(position, &error) || is_ordered(request) {
                    break;
                }
            }
        }
    }
    outcome.finish(context, &namespace)
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
    let parsed = parse_filter(filter)?;
    let mut progress = Progress::default();
    let mut deleted = 0;
    loop {
        let mut transaction = begin(engine, &parsed)?;
        retry.reload(&transaction)?;
        if let Some(done) = retry.outcome(position) {
            outcome.at = transaction.last();
            return Ok(stored_count(done, "n"));
        }
        transaction.set_statement(retry.statement(position));
        progress.is_at_end = true;
        if let Some(collection) = transaction.catalog().find(namespace).cloned() {
            check_not_loading(&collection)?;
            let mut query = Query::all(parsed.clone());
            query.hint = statement
                .get("hint")?
                .map(|hint| Hint::parse(hint, Some(&collection)))
                .transpose()?;
            let query = (query, is_multi);
            for (record, bytes) in
                find_matches(engine, &transaction, &collection, query, &mut progress)?
            {
                transaction.delete(&collection, record, RawDocument::from_bytes(&bytes)?)?;
                deleted += 1;
            }
        }
        if progress.is_at_end {
            retry.note(position, bson::doc! { "n": deleted });
            retry.store(&mut transaction)?;
        }
        outcome.at = transaction.commit()?;
        if progress.is_at_end {
            return Ok(deleted);
        }
    }
}
