//! A part of a deployment as if it were the whole: the databases whose names begin with a prefix, under
//! what comes after it.

use std::borrow::Cow;
use std::sync::Arc;

use bson::error::Error;
use bson::raw::{RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf, cstr};
use bson::{Bson, Document, rawdoc};

/// Databases that belong to the deployment and not to its users.
pub const INTERNAL_DATABASES: &[&str] = &["admin", "config", "local"];

/// The databases whose names begin with a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scope {
    prefix: Arc<str>,
}

/// The collection of a database that holds its views: `_id` is a namespace.
const VIEWS: &str = "system.views";
/// What is left of an entry of another database: its place in the oplog.
const OF_EVERY_ENTRY: &[&str] = &["ts", "t", "v", "wall"];

impl Scope {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into() }
    }

    /// The deployment's name of a database of ours. Those of the server are everybody's.
    pub(crate) fn database<'a>(&self, ours: &'a str) -> Cow<'a, str> {
        if INTERNAL_DATABASES.contains(&ours) {
            return Cow::Borrowed(ours);
        }
        Cow::Owned(format!("{}{ours}", self.prefix))
    }

    /// A command as the deployment is to get it.
    pub(crate) fn command(&self, mut command: Document) -> Document {
        if command.contains_key("renameCollection") {
            for field in ["renameCollection", "to"] {
                if let Some(Bson::String(namespace)) = command.get_mut(field) {
                    namespace.insert_str(0, &self.prefix);
                }
            }
        }
        command
    }

    /// The reply to a command as it is here.
    pub(crate) fn reply(&self, mut reply: Document) -> Document {
        if let Ok(databases) = reply.get_array_mut("databases") {
            databases.retain_mut(|database| {
                let Some(database) = database.as_document_mut() else { return false };
                let Ok(name) = database.get_str("name") else { return false };
                let Some(ours) = self.ours(name).map(str::to_owned) else { return false };
                database.insert("name", ours);
                true
            });
        }
        reply
    }

    /// Our name of a database or a namespace of the deployment; nothing if it is not in this part. What
    /// would be called as the server's own databases are is not: `unreachable` names it.
    fn ours<'a>(&self, theirs: &'a str) -> Option<&'a str> {
        let ours = theirs.strip_prefix(&*self.prefix)?;
        let database = ours.split('.').next().unwrap_or_default();
        (!database.is_empty() && !INTERNAL_DATABASES.contains(&database)).then_some(ours)
    }

    /// The databases that begin with the prefix and cannot be called what comes after it, among those
    /// that a deployment lists.
    pub(crate) fn unreachable(&self, listed: &Document) -> Vec<String> {
        let databases = listed.get_array("databases").into_iter().flatten();
        let names = databases.filter_map(|database| database.as_document()?.get_str("name").ok());
        let is_unreachable =
            |name: &&str| name.starts_with(&*self.prefix) && self.ours(name).is_none();
        names.filter(is_unreachable).map(str::to_owned).collect()
    }

    /// An entry of the oplog as it is here. Those of other databases keep their places and say nothing,
    /// so that a quiet part is known as far as its deployment is; nothing of them is even decoded.
    pub(crate) fn entry(&self, entry: &RawDocument) -> Result<RawDocumentBuf, Error> {
        let namespace = entry.get_str("ns").unwrap_or_default();
        let is_noop = entry.get_str("op").is_ok_and(|op| op == "n");
        // What servers note with a namespace is of a document in it.
        if is_noop && namespace.is_empty() {
            return Ok(entry.to_owned());
        }
        let here = if is_noop { None } else { self.operation(entry)? };
        here.map_or_else(|| place(entry), Ok)
    }

    /// An operation under our names; nothing if it is not of this part.
    fn operation(&self, operation: &RawDocument) -> Result<Option<RawDocumentBuf>, Error> {
        let namespace = operation.get_str("ns").unwrap_or_default();
        let ours = self.ours(namespace);
        let is_command = operation.get_str("op").is_ok_and(|op| op == "c");
        let command = operation.get_document("o").ok().filter(|_| is_command);
        let changed = match command {
            Some(command) if has(command, "applyOps") => Some(self.part_of(command)?),
            Some(command)
                if ["commitTransaction", "abortTransaction"].iter().any(|n| has(command, n)) =>
            {
                None
            }
            _ if ours.is_none() => return Ok(None),
            Some(command) if has(command, "renameCollection") => {
                match self.renamed(command, &["renameCollection", "to"])? {
                    Some(command) => Some(command),
                    None => return Ok(None),
                }
            }
            _ => None,
        };
        let is_view =
            ours.is_some_and(|ours| ours.split_once('.').is_some_and(|(_, n)| n == VIEWS));
        let mut here = RawDocumentBuf::new();
        for element in operation {
            let (name, value) = element?;
            match (name.as_str(), value, &changed) {
                ("ns", _, _) => here.append(name, ours.unwrap_or(namespace)),
                ("o", _, Some(changed)) => here.append(name, changed.as_ref()),
                ("o" | "o2", RawBsonRef::Document(view), _) if is_view && has(view, "_id") => {
                    match self.renamed(view, &["_id"])? {
                        Some(view) => here.append(name, view.as_ref()),
                        None => return Ok(None),
                    }
                }
                (_, value, _) => here.append(name, value),
            }
        }
        Ok(Some(here))
    }

    /// What of a transaction is in this part: it is over databases.
    fn part_of(&self, command: &RawDocument) -> Result<RawDocumentBuf, Error> {
        let mut here = RawDocumentBuf::new();
        for element in command {
            let (name, value) = element?;
            let (true, RawBsonRef::Array(operations)) = (name.as_str() == "applyOps", value) else {
                here.append(name, value);
                continue;
            };
            let mut ours = RawArrayBuf::new();
            for operation in operations {
                if let RawBsonRef::Document(operation) = operation?
                    && let Some(operation) = self.operation(operation)?
                {
                    ours.push(operation.as_ref());
                }
            }
            here.append(name, ours.as_ref());
        }
        Ok(here)
    }

    /// A document with our names in these fields; nothing if one of them names something else.
    fn renamed(
        &self,
        document: &RawDocument,
        fields: &[&str],
    ) -> Result<Option<RawDocumentBuf>, Error> {
        let mut here = RawDocumentBuf::new();
        for element in document {
            let (name, value) = element?;
            match value {
                RawBsonRef::String(theirs) if fields.contains(&name.as_str()) => {
                    let Some(ours) = self.ours(theirs) else { return Ok(None) };
                    here.append(name, ours);
                }
                value => here.append(name, value),
            }
        }
        Ok(Some(here))
    }
}

