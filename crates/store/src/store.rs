//! The file and what is done with it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions, PutFlags, RoTxn, RwTxn, WithoutTls};

use crate::ahead::Ahead;
use crate::batch::{Batch, Entry, Kind};
use crate::error::{StoreError, refused};
use crate::pieces::{LARGEST_PIECE, piece_bytes, piece_key};
use crate::slices::{KEY_BYTES, RING, Slice, Slices};
use crate::tree::{Direction, Range, Tree};

/// The version of what is in a folder; 1 was the first release's, over another store.
const FORMAT: &[u8] = b"tidemark store 3";
const FORMAT_KEY: &[u8] = b"format";
/// Which trees of the ring hold the oplog; see `slices`.
const SLICES_KEY: &[u8] = b"oplog";
/// After so many bytes of entries it is looked whether the newest tree of the oplog is full.
const BYTES_PER_LOOK: usize = 1 << 20;
/// The file that LMDB keeps data in.
const DATA_FILE: &str = "data.mdb";
/// How many moments may be held at the same time.
const MOST_MOMENTS: u32 = 4_096;
/// The map is as large as the disk that holds the file, within these bounds.
const SMALLEST_MAP: u64 = 1 << 30;
const LARGEST_MAP: u64 = 1 << 40;
/// How many trees the file has.
const TREES: usize = 2 + DOCUMENT_TREES + RING;
/// LMDB takes no longer keys.
const LONGEST_KEY: usize = 1_982;

type Entries = Database<Bytes, Bytes>;

/// How much of the file is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// What the file takes of the disk; holes take nothing.
    pub disk_bytes: u64,
    /// What trees take of it; the rest is free for new data.
    pub used_bytes: u64,
    /// What is left on the disk that holds the file.
    pub left_bytes: u64,
}

/// Over so many trees the documents of collections are spread.
///
/// A key that is appended to a tree fills its last page to the end; one that is inserted before
/// others leaves a page without its last entry, half of it where documents are large. Each
/// transaction copies a record for each tree, so one tree for each collection is too many.
const DOCUMENT_TREES: usize = 32;

#[derive(Clone)]
struct Trees {
    meta: Entries,
    documents: [Entries; DOCUMENT_TREES],
    indexes: Entries,
    oplog: [Entries; RING],
}

impl Trees {
    fn create(env: &Env<WithoutTls>, txn: &mut RwTxn<'_>) -> Result<Self, StoreError> {
        let mut create = |name: &str| {
            env.create_database::<Bytes, Bytes>(txn, Some(name)).map_err(refused("make a tree"))
        };
        let meta = create("meta")?;
        let mut documents = [meta; DOCUMENT_TREES];
        for (number, tree) in documents.iter_mut().enumerate() {
            *tree = create(&format!("documents{number}"))?;
        }
        let mut oplog = [meta; RING];
        for (number, tree) in oplog.iter_mut().enumerate() {
            *tree = create(&format!("oplog{number}"))?;
        }
        Ok(Self { meta, documents, indexes: create("indexes")?, oplog })
    }

    fn slice(&self, slice: Slice) -> Result<&Entries, StoreError> {
        self.oplog.get(usize::from(slice.tree)).ok_or(StoreError::Damaged { tree: Tree::Oplog })
    }

    /// Which trees hold the oplog.
    fn slices(&self, txn: &RoTxn<'_>) -> Result<Slices, StoreError> {
        match self.meta.get(txn, SLICES_KEY).map_err(refused("read the list of oplog trees"))? {
            None => Ok(Slices::default()),
            Some(list) => Slices::decode(list).ok_or(StoreError::Damaged { tree: Tree::Oplog }),
        }
    }

    fn put_slices(&self, txn: &mut RwTxn<'_>, slices: &Slices) -> Result<(), StoreError> {
        let written = self.meta.put(txn, SLICES_KEY, &slices.encode());
        written.map_err(refused("write the list of oplog trees"))
    }

    /// The trees that hold a range, in the order of their keys.
    fn within(
        &self,
        txn: &RoTxn<'_>,
        tree: Tree,
        range: &Range,
    ) -> Result<Vec<&Entries>, StoreError> {
        if let Some(entries) = self.only(tree, &range.from) {
            return Ok(vec![entries]);
        }
        let slices = self.slices(txn)?;
        slices.within(&range.from, range.to.as_deref()).map(|slice| self.slice(slice)).collect()
    }

