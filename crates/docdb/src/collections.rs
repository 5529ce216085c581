//! What the engine knows of its collections: names, identities, options, indexes.

use std::fmt;
use std::sync::Arc;

use bson::raw::RawDocument;
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document};
use rpds::RedBlackTreeMapSync;

use crate::error::{Code, CommandError, Result};
use crate::index::Index;

/// The longest namespace in bytes, as the server limits it.
const LONGEST_NAMESPACE: usize = 255;

/// A database and a collection in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Namespace {
    pub(crate) database: String,
    pub(crate) collection: String,
}

/// What the names of collections begin with that a restore stages.
pub(crate) const STAGE_PREFIX: &str = "tidemark.stage.";

impl Namespace {
    /// Whether it belongs to a restore that is going on; only the server itself sees those.
    pub(crate) fn is_staged(&self) -> bool {
        self.collection.starts_with(STAGE_PREFIX)
    }

    /// A namespace whose names are allowed.
    pub(crate) fn new(database: &str, collection: &str) -> Result<Self> {
        let invalid = |text: String| Err(CommandError::new(Code::InvalidNamespace, text));
        let bad = |c: char| matches!(c, '/' | '\\' | '.' | ' ' | '"' | '$' | '\0');
        if database.is_empty() || database.len() > 63 || database.contains(bad) {
            return invalid(format!("Invalid database name: '{database}'"));
        }
        if collection.is_empty() || collection.starts_with('.') || collection.contains('\0') {
            return invalid(format!("Invalid collection name: '{collection}'"));
        }
        if database.len() + 1 + collection.len() > LONGEST_NAMESPACE {
            return invalid(format!(
                "Fully qualified namespace is too long: {database}.{collection}"
            ));
        }
        Ok(Self { database: database.to_owned(), collection: collection.to_owned() })
    }

    /// Reads `database.collection`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        match text.split_once('.') {
            Some((database, collection)) => Self::new(database, collection),
            None => Err(CommandError::new(
                Code::InvalidNamespace,
                format!("Invalid namespace specified '{text}'"),
            )),
        }
    }

    /// The oplog.
    pub(crate) fn oplog() -> Self {
        Self { database: "local".to_owned(), collection: "oplog.rs".to_owned() }
    }

    pub(crate) fn is_oplog(&self) -> bool {
        self.database == "local" && self.collection == "oplog.rs"
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.collection)
    }
}

/// Whether a collection is being staged by a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Staging {
    /// It is an ordinary collection.
    None,
    /// Documents are added; its indexes hold nothing yet, and the oplog says nothing of it.
    Loading,
    /// Its indexes are built; the oplog says nothing of it before it is renamed.
    Complete,
}

impl Staging {
    fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Loading => Some("loading"),
            Self::Complete => Some("complete"),
        }
    }

    fn parse(name: Option<&str>) -> Option<Self> {
        [Self::None, Self::Loading, Self::Complete].into_iter().find(|state| state.name() == name)
    }
}

/// A collection. Its id is never used again; renaming keeps it.
#[derive(Debug, Clone)]
pub(crate) struct Collection {
    pub(crate) id: u32,
    pub(crate) namespace: Namespace,
    pub(crate) uuid: [u8; 16],
    pub(crate) options: Document,
    pub(crate) indexes: Vec<Arc<Index>>,
    pub(crate) staging: Staging,
}

impl Collection {
    /// Whether the oplog says nothing of it.
    pub(crate) fn is_staging(&self) -> bool {
        self.staging != Staging::None
    }

    /// Whether its indexes hold nothing yet.
    pub(crate) fn is_loading(&self) -> bool {
        self.staging == Staging::Loading
    }

    pub(crate) fn uuid_bson(&self) -> Bson {
        uuid_bson(self.uuid)
    }

    pub(crate) fn find_index(&self, name: &str) -> Option<&Arc<Index>> {
        self.indexes.iter().find(|index| index.name == name)
    }

