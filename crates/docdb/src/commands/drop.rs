//! `drop` and `dropDatabase`.

use super::write::writable_namespace;
use crate::context::Context;
use crate::error::{Code, CommandError, Result};
use crate::reply::Reply;
use crate::request::Request;

pub(super) fn collection(context: &mut Context<'_>, request: &Request<'_>) -> Result<Reply> {
    request.allow(&[])?;
    let namespace = writable_namespace(request)?;
    let mut transaction = context.shared.engine.begin()?;
    if transaction.catalog().find(&namespace).is_none() {
        return Ok(Reply::ok());
    }
    let dropped = transaction.drop_collection(&namespace)?;
    if dropped.is_staging() {
        transaction.commit_to_disk()?;
    } else {
        let at = transaction.commit()?;
        context.shared.engine.wait_durable(at)?;
    }
    let indexes = i32::try_from(dropped.indexes.len()).unwrap_or(i32::MAX);
    Ok(bson::doc! { "nIndexesWas": indexes, "ns": namespace.to_string() }.into())
}

pub(super) fn database(context: &mut Context<'_>, request: &Request<'_>) -> Result<Reply> {
    request.allow(&[])?;
    if matches!(request.database, "admin" | "local" | "config") {
        let text = format!("Dropping the '{}' database is prohibited.", request.database);
        return Err(CommandError::new(Code::IllegalOperation, text));
    }
    let mut transaction = context.shared.engine.begin()?;
    // What a restore stages belongs to the restore, not to the users of the database.
    let drops_staged = context.login.is_server();
    if transaction.catalog().visible_in(request.database, drops_staged).next().is_none() {
        return Ok(Reply::ok());
    }
    transaction.drop_database(request.database, drops_staged);
    let at = transaction.commit()?;
    context.shared.engine.wait_durable(at)?;
    Ok(bson::doc! { "dropped": request.database }.into())
}
