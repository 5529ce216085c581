//! Files of a snapshot: an archive or a folder of `mongodump`, or the documents of one collection.

use std::io::{BufWriter, Cursor, Read, Write};

use bson::Bson;
use bson::raw::RawDocument;
use flate2::Compression;
use flate2::write::GzEncoder;
use tidemark_model::{DUMP_FOLDER, ExportFormat, Selection, SelectionError};
use tidemark_vault::{ChunkList, ChunkRef, CollectionManifest, ListItem, Manifest, Vault};
use tidemark_wire::DocumentRun;

use crate::archive::{metadata, name_of_data, write_archive};
use crate::error::MoverError;
use crate::stop::{Progress, Stop};
use crate::wanted::Wanted;

/// Writes a file of a snapshot.
pub fn export(
    (vault, manifest): (&Vault, &Manifest),
    format: ExportFormat,
    out: &mut impl Write,
    (stop, progress): (&Stop, &Progress),
) -> Result<(), MoverError> {
    progress.expect(manifest.size_bytes());
    match format {
        ExportFormat::Archive => write_archive(vault, manifest, out, stop).map(drop),
        ExportFormat::Directory => {
            let encoder = GzEncoder::new(BufWriter::new(out), Compression::fast());
            write_folder((vault, manifest), encoder, (stop, progress))
        }
        ExportFormat::Bson | ExportFormat::Ndjson => {
            let collection = only_collection(manifest)?;
            progress.enter(&collection.namespace());
            write_documents((vault, collection), format, out, (stop, progress))
        }
    }
}

/// The part of a snapshot that is selected, under the names that it shall have.
pub fn select(manifest: Manifest, selection: &Selection) -> Result<Manifest, MoverError> {
    let namespaces: Vec<String> =
        manifest.collections.iter().map(CollectionManifest::namespace).collect();
    let wanted = Wanted::new(selection.clone());
    if let Some(rule) = wanted.idle_rule(namespaces.iter()) {
        let what = format!("no collection of it is among the namespaces that {rule} names");
        return Err(MoverError::Selection { what });
    }
    let clash = |error: SelectionError| MoverError::Selection { what: error.to_string() };
    selection.check(&namespaces).map_err(clash)?;
    let mut selected = manifest;
    let mut collections = Vec::new();
    for mut collection in std::mem::take(&mut selected.collections) {
        let Some(target) = selection.target_of(&collection.namespace()) else { continue };
        let (database, name) = target.split_once('.').unwrap_or((&target, ""));
        (collection.database, collection.name) = (database.to_owned(), name.to_owned());
        collections.push(collection);
    }
    // Entries of others belong to none of them.
    if !selection.is_everything() && !selected.oplog.is_empty() {
        let what = "a part of a snapshot that only its oplog makes one moment".to_owned();
        return Err(MoverError::Export { what });
    }
    selected.collections = collections;
    Ok(selected)
}

/// The collection of a snapshot that holds one.
fn only_collection(manifest: &Manifest) -> Result<&CollectionManifest, MoverError> {
    let refuse = |what: &str| MoverError::Export { what: what.to_owned() };
    match manifest.collections.as_slice() {
        _ if !manifest.oplog.is_empty() => {
            Err(refuse("documents of a snapshot that only its oplog makes one moment"))
        }
        [collection] if collection.kind == "collection" => Ok(collection),
        [_] => Err(refuse("documents of what is no collection")),
        _ => Err(refuse("more than one collection into a file of documents; name one namespace")),
    }
}

fn write_documents(
    (vault, collection): (&Vault, &CollectionManifest),
    format: ExportFormat,
    out: &mut impl Write,
    (stop, progress): (&Stop, &Progress),
) -> Result<(), MoverError> {
    for item in &collection.chunks.items {
        for chunk in vault.load_item(item)? {
            stop.check()?;
            let raw = vault.read_chunk(chunk.id)?;
            progress.add(u64::from(chunk.documents), raw.len() as u64);
            if format == ExportFormat::Bson {
                out.write_all(&raw).map_err(failed)?;
                continue;
            }
            for document in DocumentRun::new(&raw) {
                let line =
                    document.map_err(|error| unreadable(&error.to_string())).and_then(json)?;
                writeln!(out, "{line}").map_err(failed)?;
            }
        }
    }
    Ok(())
}