    /// The tree that may hold a key.
    fn of_key(
        &self,
        txn: &RoTxn<'_>,
        tree: Tree,
        key: &[u8],
    ) -> Result<Option<&Entries>, StoreError> {
        match self.only(tree, key) {
            Some(entries) => Ok(Some(entries)),
            None => self
                .slices(txn)?
                .within(key, None)
                .next()
                .map(|slice| self.slice(slice))
                .transpose(),
        }
    }

    /// The tree that holds a key, or a range from it on; none for the oplog, which has several.
    fn only(&self, tree: Tree, key: &[u8]) -> Option<&Entries> {
        match tree {
            Tree::Oplog => None,
            Tree::Meta => Some(&self.meta),
            Tree::Indexes => Some(&self.indexes),
            Tree::Documents => {
                let collection = key.first_chunk::<4>().copied().map_or(0, u32::from_be_bytes);
                // Every collection takes at least two numbers, one for its index on `_id`.
                self.documents.get(collection as usize / 2 % DOCUMENT_TREES)
            }
        }
    }
}

/// An open store.
pub struct Store {
    env: Env<WithoutTls>,
    trees: Trees,
    folder: PathBuf,
    map_bytes: usize,
    open: Arc<OpenMoments>,
}

/// The commits that moments show, with how many moments show each. Held for counts, at
/// longest while a moment is opened, which touches no file.
#[derive(Default)]
struct OpenMoments(Mutex<BTreeMap<u64, usize>>);

