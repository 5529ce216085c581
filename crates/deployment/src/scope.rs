//! A part of a deployment as if it were the whole: the databases whose names begin with a prefix, under
//! what comes after it.

use std::borrow::Cow;
use std::sync::Arc;

use bson::raw::{RawDocument, RawDocumentBuf};
use bson::{Bson, Document};

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

    /// Our name of a database or a namespace of the deployment; nothing if it is not in this part.
    fn ours<'a>(&self, theirs: &'a str) -> Option<&'a str> {
        theirs.strip_prefix(&*self.prefix).filter(|rest| !rest.is_empty() && !rest.starts_with('.'))
    }

    /// An entry of the oplog as it is here. Those of other databases keep their places and say nothing,
    /// so that a quiet part is known as far as its deployment is.
    pub(crate) fn entry(&self, entry: &RawDocument) -> Result<RawDocumentBuf, bson::error::Error> {
        let is_noop = entry.get_str("op").is_ok_and(|op| op == "n");
        let whole = Document::try_from(entry)?;
        let here = if is_noop {
            whole
        } else {
            self.operation(whole.clone()).unwrap_or_else(|| place(&whole))
        };
        RawDocumentBuf::try_from(&here)
    }

    /// An operation under our names; nothing if it is not of this part.
    fn operation(&self, mut operation: Document) -> Option<Document> {
        let namespace = operation.get_str("ns").unwrap_or_default().to_owned();
        let ours = self.ours(&namespace).map(str::to_owned);
        if let Some(ours) = &ours {
            operation.insert("ns", ours);
        }
        let is_command = operation.get_str("op").is_ok_and(|op| op == "c");
        if let Ok(command) = operation.get_document_mut("o")
            && is_command
        {
            if let Ok(operations) = command.get_array_mut("applyOps") {
                // A transaction is over databases: what of it is not ours is not in it.
                let inner = std::mem::take(operations).into_iter();
                operations.extend(inner.filter_map(|inner| match inner {
                    Bson::Document(inner) => self.operation(inner).map(Bson::Document),
                    _ => None,
                }));
                return Some(operation);
            }
            if ["commitTransaction", "abortTransaction"]
                .iter()
                .any(|name| command.contains_key(name))
            {
                return Some(operation);
            }
            if command.contains_key("renameCollection") {
                for field in ["renameCollection", "to"] {
                    let theirs = command.get_str(field).unwrap_or_default();
                    let ours = self.ours(theirs)?.to_owned();
                    command.insert(field, ours);
                }
            }
        }
        let ours = ours?;
        if ours.split_once('.').is_some_and(|(_, name)| name == VIEWS) {
            for field in ["o", "o2"] {
                if let Ok(view) = operation.get_document_mut(field)
                    && let Ok(id) = view.get_str("_id")
                {
                    let id = self.ours(id)?.to_owned();
                    view.insert("_id", id);
                }
            }
        }
        Some(operation)
    }
}

/// An entry that says nothing, in the place of another one.
fn place(entry: &Document) -> Document {
    let mut noop: Document = entry
        .iter()
        .filter(|(field, _)| OF_EVERY_ENTRY.contains(&field.as_str()))
        .map(|(field, value)| (field.clone(), value.clone()))
        .collect();
    noop.extend(bson::doc! { "op": "n", "ns": "", "o": { "msg": "another database" } });
    noop
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
        for other in ["b_shop.orders", "a_", "a_.orders", "shop.a_orders", "config.transactions"] {
            let nothing = doc! { "msg": "another database" };
            assert_eq!(
                seen(&entry("i", other, doc! { "_id": 1 })),
                entry("n", "", nothing),
                "{other}"
            );
        }
        let noop = entry("n", "", doc! { "msg": "periodic noop" });
        assert_eq!(seen(&noop), noop);
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
        let listed =
            doc! { "databases": [{ "name": "a_d", "sizeOnDisk": 1 }, { "name": "b_d" }], "ok": 1 };
        assert_eq!(
            scope.reply(listed),
            doc! { "databases": [{ "name": "d", "sizeOnDisk": 1 }], "ok": 1 }
        );
    }
}
