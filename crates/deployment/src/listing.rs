//! What a deployment holds.

use bson::{Binary, Bson, Document};

use crate::abilities::unless_refused;
use crate::connection::Connection;
use crate::error::LinkError;
use crate::scope::INTERNAL_DATABASES;

/// Collections of a restore in progress begin with this in an engine of ours; they belong to no
/// snapshot.
pub const STAGE_PREFIX: &str = "tidemark.stage.";
/// Collections of a restore in progress begin with this in attached deployments.
pub const ATTACHED_STAGE_PREFIX: &str = "tidemark_stage_";

/// Whether a collection belongs to a restore in progress.
pub fn is_stage(name: &str) -> bool {
    name.starts_with(STAGE_PREFIX) || name.starts_with(ATTACHED_STAGE_PREFIX)
}

/// A collection as the deployment describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct CollectionListing {
    /// The database.
    pub database: String,
    /// The collection.
    pub name: String,
    /// `collection`, `view` or `timeseries`.
    pub kind: String,
    /// Its UUID, where the deployment has them; of a time series, that of its buckets.
    pub uuid: Option<Binary>,
    /// Its options.
    pub options: Document,
    /// Its indexes.
    pub indexes: Vec<Document>,
}

impl CollectionListing {
    /// `database.collection`.
    pub fn namespace(&self) -> String {
        format!("{}.{}", self.database, self.name)
    }

    /// Whether it is a time series: measurements that the server keeps as buckets.
    pub fn is_time_series(&self) -> bool {
        self.kind == TIME_SERIES
    }
}

/// The collection of a database that holds its stored functions: users' own, under a name of the
/// server's.
pub const STORED_FUNCTIONS: &str = "system.js";
/// The kind of a time series.
pub const TIME_SERIES: &str = "timeseries";
/// What the names of collections begin with that hold the buckets of a time series, before 8.3.
const BUCKETS: &str = "system.buckets.";

/// The collection in which a server before 8.3 keeps the buckets of a time series.
pub fn buckets_of(time_series: &str) -> String {
    format!("{BUCKETS}{time_series}")
}

/// The time series of which a collection holds the buckets.
pub fn time_series_of(name: &str) -> Option<&str> {
    name.strip_prefix(BUCKETS)
}

/// Whether a collection is the server's own and not the users'.
pub fn is_of_server(name: &str) -> bool {
    name.starts_with("system.") && name != STORED_FUNCTIONS
}

/// Lists the users' collections with their options and indexes.
pub fn list_collections(connection: &mut Connection) -> Result<Vec<CollectionListing>, LinkError> {
    let mut listings = Vec::new();
    for database in list_databases(connection)? {
        let mut found = Vec::new();
        connection.for_each(&database, bson::doc! { "listCollections": 1 }, |collection| {
            found.push(Document::try_from(collection).unwrap_or_default());
            Ok::<_, LinkError>(())
        })?;
        let found: Vec<CollectionListing> =
            found.iter().map(|collection| read_listing(&database, collection)).collect();
        for mut listing in found.iter().filter(|listing| is_users(&listing.name)).cloned() {
            if listing.is_time_series() {
                let buckets = buckets_of(&listing.name);
                let buckets = found.iter().find(|listing| listing.name == buckets);
                listing.uuid = buckets.map_or(listing.uuid, |buckets| buckets.uuid.clone());
            }
            listings.push(listing);
        }
    }
    for listing in &mut listings {
        if listing.kind != "view" {
            listing.indexes = list_indexes(connection, &listing.database, &listing.name)?;
        }
    }
    listings.sort_by(|a, b| (&a.database, &a.name).cmp(&(&b.database, &b.name)));
    Ok(listings)
}

/// The names of the users' databases.
pub fn list_databases(connection: &mut Connection) -> Result<Vec<String>, LinkError> {
    let reply = connection.command("admin", bson::doc! { "listDatabases": 1, "nameOnly": true })?;
    let databases = reply.get_array("databases").into_iter().flatten();
    let names = databases.filter_map(|database| database.as_document()?.get_str("name").ok());
    Ok(names.filter(|name| !INTERNAL_DATABASES.contains(name)).map(str::to_owned).collect())
}

/// Drops a database; where that is not allowed, every collection in it.
pub fn drop_database(connection: &mut Connection, database: &str) -> Result<(), LinkError> {
    let dropped = connection.command(database, bson::doc! { "dropDatabase": 1 });
    if unless_refused(dropped)?.is_some() {
        return Ok(());
    }
    let mut collections = Vec::new();
    let list = bson::doc! { "listCollections": 1, "nameOnly": true };
    connection.for_each(database, list, |collection| {
        collections.extend(collection.get_str("name").ok().map(str::to_owned));
        Ok::<_, LinkError>(())
    })?;
    for name in collections.iter().filter(|name| !is_of_server(name)) {
        // No server drops those.
        let command = if name == STORED_FUNCTIONS {
            bson::doc! { "delete": name, "deletes": [{ "q": {}, "limit": 0 }] }
        } else {
            bson::doc! { "drop": name }
        };
        connection.command(database, command)?;
    }
    Ok(())
}

fn is_users(name: &str) -> bool {
    !is_of_server(name) && !is_stage(name)
}

/// The options of a collection, without the one by which servers know what they are to drop: nothing that
/// is restored shall go by itself.
pub fn lasting(mut options: Document) -> Document {
    options.remove("temp");
    options
}

fn read_listing(database: &str, collection: &Document) -> CollectionListing {
    let uuid = collection.get_document("info").ok().and_then(|info| match info.get("uuid") {
        Some(Bson::Binary(uuid)) => Some(uuid.clone()),
        _ => None,
    });
    CollectionListing {
        database: database.to_owned(),
        name: collection.get_str("name").unwrap_or_default().to_owned(),
        kind: collection.get_str("type").unwrap_or("collection").to_owned(),
        uuid,
        options: lasting(collection.get_document("options").cloned().unwrap_or_default()),
        indexes: Vec::new(),
    }
}

/// Lists the indexes of a collection; none if it does not exist any more.
pub fn list_indexes(
    connection: &mut Connection,
    database: &str,
    collection: &str,
) -> Result<Vec<Document>, LinkError> {
    const NAMESPACE_NOT_FOUND: i32 = 26;
    let mut indexes = Vec::new();
    let listed = connection.for_each(database, bson::doc! { "listIndexes": collection }, |index| {
        indexes.push(Document::try_from(index).unwrap_or_default());
        Ok::<_, LinkError>(())
    });
    match listed {
        Err(error) if error.code() == Some(NAMESPACE_NOT_FOUND) => Ok(Vec::new()),
        Err(error) => Err(error),
        Ok(_) => Ok(indexes),
    }
}