impl OpenMoments {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Opens or creates the store in `folder`.
    ///
    /// Nobody else may change the files while it is open; the data folder's lock sees to that.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let file = |doing: String| |source| StoreError::File { doing, source };
        std::fs::create_dir_all(folder)
            .map_err(file(format!("the folder {} cannot be made", folder.display())))?;
        refuse_other_formats(folder)?;
        let map_bytes = map_bytes(folder)
            .map_err(file(format!("the size of the disk of {} is not known", folder.display())))?;
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options
            .map_size(map_bytes)
            .max_dbs(u32::try_from(TREES).unwrap_or(u32::MAX))
            .max_readers(MOST_MOMENTS);
        #[expect(unsafe_code, reason = "LMDB has flags that break its guarantees")]
        // SAFETY: this flag does not: it only says that the map is read at random.
        unsafe {
            options.flags(EnvFlags::NO_READ_AHEAD);
        }
        #[expect(unsafe_code, reason = "a map of a file that somebody else changes is undefined")]
        // SAFETY: the file is changed through this environment only; the folder belongs to one
        // process, which holds the lock of the data folder, and LMDB locks the file besides.
        let env = unsafe { options.open(folder) }.map_err(refused("open its file"))?;
        let mut txn = env.write_txn().map_err(refused("begin a commit"))?;
        let trees = Trees::create(&env, &mut txn)?;
        check_format(folder, &mut txn, &trees.meta)?;
        txn.commit().map_err(refused("commit its trees"))?;
        let open = Arc::default();
        Ok(Self { env, trees, folder: folder.to_owned(), map_bytes, open })
    }

    /// The moment after the last commit.
    pub fn moment(&self) -> Result<Moment, StoreError> {
        // Counted before `give_back` can look.
        let mut open = self.open.lock();
        let txn = self.env.clone().static_read_txn().map_err(refused("begin a read"))?;
        *open.entry(txn.id() as u64).or_default() += 1;
        drop(open);
        Ok(Moment { txn, trees: self.trees.clone(), open: Arc::clone(&self.open) })
    }

    /// Makes all changes, or none; when it returns they are on disk. Answers the commit's number,
    /// which moments have too.
    pub fn commit(&self, batch: &Batch) -> Result<u64, StoreError> {
        let mut txn = self.env.write_txn().map_err(refused("begin a commit"))?;
        let mut end = OplogEnd::default();
        for change in batch.by_tree() {
            let entries = match self.trees.only(change.tree, change.key) {
                Some(entries) => *entries,
                None => end.tree_for(&self.trees, &mut txn, change)?,
            };
            make(&entries, &mut txn, change)?;
        }
        txn.commit().map_err(refused("commit"))?;
        Ok(self.last_commit())
    }

    /// The number of the last commit; one that changed nothing has none of its own.
    fn last_commit(&self) -> u64 {
        self.env.info().last_txn_id as u64
    }

    /// Removes at most `most` entries of a range, in one commit; answers the commit's number and
    /// whether the range is empty now. The oplog is forgotten with `forget_oplog` only.
    pub fn remove_range(
        &self,
        tree: Tree,
        range: &Range,
        most: usize,
    ) -> Result<(u64, bool), StoreError> {
        let Some(entries) = self.trees.only(tree, &range.from) else {
            return Ok((self.last_commit(), true));
        };
        let mut txn = self.env.write_txn().map_err(refused("begin a commit"))?;
        let mut range = range.clone();
        let cut = {
            let mut ahead = Ahead::new(Direction::Ascending);
            let found = entries.range(&txn, &range.bounds()).map_err(refused("read a range"))?;
            // What follows reads the same pages.
            let mut passed =
                found.inspect(|entry| entry.iter().for_each(|(key, _)| ahead.passes(key)));
            let next = passed.nth(most).transpose().map_err(refused("read a range"))?;
            next.map(|(key, _)| key.to_vec())
        };
        let cut = match (cut, tree.key_bytes()) {
            (Some(cut), Some(length)) => Some(whole_values(entries, &txn, &range, (cut, length))?),
            (cut, _) => cut,
        };
        let is_last = cut.is_none();
        range.to = cut.or(range.to);
        if !range.is_empty() {
            entries.delete_range(&mut txn, &range.bounds()).map_err(refused("remove a range"))?;
        }
        txn.commit().map_err(refused("commit"))?;
        Ok((self.last_commit(), is_last))
    }

    /// Forgets the oldest of the oplog's trees if all its entries are below `key`, in one commit.
    /// Answers the commit's number, or `None` when there is no such tree.
    pub fn forget_oplog(&self, key: &[u8]) -> Result<Option<u64>, StoreError> {
        let mut txn = self.env.write_txn().map_err(refused("begin a commit"))?;
        let mut slices = self.trees.slices(&txn)?;
        let Some(oldest) = slices.take_before(key) else {
            return Ok(None);
        };
        let entries = *self.trees.slice(oldest)?;
        entries.clear(&mut txn).map_err(refused("empty a tree"))?;
        self.trees.put_slices(&mut txn, &slices)?;
        txn.commit().map_err(refused("commit"))?;
        Ok(Some(self.last_commit()))
    }

    /// The length of the longest key.
    pub fn longest_key() -> usize {
        LONGEST_KEY
    }

    /// How much of the file is used.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let file = self.env.try_clone_inner_file().map_err(refused("ask for its size"))?;
        let metadata = file.metadata().map_err(|source| StoreError::File {
            doing: format!("the size of {} is not known", self.folder.display()),
            source,
        })?;
        // Blocks have 512 bytes whatever the file system's own are.
        let disk_bytes = std::os::unix::fs::MetadataExt::blocks(&metadata) * 512;
        let used_bytes = self.env.non_free_pages_size().map_err(refused("ask for its size"))?;
        let disk = rustix::fs::statvfs(&self.folder).map_err(|error| StoreError::File {
            doing: format!("the size of the disk of {} is not known", self.folder.display()),
            source: error.into(),
        })?;
        let left_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
        Ok(Usage { disk_bytes, used_bytes, left_bytes })
    }

    /// Gives the disk back what is not used and what no moment shows; answers how many bytes.
    /// Nobody may commit meanwhile.
    pub fn give_back(&self) -> Result<u64, StoreError> {
        // A moment that begins now shows the last commit, whether it is counted yet or not.
        let last = self.moment()?.number();
        let oldest = self.open.lock().first_key_value().map_or(last, |(number, _)| *number);
        // LMDB begins at the commit before the last one if that turns out to be damaged.
        crate::holes::punch(&self.folder, self.map_bytes, oldest.min(last.saturating_sub(1)))
    }
}

