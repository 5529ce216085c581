//! `insert`.

use bson::raw::RawDocument;

use super::write::{
    Outcome, check_batch, is_ordered, stored_count, writable_namespace, write_options,
};
use super::{Context, Reply};
use crate::collections::Namespace;
use crate::error::Result;
use crate::request::Request;
use crate::session::Retry;
use crate::transaction::WriteOptions;

/// Documents of one command that share a commit.
const DOCUMENTS_PER_COMMIT: usize = 1_000;

const FIELDS: &[&str] =
    &["documents", "ordered", "bypassDocumentValidation", "bypassEmptyTsReplacement"];

pub(super) fn run(context: &mut Context<'_>, request: &Request<'_>) -> Result<Reply> {
    request.allow(FIELDS)?;
    let namespace = writable_namespace(request)?;
    let documents = request.documents("documents")?;
    check_batch(documents.len())?;
    let mut insertion = Insertion {
        namespace: &namespace,
        is_ordered: is_ordered(request),
        options: write_options(request),
        retry: Retry::load(&context.shared.engine, request.statement()?)?,
        outcome: Outcome::default(),
    };
    let mut position = 0;
    for documents in documents.chunks(DOCUMENTS_PER_COMMIT) {
        let goes_on = insertion.insert(context, position, documents)?;
        position += documents.len();
        if !goes_on {
            break;
        }
    }
    insertion.outcome.finish(context, request)
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
        let mut transaction = context.shared.engine.begin();
        self.retry.reload(&context.shared.engine)?;
        transaction.set_options(self.options);
        let collection = transaction.existing_or_created(self.namespace)?;
        let mut goes_on = true;
        for (statement, document) in (first..).zip(documents) {
            if let Some(outcome) = self.retry.outcome(statement) {
                self.outcome.n += stored_count(outcome, "n");
                continue;
            }
            transaction.set_statement(self.retry.statement(statement));
            match transaction.insert(&collection, document) {
                Ok(_) => {
                    self.outcome.n += 1;
                    self.retry.note(statement, bson::doc! { "n": 1i64 });
                }
                Err(error) => {
                    self.outcome.push_error(statement, &error);
                    if self.is_ordered {
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
