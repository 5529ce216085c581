//! `insert`.

use std::sync::Arc;

use bson::raw::RawDocument;

use super::write::{
    Outcome, check_batch, is_ordered, stored_count, writable_namespace, write_options,
};
use crate::collections::{Collection, Namespace};
use crate::context::Context;
use crate::error::Result;
use crate::reply::Reply;
use crate::request::Request;
use crate::session::Retry;
use crate::transaction::{Prepared, WriteOptions};

/// Documents of one command that share a commit.
const DOCUMENTS_PER_COMMIT: usize = 1_000;
/// And their bytes, unless one of them has more.
const BYTES_PER_COMMIT: usize = 4 * 1024 * 1024;

const FIELDS: &[&str] =
    &["documents", "ordered", "bypassDocumentValidation", "bypassEmptyTsReplacement"];

pub(super) fn run(context: &mut Context<'_>, request: &Request<'_>) -> Result<Reply> {
    request.allow(FIELDS)?;
    let namespace = writable_namespace(request)?;
    // Their depth is checked when they are prepared, before anything else.
    let documents = request.unchecked_documents("documents")?;
    check_batch(documents.len())?;
    let mut insertion = Insertion {
        namespace: &namespace,
        is_ordered: is_ordered(request),
        options: write_options(request),
        retry: Retry::new(request.statement(context.login.user_name())?),
        outcome: Outcome::new(context),
    };
    let mut position = 0;
    let mut rest = documents.as_slice();
    while !rest.is_empty() {
        let (now, later) = rest.split_at(commit_size(rest));
        let goes_on = insertion.insert(context, position, now)?;
        position += now.len();
        rest = if goes_on { later } else { &[] };
    }
    insertion.outcome.finish(context, &namespace)
}

/// How many of the documents the next commit takes, at least one.
fn commit_size(documents: &[&RawDocument]) -> usize {
    let mut bytes = 0;
    let fits = documents.iter().take(DOCUMENTS_PER_COMMIT).take_while(|document| {
        bytes += document.as_bytes().len();
        bytes <= BYTES_PER_COMMIT
    });
    fits.count().max(1)
}

struct Insertion<'a> {
    namespace: &'a Namespace,
    is_ordered: bool,
    options: WriteOptions,
    retry: Retry,
    outcome: Outcome,
}

impl Insertion<'_> {
    /// Inserts documents in one commit; `false` when the command ends here.
    fn insert(
        &mut self,
        context: &Context<'_>,
        first: usize,
        documents: &[&RawDocument],
    ) -> Result<bool> {
        let engine = &context.shared.engine;
        // Whoever waits to write waits for the commit only, not for this.
        let expected = engine.view()?.catalog.find(self.namespace).cloned();
        let prepare = |collection: &Collection, document| {
            Prepared::new(engine, collection, document, self.options)
        };
        let mut prepared: Vec<_> = match &expected {
            Some(collection) => {
                documents.iter().map(|document| Some(prepare(collection, document))).collect()
            }
            None => documents.iter().map(|_| None).collect(),
        };
        let mut transaction = engine.begin()?;
        self.retry.reload(&transaction)?;
        let collection = transaction.existing_or_created(self.namespace)?;
        if !expected.is_some_and(|expected| Arc::ptr_eq(&expected, &collection)) {
            prepared.iter_mut().for_each(|prepared| *prepared = None);
        }
        let mut goes_on = true;
        for ((statement, document), prepared) in (first..).zip(documents).zip(prepared) {
            if let Some(outcome) = self.retry.outcome(statement) {
                self.outcome.n += stored_count(outcome, "n");
                continue;
            }
            transaction.set_statement(self.retry.statement(statement));
            let inserted = prepared
                .unwrap_or_else(|| prepare(&collection, document))
                .and_then(|prepared| transaction.insert_prepared(&collection, &prepared));
            match inserted {
                Ok(()) => {
                    self.outcome.n += 1;
                    self.retry.note(statement, bson::doc! { "n": 1i64 });
                }
                Err(error) => {
                    if !self.outcome.push_error(statement, &error) || self.is_ordered {
                        goes_on = false;
                        break;
                    }
                }
            }
        }
        self.retry.store(&mut transaction)?;
        self.outcome.at = transaction.commit()?;
        Ok(goes_on)
    }
}
