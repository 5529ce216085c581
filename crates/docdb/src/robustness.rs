//! Whatever a client sends, the parsers answer or refuse; they never end the process.
//!
//! What is asked of them stands in `fuzzing`. Documents are made of the words that the parsers know, so that they get far into them.

use bson::raw::RawDocument;
use bson::{Bson, Document};
use proptest::prelude::*;

use crate::fuzzing;
use crate::projection::Projection;
use crate::sort::SortOrder;

const WORDS: &[&str] = &[
    "_id",
    "a",
    "b",
    "a.b",
    "a.0",
    "a.b.c",
    "",
    ".",
    "a.",
    "$",
    "$$ROOT",
    "$a",
    "$a.b",
    "$$NOW",
    "$and",
    "$or",
    "$nor",
    "$not",
    "$expr",
    "$eq",
    "$ne",
    "$gt",
    "$lte",
    "$in",
    "$nin",
    "$all",
    "$elemMatch",
    "$size",
    "$mod",
    "$type",
    "$exists",
    "$regex",
    "$options",
    "$bitsAllSet",
    "$bitsAnyClear",
    "$set",
    "$unset",
    "$inc",
    "$mul",
    "$min",
    "$max",
    "$rename",
    "$currentDate",
    "$push",
    "$pull",
    "$pullAll",
    "$pop",
    "$addToSet",
    "$each",
    "$slice",
    "$sort",
    "$position",
    "$match",
    "$group",
    "$project",
    "$unwind",
    "$count",
    "$limit",
    "$skip",
    "$addFields",
    "$replaceRoot",
    "newRoot",
    "$replaceWith",
    "$sortByCount",
    "$sum",
    "$avg",
    "$first",
    "$last",
    "$add",
    "$subtract",
    "$multiply",
    "$divide",
    "$concat",
    "$cond",
    "if",
    "then",
    "else",
    "$ifNull",
    "$literal",
    "path",
    "preserveNullAndEmptyArrays",
    "includeArrayIndex",
];

fn word() -> impl Strategy<Value = String> {
    prop_oneof![9 => proptest::sample::select(WORDS).prop_map(str::to_owned), 1 => ".{0,6}"]
        .prop_filter("a key cannot hold a zero", |word| !word.contains('\0'))
}

fn value() -> impl Strategy<Value = Bson> {
    let leaf = prop_oneof![
        any::<i32>().prop_map(Bson::Int32),
        (-3..4i32).prop_map(Bson::Int32),
        any::<i64>().prop_map(Bson::Int64),
        any::<f64>().prop_map(Bson::Double),
        any::<bool>().prop_map(Bson::Boolean),
        Just(Bson::Null),
        Just(Bson::MinKey),
        word().prop_map(Bson::String),
        Just(Bson::DateTime(bson::DateTime::from_millis(i64::MIN))),
        Just(Bson::Decimal128("-1E-6000".parse().unwrap())),
        proptest::collection::vec(any::<u8>(), 0..5).prop_map(|bytes| {
            Bson::Binary(bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes })
        }),
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        prop_oneof![
            2 => proptest::collection::vec((word(), inner.clone()), 0..4)
                .prop_map(|fields| Bson::Document(fields.into_iter().collect())),
            1 => proptest::collection::vec(inner, 0..4).prop_map(Bson::Array),
        ]
    })
}

fn document() -> impl Strategy<Value = Document> {
    proptest::collection::vec((word(), value()), 0..4)
        .prop_map(|fields| fields.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn filters_match_or_are_refused(filter in document(), target in document()) {
        fuzzing::filter(&filter, &target);
    }

    #[test]
    fn updates_change_or_are_refused(update in value(), target in document()) {
        fuzzing::update(&update, &target);
    }

    #[test]
    fn pipelines_run_or_are_refused(
        stages in proptest::collection::vec(document().prop_map(Bson::Document), 0..4),
        targets in proptest::collection::vec(document(), 0..3),
    ) {
        fuzzing::pipeline(&stages, targets);
    }

    #[test]
    fn orders_and_projections_work_or_are_refused(given in document(), target in document()) {
        let (given, target_bytes) = (given.to_vec().unwrap(), target.to_vec().unwrap());
        let given = RawDocument::from_bytes(&given).unwrap();
        if let Ok(order) = SortOrder::parse(given) {
            let _ = order.key(RawDocument::from_bytes(&target_bytes).unwrap());
        }
        if let Ok(Some(projection)) = Projection::parse(given) {
            let _ = projection.apply(&target);
        }
    }

    #[test]
    fn oplog_entries_and_differences_apply_or_are_refused(entry in document(), target in document()) {
        fuzzing::oplog_entry(&entry);
        fuzzing::difference(&target, &entry);
    }

    #[test]
    fn bytes_are_messages_or_are_refused(
        code in proptest::sample::select(&[2013i32, 2012, 2004, 1, 0, -1][..]),
        mut body in proptest::collection::vec(any::<u8>(), 0..200),
        length in proptest::option::of(any::<i32>()),
    ) {
        // Often a message that begins well.
        if body.len() > 30 && body.first().is_some_and(|byte| byte % 2 == 0) {
            let ping = bson::doc! { "ping": 1, "$db": "admin" }.to_vec().unwrap();
            let whole = [&[0, 0, 0, 0, 0][..], &ping].concat();
            body.splice(0..whole.len().min(body.len()), whole);
        }
        let length = length.unwrap_or(i32::try_from(body.len() + 16).unwrap());
        let mut message = vec![0; 16];
        message[..4].copy_from_slice(&length.to_le_bytes());
        message[12..].copy_from_slice(&code.to_le_bytes());
        message.extend(body);
        fuzzing::frame(&message);
    }
}