fn has(document: &RawDocument, field: &str) -> bool {
    document.get(field).is_ok_and(|value| value.is_some())
}

/// What the entries of other databases say.
pub const ELSEWHERE: &str = "another database";

/// An entry that says nothing, in the place of another one.
fn place(entry: &RawDocument) -> Result<RawDocumentBuf, Error> {
    let mut noop = RawDocumentBuf::new();
    for element in entry {
        let (name, value) = element?;
        if OF_EVERY_ENTRY.contains(&name.as_str()) {
            noop.append(name, value);
        }
    }
    noop.append(cstr!("op"), "n");
    noop.append(cstr!("ns"), "");
    noop.append(cstr!("o"), rawdoc! { "msg": ELSEWHERE }.as_ref());
    Ok(noop)
}

#[cfg(test)]
mod tests {
    use bson::{Timestamp, doc};

    use super::*;

    fn entry(op: &str, ns: &str, o: Document) -> Document {
        doc! { "ts": Timestamp { time: 1, increment: 2 }, "t": 1i64, "op": op, "ns": ns, "o": o }
    }

    fn seen(entry: &Document) -> Document {
        let raw = RawDocumentBuf::try_from(entry).unwrap();
        let here = Scope::new("a_").entry(&raw).unwrap();
        Document::try_from(&*here).unwrap()
    }

