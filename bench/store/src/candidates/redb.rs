//! redb: one file, a copy-on-write tree with checksums, in Rust.

use std::path::Path;

use redb::{Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition};

use super::{Candidate, Held, TREES, Tree, Visit, Write};

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;
const TABLES: [Definition; TREES] =
    [TableDefinition::new("t0"), TableDefinition::new("t1"), TableDefinition::new("t2")];

pub struct Redb(Database);

impl Redb {
    pub fn open(folder: &Path) -> Self {
        let database = Database::builder()
            .set_cache_size(128 << 20)
            .create(folder.join("data.redb"))
            .expect("open");
        let txn = database.begin_write().expect("begin");
        for table in TABLES {
            txn.open_table(table).expect("table");
        }
        txn.commit().expect("commit");
        Self(database)
    }
}

impl Candidate for Redb {
    fn write(&self, batch: &[Write]) {
        let mut txn = self.0.begin_write().expect("begin");
        txn.set_durability(Durability::Immediate).expect("durability");
        for tree in [Tree::Documents, Tree::Index, Tree::Oplog] {
            if batch.iter().all(|write| write.tree != tree) {
                continue;
            }
            let mut table = txn.open_table(TABLES[tree as usize]).expect("table");
            for write in batch.iter().filter(|write| write.tree == tree) {
                table.insert(write.key.as_slice(), write.value.as_slice()).expect("insert");
            }
        }
        txn.commit().expect("commit");
    }

    fn get(&self, tree: Tree, key: &[u8]) -> Option<Vec<u8>> {
        let txn = self.0.begin_read().expect("begin");
        let table = txn.open_table(TABLES[tree as usize]).expect("table");
        table.get(key).expect("get").map(|value| value.value().to_vec())
    }

    fn hold(&self) -> Box<dyn Held + '_> {
        Box::new(Moment(self.0.begin_read().expect("begin")))
    }
}

struct Moment(ReadTransaction);

impl Held for Moment {
    fn scan(&self, tree: Tree, visit: Visit<'_>) {
        let table = self.0.open_table(TABLES[tree as usize]).expect("table");
        for entry in table.iter().expect("scan") {
            let (key, value) = entry.expect("entry");
            visit(key.value(), value.value());
        }
    }
}
