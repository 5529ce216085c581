//! Proving that a database holds what a backup says: everything read back as a client reads it.

use std::collections::BTreeMap;

use bson::Document;
use tidemark_deployment::{CollectionListing, Connection, Endpoint, list_collections, probe};
use tidemark_vault::DocumentSet;

use crate::error::MoverError;
use crate::indexes::is_same_index;
use crate::parts::{Part, READERS, in_parallel, parts_of, whole};
use crate::stop::{Progress, Stop};

/// A collection as the backup has it, and as the database has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Proof {
    /// `database.collection`.
    pub namespace: String,
    /// What it must hold; nothing if the backup does not have it.
    pub expected: DocumentSet,
    /// What it holds.
    pub found: DocumentSet,
    /// Whether it is there exactly if it should be.
    pub is_there: bool,
    /// Whether every index is there.
    pub has_indexes: bool,
}

impl Proof {
    /// Whether nothing is different.
    pub fn is_equal(&self) -> bool {
        self.expected == self.found && self.is_there && self.has_indexes
    }
}

/// What a collection must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    /// `database.collection`.
    pub namespace: String,
    /// Its documents.
    pub content: DocumentSet,
    /// Its indexes.
    pub indexes: Vec<Document>,
}

/// Reads all collections of a database back, and compares them with what they must hold; what only one of
/// both has is different.
pub fn prove(
    endpoint: &Endpoint,
    expected: Vec<Expected>,
    (stop, progress): (&Stop, &Progress),
) -> Result<Vec<Proof>, MoverError> {
    let mut connection = Connection::open(endpoint)?;
    let listings = list_collections(&mut connection)?;
    let has_parts = probe(&mut connection)?.record_ranges;
    let mut parts = Vec::new();
    for (number, listing) in listings.iter().enumerate() {
        if has_parts {
            let name = (listing.database.as_str(), listing.name.as_str());
            parts.extend(parts_of(&mut connection, name, number)?);
        } else {
            parts.push(whole(number));
        }
    }
    let read = in_parallel((endpoint, READERS), &parts, |connection, part| {
        let Some(listing) = listings.get(part.collection) else {
            return Ok(DocumentSet::default());
        };
        progress.enter(&format!("{}.{}", listing.database, listing.name));
        content_of(connection, (listing, part), (stop, progress))
    })?;
    let mut found: Vec<DocumentSet> = vec![DocumentSet::default(); listings.len()];
    for (part, content) in parts.iter().zip(read) {
        if let Some(found) = found.get_mut(part.collection) {
            found.merge(&content);
        }
    }
    Ok(compare(&listings, found, expected))
}

fn content_of(
    connection: &mut Connection,
    (listing, part): (&CollectionListing, &Part),
    (stop, progress): (&Stop, &Progress),
) -> Result<DocumentSet, MoverError> {
    let mut content = DocumentSet::default();
    let mut command =
        bson::doc! { "find": &listing.name, "batchSize": 1_000, "hint": { "$natural": 1 } };
    part.restrict(&mut command, None);
    connection.for_each(&listing.database, command, |document| {
        stop.check()?;
        content.add(document.as_bytes());
        progress.add(1, document.as_bytes().len() as u64);
        Ok::<_, MoverError>(())
    })?;
    Ok(content)
}

fn compare(
    listings: &[CollectionListing],
    found: Vec<DocumentSet>,
    expected: Vec<Expected>,
) -> Vec<Proof> {
    let mut expected: BTreeMap<String, Expected> =
        expected.into_iter().map(|wanted| (wanted.namespace.clone(), wanted)).collect();
    let mut proofs = Vec::new();
    for (listing, found) in listings.iter().zip(found) {
        let namespace = format!("{}.{}", listing.database, listing.name);
        let wanted = expected.remove(&namespace);
        let has_indexes = wanted.as_ref().is_none_or(|wanted| {
            let is_there =
                |index: &Document| listing.indexes.iter().any(|i| is_same_index(i, index));
            wanted.indexes.iter().all(is_there)
        });
        proofs.push(Proof {
            namespace,
            is_there: wanted.is_some(),
            expected: wanted.map_or_else(DocumentSet::default, |wanted| wanted.content),
            found,
            has_indexes,
        });
    }
    proofs.extend(expected.into_values().map(|wanted| Proof {
        namespace: wanted.namespace,
        expected: wanted.content,
        found: DocumentSet::default(),
        is_there: false,
        has_indexes: false,
    }));
    proofs.sort_by(|a, b| a.namespace.cmp(&b.namespace));
    proofs
}
