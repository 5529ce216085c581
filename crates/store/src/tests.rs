use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn key(number: u64) -> [u8; 12] {
    let mut key = [7; 12];
    key[4..].copy_from_slice(&number.to_be_bytes());
    key
}

fn all(moment: &Moment, tree: Tree, direction: Direction) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    let range = Range { from: vec![7; 4], to: None };
    moment
        .visit::<StoreError>(tree, &range, direction, |key, value| {
            found.push((key.to_vec(), value.to_vec()));
            Ok(true)
        })
        .unwrap();
    found
}

#[test]
fn a_moment_shows_what_was_committed_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let mut batch = Batch::new();
    batch.insert(Tree::Documents, &key(1), b"old");
    let first = store.commit(&batch).unwrap();
    let held = store.moment().unwrap();
    let large = vec![1; 50_000];
    assert_eq!(held.number(), first);
    let mut batch = Batch::new();
    batch.put(Tree::Documents, &key(1), &large);
    store.commit(&batch).unwrap();
    assert_eq!(held.get(Tree::Documents, &key(1)).unwrap().unwrap(), b"old".as_slice());
    let now = store.moment().unwrap();
    assert_eq!(now.get(Tree::Documents, &key(1)).unwrap().unwrap(), large.as_slice());
    drop((held, now, store));
    let store = Store::open(folder.path()).unwrap();
    let value = store.moment().unwrap().get(Tree::Documents, &key(1)).unwrap().unwrap().len();
    assert_eq!(value, 50_000);
}

#[test]
fn a_folder_of_the_first_release_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("0.jnl"), b"").unwrap();
    let error = Store::open(folder.path()).err().unwrap();
    assert!(matches!(error, StoreError::OtherFormat { .. }));
    assert!(error.to_string().contains("the first release"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is written");
}

#[test]
fn a_range_is_removed_in_parts_and_its_pages_are_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let fill = |from: u64| {
        for first in (from..from + 20_000).step_by(1_000) {
            let mut batch = Batch::new();
            for number in first..first + 1_000 {
                batch.insert(Tree::Documents, &key(number), &[3; 3_000]);
            }
            store.commit(&batch).unwrap();
        }
    };
    let clear = || {
        let range = Range::prefix(&[7; 4]);
        while !store.remove_range(Tree::Documents, &range, 10_000).unwrap().1 {}
    };
    fill(0);
    clear();
    fill(100_000);
    let once = store.usage().unwrap().disk_bytes;
    assert!(once < 20_000 * 3_000 * 5 / 4, "pieces fill their pages: {once}");
    clear();
    fill(200_000);
    clear();
    assert!(store.usage().unwrap().disk_bytes <= once * 11 / 10, "free pages are used again");
    assert!(all(&store.moment().unwrap(), Tree::Documents, Direction::Ascending).is_empty());
    // What the last two commits freed stays for now.
    let mut batch = Batch::new();
    batch.put(Tree::Meta, b"m", b"1");
    (0..2).for_each(|_| assert!(store.commit(&batch).is_ok()));
    let given = store.give_back().unwrap();
    let left = store.usage().unwrap();
    assert!(given > once / 2, "{given} of {once}");
    assert!(left.disk_bytes < once / 4, "{left:?}");
    fill(300_000);
    let documents = all(&store.moment().unwrap(), Tree::Documents, Direction::Ascending);
    assert_eq!(documents.len(), 20_000);
    assert!(documents.iter().all(|(_, value)| *value == [3; 3_000]));
}

#[test]
fn what_a_held_moment_shows_is_not_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let write = |value: u8| {
        let mut batch = Batch::new();
        (0..2_000).for_each(|n| batch.put(Tree::Documents, &key(n), &[value; 1_500]));
        store.commit(&batch).unwrap();
    };
    write(1);
    let held = store.moment().unwrap();
    (2..8).for_each(write);
    store.give_back().unwrap();
    let seen = all(&held, Tree::Documents, Direction::Ascending);
    assert!(seen.len() == 2_000 && seen.iter().all(|(_, value)| *value == [1; 1_500]));
    drop(held);
    store.give_back().unwrap();
    drop(store);
    let store = Store::open(folder.path()).unwrap();
    let seen = all(&store.moment().unwrap(), Tree::Documents, Direction::Ascending);
    assert!(seen.len() == 2_000 && seen.iter().all(|(_, value)| *value == [7; 1_500]));
}

