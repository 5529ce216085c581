//! Where a vault's objects are: a folder on a local disk, or a bucket.
//!
//! Everything the vault reads and writes passes through here, so that a test can make any call
//! fail (`faults.rs`). Names are paths with `/` below the vault's root. Both stores pass the same
//! suite (`conformance.rs`).

#[cfg(test)]
mod conformance;
mod contract;
mod credentials;
#[cfg(test)]
mod faulty_proxy;
mod folder;
mod keeping;
mod location;
mod object_lock;
mod remote;
mod requests;
#[cfg(test)]
pub(crate) mod test_servers;
mod windows;

use credentials::Environment;
use remote::RemoteStore;

#[cfg(test)]
pub(crate) use contract::Rewriter;
pub(crate) use contract::{Listed, NewObject, Object, Put, Stamp, Store};
pub(crate) use folder::{FolderStore, sync_parent};
pub(crate) use keeping::{Hold, KeepingStore, Kept, from_now};
pub use location::{Location, LocationError};
pub(crate) use remote::Patience;
pub use requests::RequestKind;

/// The store of a place; nothing is asked of it yet.
pub(crate) fn open(
    location: &Location,
    patience: Patience,
) -> Result<Box<dyn Store>, LocationError> {
    Ok(match location {
        Location::Folder(root) => Box::new(FolderStore::new(root)),
        Location::Bucket(bucket) => {
            Box::new(RemoteStore::new(bucket, &Environment::of_process(), patience)?)
        }
    })
}
