//! `renameCollection`.

use super::write::check_writable;
use crate::auth::{Privilege, Resource};
use crate::collections::Namespace;
use crate::context::Context;
use crate::error::{Code, CommandError, Result};
use crate::reply::Reply;
use crate::request::Request;

pub(super) fn run(context: &mut Context<'_>, request: &Request<'_>) -> Result<Reply> {
    request.allow(&["to", "dropTarget"])?;
    if request.database != "admin" {
        let text = "renameCollection may only be run against the admin database.";
        return Err(CommandError::new(Code::Unauthorized, text));
    }
    let name = |field: &str| {
        let text = request.text(field).ok_or_else(|| {
            CommandError::new(
                Code::TypeMismatch,
                format!("renameCollection.{field} must be a namespace"),
            )
        });
        Namespace::parse(text?)
    };
    let (from, to) = (name("renameCollection")?, name("to")?);
    check_writable(&from)?;
    check_writable(&to)?;
    let needs = |privilege, namespace: &Namespace| {
        let resource = Resource::database(&namespace.database);
        context.login.check("renameCollection", privilege, resource)
    };
    needs(Privilege::Define, &from)?;
    needs(Privilege::Define, &to)?;
    if from.database != to.database {
        // Documents move to where others read them.
        needs(Privilege::Read, &from)?;
        needs(Privilege::Write, &to)?;
    }
    let mut transaction = context.shared.engine.begin()?;
    transaction.rename(&from, &to, request.flag("dropTarget"))?;
    let at = transaction.commit()?;
    context.shared.engine.wait_durable(at)?;
    Ok(Reply::ok())
}
