//! `listDatabases` and `listCollections`.

use bson::raw::RawDocument;
use bson::{Bson, Document};

use super::find::first_batch;
use super::{Context, Reply};
use crate::collections::Collection;
use crate::cursor::{Cursor, Tail};
use crate::error::Result;
use crate::filter::{Filter, parse_filter};
use crate::query::Stream;
use crate::request::Request;

pub(super) fn databases(context: &mut Context<'_>, request: &Request<'_>) -> Result<Reply> {
    request.allow(&["filter", "nameOnly", "authorizedDatabases"])?;
    let engine = &context.shared.engine;
    let view = engine.view();
    let filter = parse(request)?;
    let mut names = view.catalog.databases();
    names.push("local");
    let mut databases: Vec<Bson> = Vec::new();
    let mut total = 0;
    for name in names {
        let mut bytes = 0;
        for collection in view.catalog.in_database(name) {
            bytes += view.statistics(&engine.keyspaces, collection.id)?.bytes;
        }
        let document = if request.flag("nameOnly") {
            bson::doc! { "name": name }
        } else {
            bson::doc! { "name": name, "sizeOnDisk": bytes, "empty": false }
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
    let view = context.shared.engine.view();
    let filter = parse(request)?;
    let mut documents = Vec::new();
    for collection in view.catalog.in_database(request.database) {
        documents.push(describe(collection));
    }
    if request.database == "local" {
        documents.push(bson::doc! {
            "name": "oplog.rs",
            "type": "collection",
            "options": { "capped": true, "size": i64::MAX },
            "info": { "readOnly": false },
        });
    }
    let mut encoded = Vec::new();
    for mut document in documents {
        if matches(filter.as_ref(), &document)? {
            if request.flag("nameOnly") {
                for field in ["options", "info", "idIndex"] {
                    document.remove(field);
                }
            }
            encoded.push(document.to_vec()?);
        }
    }
    let cursor = Cursor {
        namespace: format!("{}.$cmd.listCollections", request.database),
        stream: Stream::of_documents(encoded),
        tail: Tail::Closed,
        user: context.login.user_name().map(str::to_owned),
    };
    first_batch(context, cursor, (u64::MAX, true), None)
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
    Ok(filter.matches(RawDocument::from_bytes(&bytes)?))
}
