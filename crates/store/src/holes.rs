//! Giving the disk back what the file does not use.
//!
//! LMDB never shortens its file: pages that hold nothing any more are kept for new data. Here they
//! become holes, which take no disk. The list of free pages is a tree that LMDB keeps for itself;
//! it is read through a second, read-only environment on the same file.
//!
//! A page may become a hole when no moment shows it and no commit could be undone to show it: it
//! was freed before the oldest moment that is held and before the last two commits. Nobody may
//! commit meanwhile, because a commit takes pages from the list. A crash in the middle leaves some
//! holes made and others not; both are free pages.

use std::ffi::{CString, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use lmdb_master_sys as ffi;
use rustix::fs::FallocateFlags;

use crate::error::StoreError;

/// Fewer pages in a row are left alone: a call for each costs more than it gives.
const SHORTEST_RUN: u64 = 4;
/// The table that lists free pages.
const FREE_TABLE: ffi::MDB_dbi = 0;

/// Makes holes of the free pages that were freed before the commit `before`; answers their bytes.
pub(crate) fn punch(folder: &Path, map_bytes: usize, before: u64) -> Result<u64, StoreError> {
    let file = |source: std::io::Error| StoreError::File {
        doing: format!("unused space of {} could not be given back", folder.display()),
        source,
    };
    let (page_bytes, mut pages) = free_pages(folder, map_bytes, before).map_err(|code| {
        file(std::io::Error::other(format!("the list of free pages cannot be read: error {code}")))
    })?;
    pages.sort_unstable();
    let data =
        std::fs::OpenOptions::new().write(true).open(folder.join("data.mdb")).map_err(file)?;
    let mut bytes = 0;
    for run in pages.chunk_by(|page, next| page + 1 == *next) {
        let (Some(first), length) = (run.first(), run.len() as u64) else { continue };
        if length < SHORTEST_RUN {
            continue;
        }
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&data, mode, first * page_bytes, length * page_bytes)
            .map_err(|error| file(error.into()))?;
        bytes += length * page_bytes;
    }
    Ok(bytes)
}

/// The bytes of a page, and the pages that commits before `before` freed; LMDB's error otherwise.
#[expect(unsafe_code, reason = "heed does not show the list of free pages")]
fn free_pages(folder: &Path, map_bytes: usize, before: u64) -> Result<(u64, Vec<u64>), i32> {
    let path = CString::new(folder.as_os_str().as_bytes()).map_err(|_| -1)?;
    let check = |code: i32| if code == 0 { Ok(()) } else { Err(code) };
    let mut env = ptr::null_mut();
    // SAFETY: the environment is opened for reading only and without LMDB's locks, so it takes
    // nothing from the one that writes; whoever calls sees to it that nobody commits before this
    // returns. Everything that is opened is closed on every path, in the order that LMDB wants.
    unsafe {
        check(ffi::mdb_env_create(&raw mut env))?;
        let outcome = (|| {
            check(ffi::mdb_env_set_mapsize(env, map_bytes))?;
            let flags = ffi::MDB_RDONLY | ffi::MDB_NOLOCK | ffi::MDB_NOTLS;
            check(ffi::mdb_env_open(env, path.as_ptr(), flags, 0o600))?;
            let mut about = std::mem::zeroed::<ffi::MDB_stat>();
            check(ffi::mdb_env_stat(env, &raw mut about))?;
            let mut txn = ptr::null_mut();
            check(ffi::mdb_txn_begin(env, ptr::null_mut(), ffi::MDB_RDONLY, &raw mut txn))?;
            let pages = list(txn, before);
            ffi::mdb_txn_abort(txn);
            pages.map(|pages| (u64::from(about.ms_psize), pages))
        })();
        ffi::mdb_env_close(env);
        outcome
    }
}

#[expect(unsafe_code, reason = "heed does not show the list of free pages")]
/// # Safety
///
/// `txn` is a read transaction that is open.
unsafe fn list(txn: *mut ffi::MDB_txn, before: u64) -> Result<Vec<u64>, i32> {
    let mut pages = Vec::new();
    let mut cursor = ptr::null_mut();
    // SAFETY: the transaction is open, and what the cursor answers is valid until it ends.
    unsafe {
        let code = ffi::mdb_cursor_open(txn, FREE_TABLE, &raw mut cursor);
        if code != 0 {
            return Err(code);
        }
        let mut key = ffi::MDB_val { mv_size: 0, mv_data: ptr::null_mut() };
        let mut value = ffi::MDB_val { mv_size: 0, mv_data: ptr::null_mut() };
        let mut code = ffi::mdb_cursor_get(cursor, &raw mut key, &raw mut value, ffi::MDB_FIRST);
        while code == 0 {
            let commit = numbers(key.mv_data, key.mv_size).first().copied().unwrap_or(u64::MAX);
            if commit >= before {
                break;
            }
            // A count, then so many page numbers.
            let listed = numbers(value.mv_data, value.mv_size);
            if let Some((count, listed)) = listed.split_first() {
                pages.extend(listed.iter().take(usize::try_from(*count).unwrap_or(0)));
            }
            let next = ffi::MDB_NEXT;
            code = ffi::mdb_cursor_get(cursor, &raw mut key, &raw mut value, next);
        }
        ffi::mdb_cursor_close(cursor);
    }
    Ok(pages)
}

#[expect(unsafe_code, reason = "what LMDB answers is an address and a length")]
/// # Safety
///
/// `size` bytes are readable at `data`.
unsafe fn numbers(data: *const c_void, size: usize) -> Vec<u64> {
    // SAFETY: by the contract above.
    let bytes = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), size) };
    bytes.as_chunks::<8>().0.iter().map(|bytes| u64::from_ne_bytes(*bytes)).collect()
}
