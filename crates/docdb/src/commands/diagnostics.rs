//! Small commands by which clients look at a server.

use bson::spec::BinarySubtype;
use bson::{Binary, Bson};
use tidemark_model::random_bytes;

use crate::context::Context;
use crate::error::{Code, CommandError, Result};
use crate::identity::REPLICA_SET;
use crate::reply::Reply;
use crate::reply::timestamp;
use crate::request::Request;

/// The version that is claimed; see `hello`.
const VERSION: &str = "7.0.12";

pub(super) fn ping(_: &mut Context<'_>, _: &Request<'_>) -> Result<Reply> {
    Ok(Reply::ok())
}

/// Commands whose effect is that nothing has to be kept for the client any more.
pub(super) fn accept(_: &mut Context<'_>, _: &Request<'_>) -> Result<Reply> {
    Ok(Reply::ok())
}

pub(super) fn start_session(_: &mut Context<'_>, _: &Request<'_>) -> Result<Reply> {
    let id = Binary { subtype: BinarySubtype::Uuid, bytes: random_bytes::<16>().to_vec() };
    Ok(bson::doc! { "id": { "id": id }, "timeoutMinutes": 30 }.into())
}

pub(super) fn build_info(_: &mut Context<'_>, _: &Request<'_>) -> Result<Reply> {
    Ok(bson::doc! {
        "version": VERSION,
        "versionArray": [7, 0, 12, 0],
        "gitVersion": "tidemark",
        "modules": ["tidemark"],
        "bits": 64,
        "debug": false,
        "maxBsonObjectSize": 16_777_216,
        "storageEngines": ["lmdb"],
        "openssl": {},
    }
    .into())
}

pub(super) fn connection_status(context: &mut Context<'_>, _: &Request<'_>) -> Result<Reply> {
    let users: Vec<Bson> = context
        .login
        .user_name()
        .map(|name| bson::doc! { "user": name, "db": "admin" }.into())
        .into_iter()
        .collect();
    let roles: Vec<Bson> = context
        .login
        .grants()
        .iter()
        .map(|grant| bson::doc! { "role": &grant.role, "db": &grant.database }.into())
        .collect();
    Ok(bson::doc! { "authInfo": { "authenticatedUsers": users, "authenticatedUserRoles": roles } }
        .into())
}

pub(super) fn whats_my_uri(context: &mut Context<'_>, _: &Request<'_>) -> Result<Reply> {
    Ok(bson::doc! { "you": format!("connection {}", context.connection) }.into())
}

pub(super) fn get_parameter(_: &mut Context<'_>, request: &Request<'_>) -> Result<Reply> {
    let wants_all = request.text("getParameter") == Some("*");
    if wants_all || request.flag("featureCompatibilityVersion") {
        return Ok(bson::doc! { "featureCompatibilityVersion": { "version": "7.0" } }.into());
    }
    Err(CommandError::new(Code::InvalidOptions, "no option found to get"))
}

pub(super) fn command_line(_: &mut Context<'_>, _: &Request<'_>) -> Result<Reply> {
    Ok(bson::doc! { "argv": ["tidemark"], "parsed": { "replication": { "replSet": REPLICA_SET } } }
        .into())
}

pub(super) fn get_log(_: &mut Context<'_>, request: &Request<'_>) -> Result<Reply> {
    match request.text("getLog") {
        Some("startupWarnings" | "global") => {
            Ok(bson::doc! { "totalLinesWritten": 0, "log": [] }.into())
        }
        Some("*") => Ok(bson::doc! { "names": ["global", "startupWarnings"] }.into()),
        _ => Err(CommandError::new(Code::OperationFailed, "no such log")),
    }
}

pub(super) fn host_info(_: &mut Context<'_>, _: &Request<'_>) -> Result<Reply> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Ok(bson::doc! {
        "system": { "cpuAddrSize": 64, "numCores": i32::try_from(cores).unwrap_or(1) },
        "os": { "type": std::env::consts::OS, "name": std::env::consts::OS },
        "extra": {},
    }
    .into())
}

pub(super) fn server_status(context: &mut Context<'_>, _: &Request<'_>) -> Result<Reply> {
    let engine = &context.shared.engine;
    Ok(bson::doc! {
        "host": &context.shared.advertised,
        "version": VERSION,
        "process": "tidemark",
        "pid": i64::from(std::process::id()),
        "localTime": bson::DateTime::from_millis(engine.clock.now().as_millisecond()),
        "repl": { "setName": REPLICA_SET, "ismaster": true, "me": &context.shared.advertised },
        "uptime": context.shared.started.elapsed().as_secs_f64(),
        "uptimeMillis": i64::try_from(context.shared.started.elapsed().as_millis()).unwrap_or(i64::MAX),
        "connections": context.shared.connection_counts(),
        "opcounters": context.shared.operations.describe(),
        "network": context.shared.operations.describe_network(),
        "mem": { "bits": 64, "supported": true },
        "storageEngine": { "name": "lmdb", "persistent": true },
    }
    .into())
}

pub(super) fn replica_set_status(context: &mut Context<'_>, _: &Request<'_>) -> Result<Reply> {
    let shared = context.shared;
    let at = bson::doc! { "ts": timestamp(shared.engine.durable()), "t": 1i64 };
    let durable = bson::doc! { "ts": timestamp(shared.engine.durable()), "t": 1i64 };
    let now = bson::DateTime::from_millis(shared.engine.clock.now().as_millisecond());
    Ok(bson::doc! {
        "set": REPLICA_SET,
        "date": now,
        "myState": 1,
        "term": 1i64,
        "optimes": {
            "lastCommittedOpTime": &durable,
            "readConcernMajorityOpTime": &durable,
            "appliedOpTime": &at,
            "durableOpTime": &durable,
        },
        "members": [{
            "_id": 0,
            "name": &shared.advertised,
            "health": 1.0,
            "state": 1,
            "stateStr": "PRIMARY",
            "uptime": 1,
            "optime": at,
            "optimeDate": now,
            "self": true,
        }],
    }
    .into())
}

pub(super) fn replica_set_config(context: &mut Context<'_>, _: &Request<'_>) -> Result<Reply> {
    Ok(bson::doc! {
        "config": {
            "_id": REPLICA_SET,
            "version": 1,
            "term": 1i64,
            "members": [{ "_id": 0, "host": &context.shared.advertised, "priority": 1.0, "votes": 1 }],
            "settings": { "replicaSetId": context.shared.process },
        },
    }
    .into())
}