    /// The record that the storage keeps.
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        let indexes: Vec<Bson> = self
            .indexes
            .iter()
            .map(|index| {
                Bson::Document(bson::doc! { "id": i64::from(index.id), "spec": &index.spec })
            })
            .collect();
        let mut record = bson::doc! {
            "id": i64::from(self.id),
            "db": &self.namespace.database,
            "name": &self.namespace.collection,
            "uuid": self.uuid_bson(),
            "options": &self.options,
            "indexes": indexes,
        };
        if let Some(staging) = self.staging.name() {
            record.insert("staging", staging);
        }
        Ok(record.to_vec()?)
    }

    /// Reads the record that the storage keeps.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let record = Document::try_from(RawDocument::from_bytes(bytes)?)?;
        let damaged = |field: &str| {
            let text = format!(
                "the record of a collection has no usable {field}; restore this instance from a snapshot"
            );
            CommandError::new(Code::InternalError, text)
        };
        let number =
            |document: &Document| document.get_i64("id").ok().and_then(|id| u32::try_from(id).ok());
        let text = |field: &str| record.get_str(field).map_err(|_| damaged(field));
        let uuid = match record.get("uuid") {
            Some(Bson::Binary(uuid)) => uuid.bytes.as_slice().try_into().ok(),
            _ => None,
        };
        let mut indexes = Vec::new();
        for index in record.get_array("indexes").map_err(|_| damaged("indexes"))? {
            let index = index.as_document().ok_or_else(|| damaged("indexes"))?;
            let spec = index.get_document("spec").map_err(|_| damaged("indexes"))?;
            let id = number(index).ok_or_else(|| damaged("indexes"))?;
            indexes.push(Arc::new(Index::from_spec(id, spec.clone())?));
        }
        let staging = Staging::parse(record.get_str("staging").ok());
        Ok(Self {
            staging: staging.ok_or_else(|| damaged("staging"))?,
            id: number(&record).ok_or_else(|| damaged("id"))?,
            namespace: Namespace {
                database: text("db")?.to_owned(),
                collection: text("name")?.to_owned(),
            },
            uuid: uuid.ok_or_else(|| damaged("uuid"))?,
            options: record.get_document("options").map_err(|_| damaged("options"))?.clone(),
            indexes,
        })
    }
}

/// A UUID as a BSON value.
pub(crate) fn uuid_bson(uuid: [u8; 16]) -> Bson {
    Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes: uuid.to_vec() })
}

/// All collections at one moment. A copy costs nothing and shares what did not change, so that the
/// fifty-thousandth collection is made as fast as the first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalog {
    collections: RedBlackTreeMapSync<Namespace, Arc<Collection>>,
    names: RedBlackTreeMapSync<u32, Namespace>,
    uuids: RedBlackTreeMapSync<[u8; 16], Namespace>,
}

impl Catalog {
    pub(crate) fn find(&self, namespace: &Namespace) -> Option<&Arc<Collection>> {
        self.collections.get(namespace)
    }

    pub(crate) fn find_by_uuid(&self, uuid: &[u8]) -> Option<&Arc<Collection>> {
        let uuid: [u8; 16] = uuid.try_into().ok()?;
        self.find(self.uuids.get(&uuid)?)
    }

    pub(crate) fn has_id(&self, id: u32) -> bool {
        self.names.contains_key(&id)
    }

    pub(crate) fn put(&mut self, collection: Arc<Collection>) {
        self.names.insert_mut(collection.id, collection.namespace.clone());
        self.uuids.insert_mut(collection.uuid, collection.namespace.clone());
        self.collections.insert_mut(collection.namespace.clone(), collection);
    }

    pub(crate) fn remove(&mut self, namespace: &Namespace) {
        if let Some(collection) = self.collections.get(namespace) {
            self.names.remove_mut(&collection.id);
            self.uuids.remove_mut(&collection.uuid);
        }
        self.collections.remove_mut(namespace);
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Collection>> {
        self.collections.values()
    }

    pub(crate) fn in_database<'a>(
        &'a self,
        database: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Collection>> {
        let first = Namespace { database: database.to_owned(), collection: String::new() };
        let found = self.collections.range(first..).map(|(_, collection)| collection);
        found.take_while(move |collection| collection.namespace.database == database)
    }

    /// The collections of a database that a user may know of; the server itself sees what restores
    /// stage, too.
    pub(crate) fn visible_in<'a>(
        &'a self,
        database: &'a str,
        sees_staged: bool,
    ) -> impl Iterator<Item = &'a Arc<Collection>> {
        let is_visible = move |c: &&Arc<Collection>| sees_staged || !c.namespace.is_staged();
        self.in_database(database).filter(is_visible)
    }

    /// The names of all databases that hold a collection, in order.
    pub(crate) fn databases(&self) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.all().map(|collection| collection.namespace.database.as_str()).collect();
        names.dedup();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collection_survives_its_record() {
        let collection = Collection {
            id: 7,
            namespace: Namespace::new("db", "a.b c").unwrap(),
            uuid: [9; 16],
            options: bson::doc! { "validator": { "a": 1 } },
            indexes: vec![Arc::new(Index::on_id(8).unwrap())],
            staging: Staging::Loading,
        };
        let decoded = Collection::decode(&collection.encode().unwrap()).unwrap();
        assert_eq!((decoded.id, decoded.uuid), (7, [9; 16]));
        assert_eq!(decoded.namespace, collection.namespace);
        assert_eq!(decoded.indexes[0].id, 8);
        assert!(Collection::decode(&bson::doc! { "id": 1i64 }.to_vec().unwrap()).is_err());
    }

    #[test]
    fn names_that_are_not_allowed_are_refused() {
        for (database, collection) in
            [("", "c"), ("a.b", "c"), ("a$", "c"), ("a", ""), ("a", ".c"), ("a", &"x".repeat(255))]
        {
            assert!(Namespace::new(database, collection).is_err());
        }
    }
}
