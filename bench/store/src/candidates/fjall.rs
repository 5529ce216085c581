//! fjall: a log-structured merge tree in Rust, as it is and tuned.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};

use super::{Candidate, Held, TREES, Tree, Visit, Write};

pub struct Fjall {
    database: Database,
    trees: [Keyspace; TREES],
    ingests: bool,
}

impl Fjall {
    /// `tuned`: small memtables, a small block cache, sorted loads through the ingestion API.
    pub fn open(folder: &Path, tuned: bool) -> Self {
        let mut builder = Database::builder(folder).worker_threads(2);
        if tuned {
            builder = builder.cache_size(32 << 20).max_journaling_size(128 << 20);
        }
        let database = builder.open().expect("open");
        let options = move || {
            let options = KeyspaceCreateOptions::default();
            if tuned { options.max_memtable_size(8 << 20) } else { options }
        };
        let trees =
            std::array::from_fn(|tree| database.keyspace(&format!("t{tree}"), options).expect("tree"));
        Self { database, trees, ingests: tuned }
    }
}

impl Candidate for Fjall {
    fn write(&self, batch: &[Write]) {
        let mut writes = self.database.batch();
        for write in batch {
            writes.insert(&self.trees[write.tree as usize], &write.key[..], &write.value[..]);
        }
        writes.commit().expect("commit");
        self.database.persist(PersistMode::SyncData).expect("sync");
    }

    fn load_sorted(&self, tree: Tree, entries: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>) -> bool {
        if !self.ingests {
            return false;
        }
        let mut ingestion = self.trees[tree as usize].start_ingestion().expect("ingestion");
        for (key, value) in entries {
            ingestion.write(key, value).expect("write");
        }
        ingestion.finish().expect("finish");
        true
    }

    fn get(&self, tree: Tree, key: &[u8]) -> Option<Vec<u8>> {
        self.trees[tree as usize].get(key).expect("get").map(|value| value.to_vec())
    }

    fn hold(&self) -> Box<dyn Held + '_> {
        Box::new(Moment { snapshot: self.database.snapshot(), store: self })
    }
}

struct Moment<'a> {
    snapshot: Snapshot,
    store: &'a Fjall,
}

impl Held for Moment<'_> {
    fn scan(&self, tree: Tree, visit: Visit<'_>) {
        for entry in self.snapshot.iter(&self.store.trees[tree as usize]) {
            let (key, value) = entry.into_inner().expect("entry");
            visit(&key, &value);
        }
    }
}
