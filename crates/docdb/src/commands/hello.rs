//! `hello`: what the server is, for drivers that look for a primary.

use bson::oid::ObjectId;
use bson::{Bson, RawBsonRef};

use super::authenticate;
use crate::context::Context;
use crate::error::Result;
use crate::identity::REPLICA_SET;
use crate::reply::Reply;
use crate::reply::timestamp;
use crate::request::Request;

/// Claims MongoDB 7.0; a higher version would make drivers send commands that are not here.
const WIRE_VERSION: i32 = 21;

pub(super) fn run(context: &mut Context<'_>, request: &Request<'_>) -> Result<Reply> {
    let shared = context.shared;
    let durable = shared.engine.durable();
    let now = bson::DateTime::from_millis(shared.engine.clock.now().as_millisecond());
    let position = bson::doc! { "ts": timestamp(durable), "t": 1i64 };
    let role = if request.name == "hello" { "isWritablePrimary" } else { "ismaster" };
    let mut reply = bson::doc! {
        "helloOk": true,
        role: true,
        "maxBsonObjectSize": 16_777_216,
        "maxMessageSizeBytes": 48_000_000,
        "maxWriteBatchSize": 100_000,
        "localTime": now,
        "logicalSessionTimeoutMinutes": 30,
        "connectionId": i32::try_from(context.connection).unwrap_or(i32::MAX),
        "minWireVersion": 0,
        "maxWireVersion": WIRE_VERSION,
        "readOnly": false,
    };
    if !shared.withheld.replica_set() {
        reply.extend(bson::doc! {
            "hosts": [&shared.advertised],
            "setName": REPLICA_SET,
            "setVersion": 1,
            "secondary": false,
            "primary": &shared.advertised,
            "me": &shared.advertised,
            // Never changes, so that no driver takes a restarted server for a stale one.
            "electionId": ObjectId::from_bytes([0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1]),
            "lastWrite": {
                "opTime": &position,
                "lastWriteDate": now,
                "majorityOpTime": &position,
                "majorityWriteDate": now,
            },
        });
    }
    if !shared.withheld.extensions() {
        // Not MongoDB fields: a list of commands in one applyOps is one commit here, a collection
        // may be created with `tidemarkStaging`, and read in parts with `tidemarkRecords`.
        let own = bson::doc! { "atomicApplyOps": true, "bulkStaging": true, "recordRanges": true };
        reply.insert("tidemark", own);
    }
    if request.field("saslSupportedMechs").is_some() {
        reply.insert("saslSupportedMechs", vec![Bson::from("SCRAM-SHA-256")]);
    }
    if let Some(RawBsonRef::Document(start)) = request.field("speculativeAuthenticate")
        && let Ok(step) = authenticate::speculate(context, start)
    {
        reply.insert("speculativeAuthenticate", step);
    }
    Ok(reply.into())
}
