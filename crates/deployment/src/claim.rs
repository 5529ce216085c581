//! Whose a part of a deployment is, written down in it: servers that know nothing of each other may share
//! a deployment.

use bson::Bson;

use crate::connection::Connection;
use crate::error::LinkError;

/// The collection that says whose a part of a deployment is; it is in no list and no restore's.
const CLAIM: &str = "tidemark_stage_claim";
/// Where it is.
const CLAIM_DATABASE: &str = "tidemark";

/// Claims what a connection leads to for `owner`; answers who has it, which is `owner` unless somebody
/// else was faster. `is_gone` says whether another owner's claim counts no more.
pub fn claim(
    connection: &mut Connection,
    owner: &str,
    is_gone: impl Fn(&str) -> bool,
) -> Result<String, LinkError> {
    const DUPLICATE_KEY: i32 = 11_000;
    let row = bson::doc! { "_id": CLAIM, "owner": owner };
    let insert = bson::doc! { "insert": CLAIM, "documents": [row] };
    let is_duplicate = |error: &Bson| {
        error.as_document().and_then(|e| e.get_i32("code").ok()) == Some(DUPLICATE_KEY)
    };
    let claimed = connection.command(CLAIM_DATABASE, insert).map(|reply| {
        !reply.get_array("writeErrors").is_ok_and(|errors| errors.iter().any(is_duplicate))
    });
    match claimed {
        Ok(true) => return Ok(owner.to_owned()),
        Err(error) if error.code() != Some(DUPLICATE_KEY) => return Err(error),
        Ok(false) | Err(_) => {}
    }
    let found = holder(connection)?;
    if found == owner || !is_gone(&found) {
        return Ok(found);
    }
    // Only from that one: whoever else does the same is too late.
    let change = bson::doc! {
        "q": { "_id": CLAIM, "owner": found }, "u": { "$set": { "owner": owner } },
    };
    connection.command(CLAIM_DATABASE, bson::doc! { "update": CLAIM, "updates": [change] })?;
    holder(connection)
}

/// Who has claimed what a connection leads to.
fn holder(connection: &mut Connection) -> Result<String, LinkError> {
    let mut found = String::new();
    connection.for_each(CLAIM_DATABASE, bson::doc! { "find": CLAIM }, |row| {
        row.get_str("owner").unwrap_or_default().clone_into(&mut found);
        Ok::<_, LinkError>(())
    })?;
    Ok(found)
}

/// Gives a claim of `owner` up.
pub fn give_claim_up(connection: &mut Connection, owner: &str) -> Result<(), LinkError> {
    let row = bson::doc! { "q": { "_id": CLAIM, "owner": owner }, "limit": 1 };
    let command = bson::doc! { "delete": CLAIM, "deletes": [row] };
    connection.command(CLAIM_DATABASE, command).map(drop)
}