/// A document as a line of relaxed Extended JSON.
fn json(document: &RawDocument) -> Result<String, MoverError> {
    let document = bson::Document::try_from(document);
    let document = document.map_err(|error| unreadable(&error.to_string()))?;
    Ok(Bson::Document(document).into_relaxed_extjson().to_string())
}

/// Writes the folder that `mongodump` writes: `dump/<database>/<collection>.bson` with its
/// `.metadata.json`, and `dump/oplog.bson` where a snapshot has entries of its own.
fn write_folder(
    (vault, manifest): (&Vault, &Manifest),
    out: impl Write,
    (stop, progress): (&Stop, &Progress),
) -> Result<(), MoverError> {
    let mut tar = tar::Builder::new(out);
    for collection in &manifest.collections {
        progress.enter(&collection.namespace());
        let stem = |name: &str| {
            format!("{DUMP_FOLDER}/{}/{}", escaped(&collection.database), escaped(name))
        };
        let text = metadata(collection);
        let path = format!("{}.metadata.json", stem(&collection.name));
        append(&mut tar, &path, (text.len() as u64, text.as_bytes()))?;
        if collection.kind != "view" {
            let stem = stem(&name_of_data(collection));
            let size = collection.content.bytes;
            let documents = Documents::new(vault, &collection.chunks, (stop, progress));
            append(&mut tar, &format!("{stem}.bson"), (size, documents))?;
        }
    }
    if !manifest.oplog.is_empty() {
        let mut size = 0;
        vault.for_each_chunk(&manifest.oplog, |chunk| {
            size += u64::from(chunk.bytes);
            Ok(())
        })?;
        let entries = Documents::new(vault, &manifest.oplog, (stop, progress));
        append(&mut tar, &format!("{DUMP_FOLDER}/oplog.bson"), (size, entries))?;
    }
    tar.into_inner().and_then(|mut out| out.flush()).map_err(failed)
}

fn append<W: Write>(
    tar: &mut tar::Builder<W>,
    path: &str,
    (size, content): (u64, impl Read),
) -> Result<(), MoverError> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o600);
    header.set_mtime(0);
    tar.append_data(&mut header, path, content).map_err(failed)
}

/// A name as `mongodump` writes it in the name of a file.
fn escaped(name: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~$".contains(&byte);
    name.bytes().fold(String::new(), |text, byte| {
        if keep(byte) {
            text + &char::from(byte).to_string()
        } else {
            text + &format!("%{byte:02X}")
        }
    })
}

/// The documents of a list of chunks, as a stream.
struct Documents<'a> {
    vault: &'a Vault,
    items: std::slice::Iter<'a, ListItem>,
    chunks: std::vec::IntoIter<ChunkRef>,
    present: Cursor<Vec<u8>>,
    watch: (&'a Stop, &'a Progress),
}

impl<'a> Documents<'a> {
    fn new(vault: &'a Vault, list: &'a ChunkList, watch: (&'a Stop, &'a Progress)) -> Self {
        let items = list.items.iter();
        Self { vault, items, chunks: Vec::new().into_iter(), present: Cursor::default(), watch }
    }

    /// The bytes of the next chunk; `None` at the end.
    fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, MoverError> {
        loop {
            if let Some(chunk) = self.chunks.next() {
                self.watch.0.check()?;
                let raw = self.vault.read_chunk(chunk.id)?;
                self.watch.1.add(u64::from(chunk.documents), raw.len() as u64);
                return Ok(Some(raw));
            }
            match self.items.next() {
                Some(item) => self.chunks = self.vault.load_item(item)?.into_iter(),
                None => return Ok(None),
            }
        }
    }
}

impl Read for Documents<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        loop {
            match self.present.read(out)? {
                0 if !out.is_empty() => match self.next_chunk().map_err(std::io::Error::other)? {
                    Some(raw) => self.present = Cursor::new(raw),
                    None => return Ok(0),
                },
                read => return Ok(read),
            }
        }
    }
}

fn failed(source: std::io::Error) -> MoverError {
    // What ended the stream is what is told.
    match source.downcast::<MoverError>() {
        Ok(error) => error,
        Err(source) => MoverError::File { path: "the file of an export".to_owned(), source },
    }
}

fn unreadable(reason: &str) -> MoverError {
    MoverError::Export { what: format!("a document that is not BSON: {reason}") }
}