#[test]
fn removing_keeps_values_whole_and_numbers_true() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let mut batch = Batch::new();
    for number in 0..20 {
        batch.insert(Tree::Documents, &key(number), &vec![5; 20_000]);
    }
    store.commit(&batch).unwrap();
    let range = Range::prefix(&[7; 4]);
    let mut left = 20;
    loop {
        // Fewer entries than a value has pieces: one value goes all the same.
        let (number, is_empty) = store.remove_range(Tree::Documents, &range, 7).unwrap();
        let moment = store.moment().unwrap();
        assert_eq!(moment.number(), number);
        let values = all(&moment, Tree::Documents, Direction::Ascending);
        assert!(values.len() < left || is_empty);
        assert!(values.iter().all(|(_, value)| value.len() == 20_000));
        left = values.len();
        if is_empty {
            break;
        }
    }
    let (number, is_empty) = store.remove_range(Tree::Documents, &range, 7).unwrap();
    assert!(is_empty);
    assert_eq!(store.moment().unwrap().number(), number, "a commit of nothing has no number");
}

#[test]
fn the_oplog_is_read_in_order_and_forgotten_from_its_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    let entries = |moment: &Moment, from: u64, to: u64, direction| {
        let mut found = Vec::new();
        let range = Range::new(from.to_be_bytes(), to.to_be_bytes());
        moment
            .visit::<StoreError>(Tree::Oplog, &range, direction, |key, value| {
                assert_eq!(value.len(), 10_000);
                found.push(u64::from_be_bytes(key.try_into().unwrap()));
                Ok(true)
            })
            .unwrap();
        found
    };
    assert_eq!(store.moment().unwrap().last_key(Tree::Oplog, &Range::prefix(&[])).unwrap(), None);
    for first in (0..6_000u64).step_by(100) {
        let mut batch = Batch::new();
        for number in first..first + 100 {
            let half = [3; 5_000];
            batch.append(Tree::Oplog, &number.to_be_bytes(), &[&half, &half]);
        }
        store.commit(&batch).unwrap();
        if first == 3_000 {
            drop(store);
            store = Store::open(folder.path()).unwrap();
        }
    }
    let held = store.moment().unwrap();
    let expected: Vec<u64> = (1_000..5_000).collect();
    assert_eq!(entries(&held, 1_000, 5_000, Direction::Ascending), expected);
    let mut down = entries(&held, 1_000, 5_000, Direction::Descending);
    down.reverse();
    assert_eq!(down, expected);
    assert_eq!(held.get(Tree::Oplog, &2_500u64.to_be_bytes()).unwrap().unwrap().len(), 10_000);
    assert_eq!(held.get(Tree::Oplog, &9_500u64.to_be_bytes()).unwrap(), None);
    let before = held.oplog_bytes().unwrap();
    assert!(before > 60_000_000, "{before}");
    // Nothing of what is asked to stay is forgotten; the newest tree stays always.
    let key = 4_000u64.to_be_bytes();
    assert!(held.can_forget_oplog(&key).unwrap());
    while store.forget_oplog(&key).unwrap().is_some() {}
    let now = store.moment().unwrap();
    let left = entries(&now, 0, 9_000, Direction::Ascending);
    assert!(left[0] > 0 && left[0] <= 4_000, "{}", left[0]);
    assert_eq!(left, (left[0]..6_000).collect::<Vec<_>>());
    assert!(now.oplog_bytes().unwrap() < before * 3 / 4 && !now.can_forget_oplog(&key).unwrap());
    assert_eq!(entries(&held, 0, 9_000, Direction::Ascending).len(), 6_000, "a held moment");
    while store.forget_oplog(&[u8::MAX; 8]).unwrap().is_some() {}
    let last = store.moment().unwrap().last_key(Tree::Oplog, &Range::prefix(&[])).unwrap();
    assert_eq!(last.unwrap(), 5_999u64.to_be_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn a_store_holds_what_a_map_holds(
        steps in proptest::collection::vec((0u64..30, proptest::option::of(0usize..9_000), any::<bool>()), 1..60)
    ) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let (mut model, mut batch) = (BTreeMap::new(), Batch::new());
        for (number, value, commits) in steps {
            if let Some(length) = value {
                let value = vec![u8::try_from(number).unwrap(); length.max(1)];
                batch.put(Tree::Documents, &key(number), &value);
                model.insert(key(number).to_vec(), value);
            } else {
                batch.remove(Tree::Documents, &key(number));
                model.remove(key(number).as_slice());
            }
            if commits {
                store.commit(&batch).unwrap();
                batch = Batch::new();
            }
        }
        store.commit(&batch).unwrap();
        let moment = store.moment().unwrap();
        let expected: Vec<_> = model.into_iter().collect();
        prop_assert_eq!(&all(&moment, Tree::Documents, Direction::Ascending), &expected);
        let mut descending = all(&moment, Tree::Documents, Direction::Descending);
        descending.reverse();
        prop_assert_eq!(&descending, &expected);
    }
}