/// Makes one change in its tree.
fn make(entries: &Entries, txn: &mut RwTxn<'_>, change: Entry<'_>) -> Result<(), StoreError> {
    let Entry { tree, kind, key, value } = change;
    let in_pieces = tree.key_bytes().is_some();
    let is_cut = in_pieces && value.len() > LARGEST_PIECE;
    if kind == Kind::Remove || (kind == Kind::Put && is_cut) {
        entries.delete(txn, key).map_err(refused("remove an entry"))?;
    }
    let mut pieces = 0;
    if is_cut {
        // Over the pieces that are there: pages keep their entries and stay as full as they are.
        for bytes in value.chunks(piece_bytes(value.len())) {
            put(entries, txn, kind, &piece_key(key, pieces), bytes)?;
            pieces += 1;
        }
    } else if kind != Kind::Remove {
        put(entries, txn, kind, key, value)?;
    }
    if kind != Kind::Insert && in_pieces {
        remove_pieces(entries, txn, key, pieces)?;
    }
    Ok(())
}

/// Where a commit appends to the oplog.
#[derive(Default)]
struct OplogEnd {
    newest: Option<Entries>,
    unlooked: usize,
}

impl OplogEnd {
    /// The tree that takes the next entry; a new one is begun when the newest is full.
    fn tree_for(
        &mut self,
        trees: &Trees,
        txn: &mut RwTxn<'_>,
        Entry { key, value, .. }: Entry<'_>,
    ) -> Result<Entries, StoreError> {
        self.unlooked += value.len();
        match self.newest {
            Some(newest) if self.unlooked < BYTES_PER_LOOK => return Ok(newest),
            _ => self.unlooked = 0,
        }
        let damaged = || StoreError::Damaged { tree: Tree::Oplog };
        let mut slices = trees.slices(txn)?;
        let bytes = match slices.newest() {
            Some(newest) => bytes_of(trees.slice(newest)?, txn)?,
            None => 0,
        };
        let first = key.first_chunk::<KEY_BYTES>().ok_or_else(damaged)?;
        if slices.begin(*first, bytes) {
            trees.put_slices(txn, &slices)?;
        }
        let newest = *trees.slice(slices.newest().ok_or_else(damaged)?)?;
        self.newest = Some(newest);
        Ok(newest)
    }
}

/// The bytes of a tree's pages.
fn bytes_of(entries: &Entries, txn: &RoTxn<'_>) -> Result<u64, StoreError> {
    let stat = entries.stat(txn).map_err(refused("ask for the size of a tree"))?;
    let pages = stat.branch_pages + stat.leaf_pages + stat.overflow_pages;
    Ok(pages as u64 * u64::from(stat.page_size))
}

/// Writes an entry, at the end of the tree if that is its place.
fn put(
    entries: &Entries,
    txn: &mut RwTxn<'_>,
    kind: Kind,
    key: &[u8],
    value: &[u8],
) -> Result<(), StoreError> {
    if kind == Kind::Insert {
        match entries.put_with_flags(txn, PutFlags::APPEND, key, value) {
            Err(heed::Error::Mdb(heed::MdbError::KeyExist)) => {}
            outcome => return outcome.map_err(refused("append an entry")),
        }
    }
    entries.put(txn, key, value).map_err(refused("write an entry"))
}

/// Where to cut a range so that no value loses a part of its pieces.
fn whole_values(
    entries: &Entries,
    txn: &RwTxn<'_>,
    range: &Range,
    (mut cut, length): (Vec<u8>, usize),
) -> Result<Vec<u8>, StoreError> {
    cut.truncate(length);
    let before = Range { from: range.from.clone(), to: Some(cut.clone()) };
    let mut found = entries.range(txn, &before.bounds()).map_err(refused("read a range"))?;
    if before.is_empty() || found.next().is_none() {
        // One value has more pieces than were asked for: it goes as a whole.
        cut.extend_from_slice(&[u8::MAX; 3]);
    }
    Ok(cut)
}

/// Removes the pieces of a value from a number on.
fn remove_pieces(
    entries: &Entries,
    txn: &mut RwTxn<'_>,
    key: &[u8],
    from: u16,
) -> Result<(), StoreError> {
    let first = piece_key(key, from);
    if entries.get(txn, &first).map_err(refused("read an entry"))?.is_none() {
        return Ok(());
    }
    let last = piece_key(key, u16::MAX);
    let range = (Bound::Included(first.as_slice()), Bound::Included(last.as_slice()));
    entries.delete_range(txn, &range).map_err(refused("remove pieces"))?;
    Ok(())
}

