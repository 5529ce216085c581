//! RocksDB: a log-structured merge tree in C++, memory bounded by its options.

use std::path::{Path, PathBuf};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, IngestExternalFileOptions,
    IteratorMode, Options, Snapshot, SstFileWriter, WriteBatch, WriteOptions,
};

use super::{Candidate, Held, TREES, Tree, Visit, Write};

pub struct Rocks {
    database: DB,
    folder: PathBuf,
}

fn name(tree: Tree) -> String {
    format!("t{}", tree as usize)
}

fn options() -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(32 << 20));
    table.set_cache_index_and_filter_blocks(true);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_block_based_table_factory(&table);
    options.set_write_buffer_size(16 << 20);
    options.set_max_background_jobs(2);
    options.set_db_write_buffer_size(64 << 20);
    options
}

impl Rocks {
    pub fn open(folder: &Path) -> Self {
        let trees = (0..TREES).map(|tree| ColumnFamilyDescriptor::new(format!("t{tree}"), options()));
        let database = DB::open_cf_descriptors(&options(), folder, trees).expect("open");
        Self { database, folder: folder.to_owned() }
    }
}

impl Candidate for Rocks {
    fn write(&self, batch: &[Write]) {
        let mut writes = WriteBatch::default();
        for write in batch {
            let tree = self.database.cf_handle(&name(write.tree)).expect("tree");
            writes.put_cf(tree, &write.key, &write.value);
        }
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.database.write_opt(writes, &options).expect("write");
    }

    fn load_sorted(&self, tree: Tree, entries: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>) -> bool {
        let options = options();
        let file = self.folder.join(format!("load-{}.sst", name(tree)));
        let mut writer = SstFileWriter::create(&options);
        writer.open(&file).expect("open");
        for (key, value) in entries {
            writer.put(&key, &value).expect("put");
        }
        writer.finish().expect("finish");
        let mut ingest = IngestExternalFileOptions::default();
        ingest.set_move_files(true);
        let tree = self.database.cf_handle(&name(tree)).expect("tree");
        self.database.ingest_external_file_cf_opts(tree, &ingest, vec![file]).expect("ingest");
        true
    }

    fn get(&self, tree: Tree, key: &[u8]) -> Option<Vec<u8>> {
        let tree = self.database.cf_handle(&name(tree)).expect("tree");
        self.database.get_cf(tree, key).expect("get")
    }

    fn hold(&self) -> Box<dyn Held + '_> {
        Box::new(Moment { snapshot: self.database.snapshot(), store: self })
    }
}

struct Moment<'a> {
    snapshot: Snapshot<'a>,
    store: &'a Rocks,
}

impl Held for Moment<'_> {
    fn scan(&self, tree: Tree, visit: Visit<'_>) {
        let tree = self.store.database.cf_handle(&name(tree)).expect("tree");
        for entry in self.snapshot.iterator_cf(tree, IteratorMode::Start) {
            let (key, value) = entry.expect("entry");
            visit(&key, &value);
        }
    }
}