    #[test]
    fn entries_of_this_part_have_our_names_and_others_only_their_places() {
        let insert = entry("i", "a_shop.orders", doc! { "_id": 1 });
        assert_eq!(seen(&insert), entry("i", "shop.orders", doc! { "_id": 1 }));
        for other in [
            "b_shop.orders",
            "a_",
            "a_.orders",
            "a_config.x",
            "shop.a_orders",
            "config.transactions",
        ] {
            let nothing = doc! { "msg": "another database" };
            assert_eq!(
                seen(&entry("i", other, doc! { "_id": 1 })),
                entry("n", "", nothing),
                "{other}"
            );
        }
        let noop = entry("n", "", doc! { "msg": "periodic noop" });
        assert_eq!(seen(&noop), noop);
        // Servers note whole documents so.
        for whose in ["a_shop.orders", "b_shop.orders"] {
            let nothing = doc! { "msg": "another database" };
            let image = entry("n", whose, doc! { "_id": 1, "secret": 2 });
            assert_eq!(seen(&image), entry("n", "", nothing));
        }
        let rename = |prefix: &str| {
            let o =
                doc! { "renameCollection": format!("{prefix}d.a"), "to": format!("{prefix}d.b") };
            entry("c", &format!("{prefix}d.$cmd"), o)
        };
        assert_eq!(seen(&rename("a_")), rename(""));
        let view = |prefix: &str| {
            let mut view = entry("u", &format!("{prefix}d.system.views"), doc! { "$v": 2 });
            view.insert("o2", doc! { "_id": format!("{prefix}d.v") });
            view
        };
        assert_eq!(seen(&view("a_")), view(""));
    }

    #[test]
    fn a_transaction_is_what_of_it_is_in_this_part() {
        let inner = |ns: &str| doc! { "op": "i", "ns": ns, "o": { "_id": 1 } };
        let parts = doc! {
            "applyOps": [inner("a_d.c"), inner("b_d.c"), inner("config.x")], "partialTxn": true,
        };
        let seen_parts = doc! { "applyOps": [inner("d.c")], "partialTxn": true };
        assert_eq!(seen(&entry("c", "admin.$cmd", parts)), entry("c", "admin.$cmd", seen_parts));
        let none = doc! { "applyOps": [inner("b_d.c")], "prepare": true };
        let seen_none = doc! { "applyOps": [], "prepare": true };
        assert_eq!(seen(&entry("c", "admin.$cmd", none)), entry("c", "admin.$cmd", seen_none));
        let commit = entry("c", "admin.$cmd", doc! { "commitTransaction": 1 });
        assert_eq!(seen(&commit), commit);
    }

    #[test]
    fn commands_go_to_the_databases_of_this_part() {
        let scope = Scope::new("a_");
        assert_eq!(scope.database("shop"), "a_shop");
        assert_eq!(scope.database("local"), "local");
        let rename = doc! { "renameCollection": "d.a", "to": "d.b", "dropTarget": true };
        assert_eq!(
            scope.command(rename),
            doc! { "renameCollection": "a_d.a", "to": "a_d.b", "dropTarget": true }
        );
        let listed = doc! {
            "databases": [{ "name": "a_d", "sizeOnDisk": 1 }, { "name": "b_d" }, { "name": "a_local" }],
            "ok": 1,
        };
        assert_eq!(
            scope.reply(listed.clone()),
            doc! { "databases": [{ "name": "d", "sizeOnDisk": 1 }], "ok": 1 }
        );
        assert_eq!(scope.unreachable(&listed), ["a_local"]);
    }

    #[test]
    fn entries_of_others_are_not_decoded_and_ours_stay_byte_for_byte() {
        // A field twice, and a text that is not UTF-8, as there are in old data.
        let mut twice = rawdoc! { "_id": 1, "a": 1 };
        twice.append(cstr!("a"), 2);
        let bytes = |database: &str| {
            let mut entry = rawdoc! { "ts": Timestamp { time: 1, increment: 2 }, "op": "i" };
            entry.append(cstr!("ns"), format!("{database}.c"));
            entry.append(cstr!("o"), twice.as_ref());
            let mut bytes = entry.into_bytes();
            let at = bytes.windows(3).position(|window| window == b"\x10a\0").unwrap();
            bytes[at + 1] = 0xff;
            bytes
        };
        let scope = Scope::new("a_");
        let read = |bytes: &[u8]| scope.entry(RawDocument::from_bytes(bytes).unwrap()).unwrap();
        assert_eq!(read(&bytes("a_d")).into_bytes(), bytes("d"));
        assert_eq!(read(&bytes("b_d")).get_str("op").unwrap(), "n");
    }
}
