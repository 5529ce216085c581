//! Reading a stage back: does it hold what it must?

use std::collections::BTreeMap;

use bson::{Binary, Document};
use tidemark_vault::DocumentSet;
use tidemark_wire::encode_document;

use super::Restore;
use super::attempt::MARKER_DATABASE;
use super::swap::uuids_in;
use crate::error::MoverError;
use crate::indexes::{is_same_index, wanted_indexes};
use crate::parts::{Part, READERS, in_parallel, parts_of, whole};
use crate::replay::Staged;
use crate::server_collections::is_time_series;
use tidemark_deployment::Connection;
use tidemark_deployment::{list_indexes, probe};

impl Restore<'_> {
    /// Reads the staging collections back and compares them with what they must hold.
    pub fn compare(&self) -> Result<(), MoverError> {
        let staged: Vec<(&String, &Staged)> = self.stage.collections.iter().collect();
        let mut connection = Connection::open(&self.endpoint)?;
        let has_parts = probe(&mut connection)?.record_ranges;
        let mut parts = Vec::new();
        for (number, (_, staged)) in staged.iter().enumerate() {
            if has_parts {
                let name = (staged.database.as_str(), staged.name.as_str());
                parts.extend(parts_of(&mut connection, name, number)?);
            } else {
                parts.push(whole(number));
            }
        }
        let read = in_parallel((&self.endpoint, READERS), &parts, |connection, part| match staged
            .get(part.collection)
        {
            Some((_, staged)) => self.content_of(connection, staged, part),
            None => Ok(DocumentSet::default()),
        })?;
        let mut found = vec![DocumentSet::default(); staged.len()];
        for (part, content) in parts.iter().zip(read) {
            if let Some(found) = found.get_mut(part.collection) {
                found.merge(&content);
            }
        }
        for ((namespace, staged), found) in staged.into_iter().zip(found) {
            self.stop.check()?;
            compare_collection(&mut connection, (namespace, staged), &found)?;
        }
        self.seal_plan(&mut connection)
    }

    /// Reads a part of a staging collection.
    fn content_of(
        &self,
        connection: &mut Connection,
        staged: &Staged,
        part: &Part,
    ) -> Result<DocumentSet, MoverError> {
        let mut content = DocumentSet::default();
        let mut command =
            bson::doc! { "find": &staged.name, "batchSize": 1_000, "hint": { "$natural": 1 } };
        part.restrict(&mut command, None);
        connection.for_each(&staged.database, command, |document| {
            self.stop.check()?;
            content.add(document.as_bytes());
            Ok::<_, MoverError>(())
        })?;
        Ok(content)
    }

    /// Writes into the marker which staging collection becomes what, so that any worker can do
    /// the swap.
    fn seal_plan(&self, connection: &mut Connection) -> Result<(), MoverError> {
        let keeps_others = !self.stage.wanted.selection().is_everything();
        let head = bson::doc! { "_id": "", "sealed": true, "keepsOthers": keeps_others, "replacesInPlace": self.may_replace_in_place };
        let mut documents = encode_document(&head);
        let mut uuids: BTreeMap<&str, BTreeMap<String, Binary>> = BTreeMap::new();
        for (namespace, staged) in &self.stage.collections {
            let Some(namespace) = self.stage.wanted.target_of(namespace) else { continue };
            let mut row =
                bson::doc! { "_id": namespace, "database": &staged.database, "name": &staged.name };
            let database = staged.database.as_str();
            if !uuids.contains_key(database) {
                uuids.insert(database, uuids_in(connection, database)?);
            }
            if let Some(uuid) = uuids.get(database).and_then(|uuids| uuids.get(&staged.name)) {
                row.insert("uuid", uuid.clone());
            }
            row.insert("documents", i64::try_from(staged.content.documents).unwrap_or(i64::MAX));
            if is_time_series(&staged.options) {
                row.insert("timeSeries", &staged.options);
                row.insert("indexes", wanted_indexes(&staged.indexes));
            }
            documents.extend(encode_document(&row));
        }
        for (namespace, options) in &self.stage.views {
            let Some(namespace) = self.stage.wanted.target_of(namespace) else { continue };
            let row = bson::doc! { "_id": namespace, "view": options };
            documents.extend(encode_document(&row));
        }
        let name = self.names.marker(&self.attempt);
        connection.command(
            MARKER_DATABASE,
            bson::doc! { "delete": &name, "deletes": [{ "q": {}, "limit": 0 }] },
        )?;
        let command = bson::doc! { "insert": name, "writeConcern": { "w": "majority", "j": true } };
        Ok(connection.write_run(MARKER_DATABASE, command, ("documents", &documents))?)
    }
}

/// Whether a staging collection holds the documents and has the indexes that it must.
fn compare_collection(
    connection: &mut Connection,
    (namespace, staged): (&str, &Staged),
    found: &DocumentSet,
) -> Result<(), MoverError> {
    let describe = |set: &DocumentSet| {
        let DocumentSet { documents, bytes, hash: [hash, ..] } = set;
        format!("{documents} documents, {bytes} bytes, hash {hash:016x}")
    };
    if *found != staged.content {
        return Err(MoverError::Mismatch {
            namespace: namespace.to_owned(),
            found: describe(found),
            expected: describe(&staged.content),
        });
    }
    if is_time_series(&staged.options) {
        return Ok(());
    }
    let indexes = list_indexes(connection, &staged.database, &staged.name)?;
    let is_missing = |wanted: &&Document| !indexes.iter().any(|index| is_same_index(index, wanted));
    match staged.indexes.iter().find(is_missing) {
        Some(index) => Err(MoverError::Mismatch {
            namespace: namespace.to_owned(),
            found: format!("{} indexes", indexes.len()),
            expected: format!("the index {index}"),
        }),
        None => Ok(()),
    }
}
