//! LMDB through `heed`: one file, mapped; one writer; pages are copied on write.

use std::path::Path;

use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions, PutFlags, RoTxn, WithoutTls};

use super::{Candidate, Held, TREES, Tree, Visit, Write};

pub struct Lmdb {
    env: Env<WithoutTls>,
    trees: [Database<Bytes, Bytes>; TREES],
}

impl Lmdb {
    pub fn open(folder: &Path) -> Self {
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(64 << 30).max_dbs(8).max_readers(512);
        // SAFETY: the folder was made for this run and nobody else opens it.
        let env = unsafe { options.flags(EnvFlags::empty()).open(folder) }.expect("open");
        let mut txn = env.write_txn().expect("begin");
        let trees = std::array::from_fn(|tree| {
            env.create_database(&mut txn, Some(&format!("t{tree}"))).expect("tree")
        });
        txn.commit().expect("commit");
        Self { env, trees }
    }

    fn tree(&self, tree: Tree) -> &Database<Bytes, Bytes> {
        &self.trees[tree as usize]
    }
}

impl Candidate for Lmdb {
    fn write(&self, batch: &[Write]) {
        let mut txn = self.env.write_txn().expect("begin");
        for write in batch {
            self.tree(write.tree).put(&mut txn, &write.key, &write.value).expect("put");
        }
        txn.commit().expect("commit");
    }

    fn load_sorted(&self, tree: Tree, entries: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>) -> bool {
        loop {
            let mut txn = self.env.write_txn().expect("begin");
            let mut written = 0;
            for (key, value) in entries.take(super::BATCH) {
                self.tree(tree).put_with_flags(&mut txn, PutFlags::APPEND, &key, &value).expect("put");
                written += 1;
            }
            txn.commit().expect("commit");
            if written == 0 {
                return true;
            }
        }
    }

    fn get(&self, tree: Tree, key: &[u8]) -> Option<Vec<u8>> {
        let txn = self.env.read_txn().expect("begin");
        self.tree(tree).get(&txn, key).expect("get").map(<[u8]>::to_vec)
    }

    fn hold(&self) -> Box<dyn Held + '_> {
        Box::new(Moment { txn: self.env.read_txn().expect("begin"), store: self })
    }
}

struct Moment<'a> {
    txn: RoTxn<'a, WithoutTls>,
    store: &'a Lmdb,
}

impl Held for Moment<'_> {
    fn scan(&self, tree: Tree, visit: Visit<'_>) {
        for entry in self.store.tree(tree).iter(&self.txn).expect("scan") {
            let (key, value) = entry.expect("entry");
            visit(key, value);
        }
    }
}
