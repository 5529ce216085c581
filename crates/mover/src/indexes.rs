//! Index specifications: which are built, and which are the same.

use bson::{Bson, Document};

/// The specifications with which indexes are built; that on `_id` is there by itself.
pub(crate) fn wanted_indexes(indexes: &[Document]) -> Vec<Bson> {
    let wanted = indexes.iter().filter(|index| index.get_str("name").is_ok_and(|n| n != "_id_"));
    wanted
        .map(|index| {
            let mut index = index.clone();
            index.remove("ns");
            // Which is what an index has of which that is not said; some servers do not know it.
            if matches!(index.get("v"), Some(Bson::Int32(2) | Bson::Int64(2) | Bson::Double(2.0))) {
                index.remove("v");
            }
            Bson::Document(index)
        })
        .collect()
}

/// Whether two index specifications describe the same index.
pub(crate) fn is_same_index(left: &Document, right: &Document) -> bool {
    let relevant = |spec: &Document| {
        let mut spec = spec.clone();
        for field in ["ns", "v", "background"] {
            spec.remove(field);
        }
        spec
    };
    relevant(left) == relevant(right)
}
