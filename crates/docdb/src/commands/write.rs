//! What all writing commands share: statements, their errors, and the wait for the disk.

use bson::{Bson, Document};
use tidemark_model::OplogTime;

use crate::collections::Namespace;
use crate::context::Context;
use crate::error::{Code, CommandError, Result};
use crate::reply::Reply;
use crate::request::Request;
use crate::transaction::WriteOptions;
use crate::update::UpdateContext;

/// The largest number of statements in one command, as `hello` says.
const LARGEST_BATCH: usize = 100_000;

/// The outcome of a writing command in the making.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) n: i64,
    pub(super) modified: Option<i64>,
    pub(super) upserted: Vec<Bson>,
    errors: Vec<Bson>,
    /// Why the command as a whole ended before its statements did.
    interruption: Option<CommandError>,
    /// The last commit of the command.
    pub(super) at: OplogTime,
    /// How often something had been undone when the command began.
    reloads: u64,
}

impl Outcome {
    /// Nothing is done yet.
    pub(super) fn new(context: &Context<'_>) -> Self {
        Self {
            n: 0,
            modified: None,
            upserted: Vec::new(),
            errors: Vec::new(),
            interruption: None,
            at: OplogTime::default(),
            reloads: context.shared.engine.reloads(),
        }
    }

    /// Notes a failed statement; answers whether others can be run after it.
    pub(super) fn push_error(&mut self, statement: usize, error: &CommandError) -> bool {
        if matches!(error.code, Code::MaxTimeMSExpired | Code::ClientDisconnect) {
            self.interruption.get_or_insert_with(|| error.clone());
            return false;
        }
        let mut document = bson::doc! {
            "index": i32::try_from(statement).unwrap_or(i32::MAX),
            "code": error.code.number(),
            "errmsg": &error.message,
        };
        document.extend(error.extra.clone());
        self.errors.push(document.into());
        true
    }

    /// Waits for the disk and answers. Clients that do not want to wait for it (`w: 0`, `j: false`)
    /// wait all the same: nobody sees what is not on disk, and they want to see what they wrote.
    pub(super) fn finish(self, context: &Context<'_>, namespace: &Namespace) -> Result<Reply> {
        let engine = &context.shared.engine;
        engine.wait_durable(self.at)?;
        engine.settle_staged(namespace)?;
        // Of several commits an earlier one may have failed.
        engine.check_kept(self.reloads)?;
        if let Some(interruption) = self.interruption {
            return Err(interruption);
        }
        let mut reply = bson::doc! { "n": i32::try_from(self.n).unwrap_or(i32::MAX) };
        if let Some(modified) = self.modified {
            reply.insert("nModified", i32::try_from(modified).unwrap_or(i32::MAX));
        }
        if !self.upserted.is_empty() {
            reply.insert("upserted", self.upserted);
        }
        if !self.errors.is_empty() {
            reply.insert("writeErrors", self.errors);
        }
        Ok(reply.into())
    }
}

/// The namespace of a write; refuses what users may not write to.
pub(super) fn writable_namespace(request: &Request<'_>) -> Result<Namespace> {
    let namespace = request.namespace()?;
    check_writable(&namespace)?;
    Ok(namespace)
}

/// Refuses the collections that the engine keeps itself.
pub(super) fn check_writable(namespace: &Namespace) -> Result<()> {
    if namespace.database == "local" || namespace.collection.starts_with("system.") {
        let text = format!("cannot write to '{namespace}'");
        return Err(CommandError::new(Code::InvalidNamespace, text));
    }
    Ok(())
}

/// Refuses empty and oversized lists of statements.
pub(super) fn check_batch(statements: usize) -> Result<()> {
    if (1..=LARGEST_BATCH).contains(&statements) {
        return Ok(());
    }
    let text = format!(
        "Write batch sizes must be between 1 and {LARGEST_BATCH}. Got {statements} operations."
    );
    Err(CommandError::new(Code::InvalidLength, text))
}

/// What the client lets a write skip.
pub(super) fn write_options(request: &Request<'_>) -> WriteOptions {
    WriteOptions {
        keeps_empty_timestamps: request.flag("bypassEmptyTsReplacement"),
        bypasses_validation: request.flag("bypassDocumentValidation"),
    }
}

/// Whether statements after a failed one are not run.
pub(super) fn is_ordered(request: &Request<'_>) -> bool {
    request.field("ordered").is_none() || request.flag("ordered")
}

/// The present, for updates.
pub(super) fn update_context(context: &Context<'_>) -> UpdateContext {
    let now = context.shared.engine.clock.now().as_millisecond();
    UpdateContext { now: bson::DateTime::from_millis(now), is_insert: false }
}

/// Refuses fields that a statement does not have.
pub(super) fn allow_in_statement(
    statement: &bson::raw::RawDocument,
    command: &str,
    fields: &[&str],
) -> Result<()> {
    for element in statement.iter_elements() {
        let element = element?;
        let name = element.key().as_str();
        crate::fields::check_type(command, name, element.value()?)?;
        let is_simple_collation = name == "collation"
            && matches!(element.value()?, bson::RawBsonRef::Document(c) if c.is_empty() || c.get_str("locale").is_ok_and(|locale| locale == "simple"));
        let is_empty_list = name == "arrayFilters"
            && matches!(element.value()?, bson::RawBsonRef::Array(list) if list.is_empty());
        if !fields.contains(&name) && !is_simple_collation && !is_empty_list {
            return Err(CommandError::unsupported(format!("the option '{name}' of {command}")));
        }
    }
    Ok(())
}

/// The document that a repeated statement answered with.
pub(super) fn stored_count(outcome: &Document, field: &str) -> i64 {
    outcome.get_i64(field).unwrap_or(0)
}
