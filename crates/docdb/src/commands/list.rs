//! `listDatabases` and `listCollections`.

use bson::raw::RawDocument;
use bson::{Bson, Document};

use super::find::first_batch;
use crate::auth::{Privilege, Resource};
use crate::collections::Collection;
use crate::context::Context;
use crate::cursor::{Cursor, Tail};
use crate::engine::OPLOG_BYTES;
use crate::error::{Code, CommandError, Result};
use crate::filter::{Filter, parse_filter};
use crate::query::{ReadAt, Stream};
use crate::reply::Reply;
use crate::request::Request;
use crate::spool::SpoolWriter;

/// Databases of the server itself.
const INTERNAL_DATABASES: &[&str] = &["admin", "config", "local"];

pub(super) fn databases(context: &mut Context<'_>, request: &Request<'_>) -> Result<Reply> {
    request.allow(&["filter", "nameOnly", "authorizedDatabases"])?;
    let engine = &context.shared.engine;
    let view = engine.view()?;
    let filter = parse(request)?;
    let sees_staged = context.login.is_server();
    let mut names = view.catalog.databases();
    names.retain(|name| view.catalog.visible_in(name, sees_staged).next().is_some());
    let missing: Vec<&str> =
        INTERNAL_DATABASES.iter().copied().filter(|name| !names.contains(name)).collect();
    names.extend(missing);
    names.sort_unstable();
    // Without the right to list them all a user sees those that it may do something in.
    if request.flag("authorizedDatabases") || !context.login.lists_databases() {
        names.retain(|name| context.login.has_grant_in(name));
    }
    let mut databases: Vec<Bson> = Vec::new();
    let mut total = 0;
    for name in names {
        let mut bytes = 0;
        for collection in view.catalog.visible_in(name, sees_staged) {
            bytes += view.statistics(collection.id)?.bytes;
        }
        let document = if request.flag("nameOnly") {
            bson::doc! { "name": name }
        } else {
            bson::doc! { "name": name, "sizeOnDisk": bytes, "empty": bytes == 0 }
        };
        if matches(filter.as_ref(), &document)? {
            total += bytes;
            databases.push(document.into());
        }
    }
    let mut reply = bson::doc! { "databases": databases };
    if !request.flag("nameOnly") {
        reply.insert("totalSize", total);
        reply.insert("totalSizeMb", total / (1024 * 1024));
    }
    Ok(reply.into())
}

pub(super) fn collections(context: &mut Context<'_>, request: &Request<'_>) -> Result<Reply> {
    request.allow(&["filter", "nameOnly", "authorizedCollections", "cursor"])?;
    let login = &*context.login;
    let sees_all = login.may(Privilege::Read, Resource::database(request.database))
        || login.may(Privilege::Define, Resource::database(request.database));
    if !sees_all && !login.has_grant_in(request.database) {
        let text =
            format!("not authorized on {} to execute command listCollections", request.database);
        return Err(CommandError::new(Code::Unauthorized, text));
    }
    let view = context.shared.engine.view()?;
    let filter = parse(request)?;
    let mut documents = Vec::new();
    for collection in view.catalog.visible_in(request.database, login.is_server()) {
        let name = Some(collection.namespace.collection.as_str());
        let resource = Resource { database: request.database, collection: name };
        if sees_all || login.may(Privilege::Read, resource) {
            documents.push(describe(collection));
        }
    }
    if request.database == "local" && sees_all {
        documents.push(bson::doc! {
            "name": "oplog.rs",
            "type": "collection",
            "options": { "capped": true, "size": OPLOG_BYTES },
            "info": { "readOnly": false },
        });
    }
    drop(view);
    let is_name_only = request.flag("nameOnly");
    let chosen = documents.into_iter().filter_map(|mut document| {
        match matches(filter.as_ref(), &document) {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => return Some(Err(error)),
        }
        if is_name_only {
            for field in ["options", "info", "idIndex"] {
                document.remove(field);
            }
        }
        Some(Ok(document))
    });
    let chosen = chosen.collect::<Result<Vec<_>>>()?;
    let namespace = format!("{}.$cmd.listCollections", request.database);
    answer(context, request, &namespace, chosen)
}

/// Answers with documents that were made for this answer; what does not fit into it waits.
pub(super) fn answer(
    context: &Context<'_>,
    request: &Request<'_>,
    namespace: &str,
    documents: Vec<Document>,
) -> Result<Reply> {
    let mut spool = SpoolWriter::new(context.shared.engine.folder());
    for document in documents {
        spool.push(document.to_vec()?)?;
    }
    let cursor = Cursor {
        namespace: namespace.to_owned(),
        stream: Stream::of_spool(spool.finish()?),
        tail: Tail::Closed,
        user: context.login.user_name().map(str::to_owned),
    };
    let size = request.cursor_size()?.unwrap_or(u64::MAX);
    first_batch(context, cursor, (size, false), ReadAt::Present)
}

fn describe(collection: &Collection) -> Document {
    let id_index =
        collection.find_index("_id_").map(|index| index.spec.clone()).unwrap_or_default();
    bson::doc! {
        "name": &collection.namespace.collection,
        "type": "collection",
        "options": &collection.options,
        "info": { "readOnly": false, "uuid": collection.uuid_bson() },
        "idIndex": id_index,
    }
}

fn parse(request: &Request<'_>) -> Result<Option<Filter>> {
    request.document("filter")?.map(parse_filter).transpose()
}

fn matches(filter: Option<&Filter>, document: &Document) -> Result<bool> {
    let Some(filter) = filter else {
        return Ok(true);
    };
    let bytes = document.to_vec()?;
    filter.matches(RawDocument::from_bytes(&bytes)?)
}