/// A file of the first release, or of anybody else, is not ours to write beside.
fn refuse_other_formats(folder: &Path) -> Result<(), StoreError> {
    let list = |source| StoreError::File {
        doing: format!("the folder {} cannot be listed", folder.display()),
        source,
    };
    if folder.join(DATA_FILE).exists() {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder).map_err(list)? {
        let name = entry.map_err(list)?.file_name().to_string_lossy().into_owned();
        // LMDB makes its lock file first.
        if name != "lock.mdb" {
            let found = format!("the first release (format 1; the file {name} is there)");
            return Err(StoreError::OtherFormat { folder: folder.to_owned(), found });
        }
    }
    Ok(())
}

fn check_format(folder: &Path, txn: &mut RwTxn<'_>, meta: &Entries) -> Result<(), StoreError> {
    let found = meta.get(txn, FORMAT_KEY).map_err(refused("read its format"))?.map(<[u8]>::to_vec);
    match found.as_deref() {
        Some(FORMAT) => Ok(()),
        None => meta.put(txn, FORMAT_KEY, FORMAT).map_err(refused("write its format")),
        Some(other) => Err(StoreError::OtherFormat {
            folder: folder.to_owned(),
            found: format!("the format '{}'", String::from_utf8_lossy(other)),
        }),
    }
}

fn map_bytes(folder: &Path) -> std::io::Result<usize> {
    let disk = rustix::fs::statvfs(folder)?;
    let bytes = disk.f_blocks.saturating_mul(disk.f_frsize).clamp(SMALLEST_MAP, LARGEST_MAP);
    let page = 1 << 16;
    Ok(usize::try_from(bytes / page * page).unwrap_or(usize::MAX))
}

/// Everything as it was after one commit.
///
/// While it is held, the pages it shows are not used again and the file may grow.
pub struct Moment {
    txn: RoTxn<'static, WithoutTls>,
    trees: Trees,
    open: Arc<OpenMoments>,
}

impl Drop for Moment {
    // The transaction itself ends after this, but nobody can read through it any more.
    fn drop(&mut self) {
        let mut open = self.open.lock();
        if let Some(count) = open.get_mut(&self.number()) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.number());
            }
        }
    }
}

impl Moment {
    /// The number of the commit.
    pub fn number(&self) -> u64 {
        self.txn.id() as u64
    }

