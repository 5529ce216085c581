//! Retryable writes: what a session's last numbered write did, kept beside the data.
//!
//! The record is part of the same commit as the write, so a repeated statement is recognised
//! also after a crash. Source: the retryable writes specification of the MongoDB drivers.

use bson::raw::RawDocument;
use bson::{Bson, Document};
use tidemark_store::{Direction, Range, Tree};

use crate::engine::Engine;
use crate::error::{Code, CommandError, Result};
use crate::transaction::{StatementId, Transaction};

/// The outcomes of the statements of one numbered write.
#[derive(Debug, Default)]
pub(crate) struct Retry {
    /// Names the session and the write; `None` when the client did not ask for it.
    pub(crate) id: Option<StatementId>,
    /// First statement, last statement, what each of them answered.
    done: Vec<(i32, i32, Document)>,
}

impl Retry {
    /// Nothing is known yet of the write that `id` names.
    pub(crate) fn new(id: Option<StatementId>) -> Self {
        Self { id, done: Vec::new() }
    }

    /// Looks what is known of the write, now that no other write of the session can be under way.
    pub(crate) fn reload(&mut self, transaction: &Transaction<'_>) -> Result<()> {
        let Some(id) = &self.id else { return Ok(()) };
        let stored = transaction.get(Tree::Meta, &record_key(id)?)?;
        self.done.clear();
        let Some(stored) = stored else { return Ok(()) };
        let record = Document::try_from(RawDocument::from_bytes(&stored)?)?;
        let number = record.get_i64("number").unwrap_or(-1);
        if number > id.number {
            let text = format!(
                "Cannot start transaction {} because a newer transaction {number} has already started on this session",
                id.number
            );
            return Err(CommandError::new(Code::TransactionTooOld, text));
        }
        if number == id.number {
            for item in record.get_array("done").into_iter().flatten() {
                if let Some([Bson::Int32(first), Bson::Int32(last), Bson::Document(outcome)]) =
                    item.as_array().map(Vec::as_slice)
                {
                    self.done.push((*first, *last, outcome.clone()));
                }
            }
        }
        Ok(())
    }

    /// What a statement answered when it was done before.
    pub(crate) fn outcome(&self, statement: usize) -> Option<&Document> {
        let statement = i32::try_from(statement).ok()?;
        let found = self.done.iter().find(|(first, last, _)| (*first..=*last).contains(&statement));
        found.map(|(_, _, outcome)| outcome)
    }

    /// The identity of one statement.
    pub(crate) fn statement(&self, statement: usize) -> Option<StatementId> {
        let statement = i32::try_from(statement).unwrap_or(i32::MAX);
        self.id.clone().map(|id| StatementId { statement, ..id })
    }

    /// Notes what a statement answered, for `store`.
    pub(crate) fn note(&mut self, statement: usize, outcome: Document) {
        let statement = i32::try_from(statement).unwrap_or(i32::MAX);
        match self.done.last_mut() {
            Some((_, last, same)) if *last + 1 == statement && *same == outcome => {
                *last = statement;
            }
            _ => self.done.push((statement, statement, outcome)),
        }
    }

    /// Keeps all that was noted, in the same commit as the write itself.
    pub(crate) fn store(&self, transaction: &mut Transaction<'_>) -> Result<()> {
        let Some(id) = &self.id else { return Ok(()) };
        let done: Vec<Bson> = self
            .done
            .iter()
            .map(|(first, last, outcome)| {
                Bson::Array(vec![
                    Bson::Int32(*first),
                    Bson::Int32(*last),
                    Bson::Document(outcome.clone()),
                ])
            })
            .collect();
        let used_at = transaction.engine.clock.now().as_second();
        let record = bson::doc! { "number": id.number, "done": done, "usedAt": used_at };
        transaction.put_meta(&record_key(id)?, &record.to_vec()?);
        Ok(())
    }
}

/// A session that was not used for this long is over for every driver: twice the half hour that
/// `hello` promises.
const SESSION_SECONDS: i64 = 3_600;
/// How many records are removed in one commit.
const FORGOTTEN_AT_ONCE: usize = 10_000;

/// Forgets the records of sessions that are over.
pub(crate) fn forget_old_sessions(engine: &Engine) -> Result<()> {
    let oldest = engine.clock.now().as_second() - SESSION_SECONDS;
    // Nobody may write a record between the look and the removal.
    let mut transaction = engine.begin_settled()?;
    let mut old = Vec::new();
    let sessions = Range::prefix(b"s");
    transaction.view().visit(Tree::Meta, &sessions, Direction::Ascending, |key, value| {
        let used_at = RawDocument::from_bytes(value)?.get_i64("usedAt").unwrap_or(0);
        if used_at < oldest {
            old.push(key.to_vec());
        }
        Ok::<_, CommandError>(old.len() < FORGOTTEN_AT_ONCE)
    })?;
    if old.is_empty() {
        return Ok(());
    }
    old.iter().for_each(|key| transaction.remove_meta(key));
    transaction.commit_to_disk()
}

fn record_key(id: &StatementId) -> Result<Vec<u8>> {
    let mut key = vec![b's'];
    key.extend_from_slice(&id.session);
    Ok(key)
}
