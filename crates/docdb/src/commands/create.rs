//! `create` and `collMod`.

use bson::raw::RawDocument;
use bson::{Bson, Document};

use super::write::writable_namespace;
use crate::auth::{Privilege, Resource};
use crate::collections::{STAGE_PREFIX, Staging};
use crate::context::Context;
use crate::error::{Code, CommandError, Result};
use crate::filter::parse_filter;
use crate::reply::Reply;
use crate::request::Request;

/// Not a MongoDB option: the collection is loaded by a restore. It is not in the oplog, and its
/// indexes are built from sorted runs when it is asked for the first of them.
const STAGING: &str = "tidemarkStaging";

/// Options that are kept and obeyed.
const VALIDATION: &[&str] = &["validator", "validationLevel", "validationAction"];

pub(super) fn run(context: &mut Context<'_>, request: &Request<'_>) -> Result<Reply> {
    let namespace = writable_namespace(request)?;
    let options = parse_options(request, &["idIndex", "autoIndexId", "temp", STAGING])?;
    let staging = if request.flag(STAGING) { Staging::Loading } else { Staging::None };
    if staging == Staging::Loading {
        // What it holds is not in the oplog, and only a restore sees to what follows from that.
        let resource = Resource::database(&namespace.database);
        context.login.check("create", Privilege::Administer, resource)?;
        if !namespace.collection.starts_with(STAGE_PREFIX) {
            let text = format!("a staged collection's name begins with '{STAGE_PREFIX}'");
            return Err(CommandError::new(Code::InvalidNamespace, text));
        }
    }
    let mut transaction = context.shared.engine.begin()?;
    transaction.create(&namespace, options, staging)?;
    if staging == Staging::Loading {
        transaction.commit_to_disk()?;
        return Ok(Reply::ok());
    }
    let at = transaction.commit()?;
    context.shared.engine.wait_durable(at)?;
    Ok(Reply::ok())
}

pub(super) fn modify(context: &mut Context<'_>, request: &Request<'_>) -> Result<Reply> {
    let namespace = writable_namespace(request)?;
    let changes = parse_options(request, &[])?;
    let mut transaction = context.shared.engine.begin()?;
    transaction.change_options(&namespace, changes)?;
    let at = transaction.commit()?;
    context.shared.engine.wait_durable(at)?;
    Ok(Reply::ok())
}

fn parse_options(request: &Request<'_>, implied: &[&str]) -> Result<Document> {
    let known: Vec<&str> = VALIDATION.iter().chain(implied).copied().collect();
    for (option, kind) in [
        ("capped", "a capped collection"),
        ("viewOn", "a view"),
        ("timeseries", "a time series collection"),
        ("clusteredIndex", "a clustered collection"),
        ("encryptedFields", "an encrypted collection"),
    ] {
        let is_off = option == "capped" && !request.flag(option);
        if request.field(option).is_some() && !is_off {
            return Err(CommandError::unsupported(kind));
        }
    }
    let tolerated: Vec<&str> = known.iter().copied().chain(["capped"]).collect();
    request.allow(&tolerated)?;
    for (name, allowed) in [
        ("validationLevel", ["off", "strict", "moderate"]),
        ("validationAction", ["error", "warn", "error"]),
    ] {
        if let Some(value) = request.text(name).filter(|value| !allowed.contains(value)) {
            let text = format!(
                "Enumeration value '{value}' for field '{}.{name}' is not a valid value.",
                request.name
            );
            return Err(CommandError::new(Code::BadValue, text));
        }
    }
    let mut options = Document::new();
    for name in VALIDATION {
        if let Some(value) = request.field(name) {
            options.insert(*name, Bson::try_from(value)?);
        }
    }
    if let Ok(validator) = options.get_document("validator") {
        parse_filter(RawDocument::from_bytes(&validator.to_vec()?)?)?;
    }
    Ok(options)
}