    /// The value of a key.
    pub fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Cow<'_, [u8]>>, StoreError> {
        if key.len() > LONGEST_KEY {
            return Ok(None);
        }
        let Some(entries) = self.trees.of_key(&self.txn, tree, key)? else {
            return Ok(None);
        };
        let found = entries.get(&self.txn, key).map_err(refused("read an entry"))?;
        if found.is_some() || tree.key_bytes().is_none() {
            return Ok(found.map(Cow::Borrowed));
        }
        let range = Range::new(piece_key(key, 0), piece_key(key, u16::MAX));
        let mut whole = Vec::new();
        for piece in entries.range(&self.txn, &range.bounds()).map_err(refused("read pieces"))? {
            whole.extend_from_slice(piece.map_err(refused("read a piece"))?.1);
        }
        Ok((!whole.is_empty()).then_some(Cow::Owned(whole)))
    }

    /// Visits the entries of a range until told to stop with `false`; answers whether all were
    /// visited. Values are not copied, but for those that are in pieces.
    pub fn visit<E: From<StoreError>>(
        &self,
        tree: Tree,
        range: &Range,
        direction: Direction,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool, E>,
    ) -> Result<bool, E> {
        if range.is_empty() {
            return Ok(true);
        }
        let mut trees = self.trees.within(&self.txn, tree, range)?;
        if direction == Direction::Descending {
            trees.reverse();
        }
        for entries in trees {
            let goes_on = match direction {
                Direction::Ascending => self.visit_up(tree, entries, range, &mut visit)?,
                Direction::Descending => self.visit_down(tree, entries, range, &mut visit)?,
            };
            if !goes_on {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn visit_up<E: From<StoreError>>(
        &self,
        tree: Tree,
        entries: &Entries,
        range: &Range,
        visit: &mut impl FnMut(&[u8], &[u8]) -> Result<bool, E>,
    ) -> Result<bool, E> {
        let mut whole = Pieces::new(tree);
        let mut ahead = Ahead::new(Direction::Ascending);
        for entry in entries.range(&self.txn, &range.bounds()).map_err(refused("read a range"))? {
            let (key, value) = entry.map_err(refused("read an entry"))?;
            ahead.passes(key);
            if !whole.push(key, value, visit)? {
                return Ok(false);
            }
        }
        whole.finish(visit)
    }

    fn visit_down<E: From<StoreError>>(
        &self,
        tree: Tree,
        entries: &Entries,
        range: &Range,
        visit: &mut impl FnMut(&[u8], &[u8]) -> Result<bool, E>,
    ) -> Result<bool, E> {
        let bounds = range.bounds();
        let mut ahead = Ahead::new(Direction::Descending);
        for entry in entries.rev_range(&self.txn, &bounds).map_err(refused("read a range"))? {
            let (key, value) = entry.map_err(refused("read an entry"))?;
            ahead.passes(key);
            match tree.key_bytes().filter(|length| key.len() > *length) {
                None => {
                    if !visit(key, value)? {
                        return Ok(false);
                    }
                }
                // The last piece comes first; the whole is read when its first one comes.
                Some(length) => {
                    let (base, piece) = key.split_at(length);
                    if piece == [0, 0] {
                        let value = self.get(tree, base)?.ok_or(StoreError::Damaged { tree })?;
                        if !visit(base, &value)? {
                            return Ok(false);
                        }
                    }
                }
            }
        }
        Ok(true)
    }

    /// The last key of a range, without the number of a piece.
    pub fn last_key(&self, tree: Tree, range: &Range) -> Result<Option<Vec<u8>>, StoreError> {
        let mut last = None;
        self.visit::<StoreError>(tree, range, Direction::Descending, |key, _| {
            last = Some(key.to_vec());
            Ok(false)
        })?;
        Ok(last)
    }

    /// The first key of what is not forgotten of the oplog.
    pub fn oplog_begins(&self) -> Result<Option<[u8; KEY_BYTES]>, StoreError> {
        let slices = self.trees.slices(&self.txn)?;
        Ok(slices.within(&[], None).next().map(|slice| slice.first))
    }

    /// Whether `Store::forget_oplog` would forget something.
    pub fn can_forget_oplog(&self, key: &[u8]) -> Result<bool, StoreError> {
        Ok(self.trees.slices(&self.txn)?.take_before(key).is_some())
    }

    /// Bytes that the oplog takes of the file.
    pub fn oplog_bytes(&self) -> Result<u64, StoreError> {
        let slices = self.trees.slices(&self.txn)?;
        let newest = match slices.newest() {
            Some(newest) => bytes_of(self.trees.slice(newest)?, &self.txn)?,
            None => 0,
        };
        Ok(slices.full_bytes() + newest)
    }
}

/// Puts values together that come in pieces.
struct Pieces {
    tree: Tree,
    key_bytes: Option<usize>,
    key: Vec<u8>,
    value: Vec<u8>,
    next: u16,
}

impl Pieces {
    fn new(tree: Tree) -> Self {
        Self { tree, key_bytes: tree.key_bytes(), key: Vec::new(), value: Vec::new(), next: 0 }
    }

    fn push<E: From<StoreError>>(
        &mut self,
        key: &[u8],
        value: &[u8],
        visit: &mut impl FnMut(&[u8], &[u8]) -> Result<bool, E>,
    ) -> Result<bool, E> {
        let Some(length) = self.key_bytes.filter(|length| key.len() > *length) else {
            return Ok(self.finish(visit)? && visit(key, value)?);
        };
        let (base, piece) = key.split_at(length);
        if self.next > 0 && self.key != base && !self.finish(visit)? {
            return Ok(false);
        }
        if piece != self.next.to_be_bytes() {
            return Err(StoreError::Damaged { tree: self.tree }.into());
        }
        if self.next == 0 {
            self.key.clear();
            self.key.extend_from_slice(base);
            self.value.clear();
        }
        self.value.extend_from_slice(value);
        self.next += 1;
        Ok(true)
    }

    /// Hands out what is complete.
    fn finish<E>(
        &mut self,
        visit: &mut impl FnMut(&[u8], &[u8]) -> Result<bool, E>,
    ) -> Result<bool, E> {
        if std::mem::take(&mut self.next) == 0 {
            return Ok(true);
        }
        visit(&self.key, &self.value)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
