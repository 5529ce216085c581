//! Reads and writes with the official Rust driver; the only argument is a connection string.

use mongodb::bson::{Document, doc};
use mongodb::options::ReturnDocument;
use mongodb::sync::Client;

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let address = std::env::args().nth(1).ok_or("usage: rust-driver CONNECTION_STRING")?;
    let database = Client::with_uri_str(address)?.database("rust");
    let items = database.collection::<Document>("items");
    items.drop().run()?;
    items.insert_many((0..500).map(|n| doc! { "_id": n, "even": n % 2 == 0 })).run()?;
    let updated = items.update_many(doc! { "even": true }, doc! { "$inc": { "seen": 1 } }).run()?;
    assert_eq!(updated.modified_count, 250);
    let upserted = items.replace_one(doc! { "_id": -1 }, doc! { "fresh": true }).upsert(true).run()?;
    assert!(upserted.upserted_id.is_some());
    let changed = items
        .find_one_and_update(doc! { "_id": 3 }, doc! { "$set": { "changed": true } })
        .return_document(ReturnDocument::After)
        .run()?;
    assert_eq!(changed, Some(doc! { "_id": 3, "even": false, "changed": true }));
    assert_eq!(items.delete_many(doc! { "_id": { "$gte": 400 } }).run()?.deleted_count, 100);
    let found: Vec<Document> =
        items.find(doc! {}).sort(doc! { "_id": -1 }).batch_size(30).run()?.collect::<Result<_, _>>()?;
    assert_eq!(found.len(), 401);
    assert_eq!(items.count_documents(doc! { "seen": 1 }).run()?, 200);
    let groups: Vec<Document> = items
        .aggregate([doc! { "$group": { "_id": "$even", "n": { "$sum": 1 } } }, doc! { "$sort": { "_id": 1 } }])
        .run()?
        .collect::<Result<_, _>>()?;
    assert_eq!(groups.len(), 3);
    println!("{} documents, {} groups", found.len(), groups.len());
    Ok(())
}
