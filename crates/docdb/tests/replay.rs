//! Replaying the oplog from empty rebuilds the state, held against a model.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;

use bson::{Bson, Document, doc};
use proptest::prelude::*;
use tidemark_deployment::{Connection, LinkError};
use tidemark_testkit::Instance;

/// One thing that a client does; collections are `a` and `b` in the database `d`.
#[derive(Debug, Clone)]
enum Step {
    Insert(&'static str, i32, Document),
    Replace(&'static str, i32, Document),
    Set(&'static str, i32, &'static str, Bson),
    Increment(&'static str, i32),
    Unset(&'static str, i32, &'static str),
    Push(&'static str, i32, i32),
    Delete(&'static str, i32),
    Drop(&'static str),
    RenameOver(&'static str, &'static str),
    Index(&'static str, &'static str),
}

fn step() -> impl Strategy<Value = Step> {
    let name = prop_oneof![Just("a"), Just("b")];
    let field = prop_oneof![Just("x"), Just("y"), Just("z")];
    let id = 0..6i32;
    let value = prop_oneof![
        any::<i32>().prop_map(Bson::Int32),
        "[a-z]{0,40}".prop_map(Bson::String),
        proptest::collection::vec(0..9i32, 0..4).prop_map(Bson::from),
        Just(Bson::Document(
            doc! { "n": { "m": 1 }, "text": "long enough to make a difference pay" }
        )),
    ];
    let fields =
        proptest::collection::vec((field.clone(), value.clone()), 0..4).prop_map(|fields| {
            fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Document>()
        });
    prop_oneof![
        4 => (name.clone(), id.clone(), fields.clone()).prop_map(|(c, i, d)| Step::Insert(c, i, d)),
        2 => (name.clone(), id.clone(), fields).prop_map(|(c, i, d)| Step::Replace(c, i, d)),
        4 => (name.clone(), id.clone(), field.clone(), value).prop_map(|(c, i, f, v)| Step::Set(c, i, f, v)),
        2 => (name.clone(), id.clone()).prop_map(|(c, i)| Step::Increment(c, i)),
        2 => (name.clone(), id.clone(), field.clone()).prop_map(|(c, i, f)| Step::Unset(c, i, f)),
        2 => (name.clone(), id.clone(), 0..9i32).prop_map(|(c, i, v)| Step::Push(c, i, v)),
        2 => (name.clone(), id).prop_map(|(c, i)| Step::Delete(c, i)),
        1 => name.clone().prop_map(Step::Drop),
        1 => prop_oneof![Just(Step::RenameOver("a", "b")), Just(Step::RenameOver("b", "a"))],
        1 => (name, field).prop_map(|(c, f)| Step::Index(c, f)),
    ]
}

type Model = BTreeMap<&'static str, BTreeMap<i32, Document>>;

fn update(connection: &mut Connection, name: &str, id: i32, change: Document) {
    let command = doc! { "update": name, "updates": [{ "q": { "_id": id }, "u": change }] };
    // Some changes do not fit the document; then nothing may change on either side.
    let _ = connection.command("d", command);
}

fn document<'m>(model: &'m mut Model, name: &str, id: i32) -> Option<&'m mut Document> {
    model.get_mut(name)?.get_mut(&id)
}

/// Does a step on the server and on the model.
#[expect(clippy::too_many_lines, reason = "one arm for each step")]
fn apply(connection: &mut Connection, model: &mut Model, step: &Step) {
    match step.clone() {
        Step::Insert(name, id, fields) => {
            let mut document = doc! { "_id": id };
            document.extend(fields);
            let insert = doc! { "insert": name, "documents": [document.clone()] };
            let _ = connection.command("d", insert);
            model.entry(name).or_default().entry(id).or_insert(document);
        }
        Step::Replace(name, id, fields) => {
            update(connection, name, id, fields.clone());
            if let Some(document) = document(model, name, id) {
                *document = doc! { "_id": id };
                document.extend(fields);
            }
        }
        Step::Set(name, id, field, value) => {
            update(connection, name, id, doc! { "$set": { field: value.clone() } });
            if let Some(document) = document(model, name, id) {
                document.insert(field, value);
            }
        }
        Step::Increment(name, id) => {
            update(connection, name, id, doc! { "$inc": { "n": 1 } });
            if let Some(document) = document(model, name, id) {
                let n = document.get_i32("n").unwrap_or(0);
                document.insert("n", n + 1);
            }
        }
        Step::Unset(name, id, field) => {
            update(connection, name, id, doc! { "$unset": { field: 1 } });
            if let Some(document) = document(model, name, id) {
                document.remove(field);
            }
        }
        Step::Push(name, id, value) => {
            update(connection, name, id, doc! { "$push": { "list": value } });
            if let Some(document) = document(model, name, id) {
                let mut list = document.get_array("list").cloned().unwrap_or_default();
                list.push(value.into());
                document.insert("list", list);
            }
        }
        Step::Delete(name, id) => {
            let delete = doc! { "delete": name, "deletes": [{ "q": { "_id": id }, "limit": 1 }] };
            connection.command("d", delete).unwrap();
            if let Some(collection) = model.get_mut(name) {
                collection.remove(&id);
            }
        }
        Step::Drop(name) => {
            connection.command("d", doc! { "drop": name }).unwrap();
            model.remove(name);
        }
        Step::RenameOver(from, to) => {
            let rename = doc! { "renameCollection": format!("d.{from}"), "to": format!("d.{to}"), "dropTarget": true };
            let _ = connection.command("admin", rename);
            if let Some(collection) = model.remove(from) {
                model.insert(to, collection);
            }
        }
        Step::Index(name, field) => {
            let spec = doc! { "key": { field: 1 }, "name": field, "sparse": true };
            connection.command("d", doc! { "createIndexes": name, "indexes": [spec] }).unwrap();
            model.entry(name).or_default();
        }
    }
}

/// The documents of a collection by `_id`, as they are.
fn documents(connection: &mut Connection, name: &str) -> BTreeMap<i32, Vec<u8>> {
    let mut found = BTreeMap::new();
    connection
        .for_each("d", doc! { "find": name }, |document| {
            found.insert(document.get_i32("_id").unwrap(), document.as_bytes().to_vec());
            Ok::<_, LinkError>(())
        })
        .unwrap();
    found
}

fn indexes(connection: &mut Connection, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    let listed = connection.for_each("d", doc! { "listIndexes": name }, |index| {
        found.push(index.get_str("name").unwrap().to_owned());
        Ok::<_, LinkError>(())
    });
    found.sort();
    listed.map(|_| found).unwrap_or_default()
}

fn replay(from: &mut Connection, to: &mut Connection) {
    let mut entries = Vec::new();
    from.for_each("local", doc! { "find": "oplog.rs" }, |entry| {
        entries.push(Document::try_from(entry).unwrap());
        Ok::<_, LinkError>(())
    })
    .unwrap();
    for entry in entries {
        to.command("admin", doc! { "applyOps": [entry] }).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn replaying_the_oplog_from_empty_rebuilds_the_state(steps in proptest::collection::vec(step(), 1..60)) {
        let instance = Instance::start();
        let mut connection = instance.connect();
        let mut model = Model::new();
        for step in &steps {
            apply(&mut connection, &mut model, step);
        }
        // The state is the model's, also after a restart.
        drop(connection);
        let instance = instance.restart();
        let mut connection = instance.connect();
        let replica = Instance::start();
        let mut copy = replica.connect();
        replay(&mut connection, &mut copy);
        for name in ["a", "b"] {
            let found = documents(&mut connection, name);
            let expected: BTreeMap<i32, Vec<u8>> = model
                .get(name)
                .into_iter()
                .flatten()
                .map(|(id, document)| (*id, document.to_vec().unwrap()))
                .collect();
            prop_assert_eq!(&found, &expected, "collection {}", name);
            prop_assert_eq!(documents(&mut copy, name), found);
            prop_assert_eq!(indexes(&mut copy, name), indexes(&mut connection, name));
        }
    }
}

#[test]
fn a_repeated_write_of_a_session_is_done_once_also_after_a_restart() {
    let instance = Instance::start();
    let session = doc! { "id": bson::Binary { subtype: bson::spec::BinarySubtype::Uuid, bytes: vec![7; 16] } };
    let write = doc! {
        "update": "a",
        "updates": [{ "q": { "_id": 1 }, "u": { "$inc": { "n": 1 } }, "upsert": true }],
        "lsid": session,
        "txnNumber": 5i64,
    };
    let mut connection = instance.connect();
    let first = connection.command("d", write.clone()).unwrap();
    drop(connection);
    let instance = instance.restart();
    let mut connection = instance.connect();
    let again = connection.command("d", write).unwrap();
    assert_eq!(first.get("upserted"), again.get("upserted"));
    let found = documents(&mut connection, "a");
    assert_eq!(Document::from_reader(found[&1].as_slice()).unwrap(), doc! { "_id": 1, "n": 1 });
}
