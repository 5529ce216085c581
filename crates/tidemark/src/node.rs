//! This process as a node: its name in the data folder, and where the databases of all nodes are.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use tidemark_atlas_api::Hosts;
use tidemark_catalog::Instance;
use tidemark_model::NodeId;
use tidemark_worker::Membership;

/// The file in the data folder that says the node's name.
const FILE: &str = "node";

/// Why a data folder has no name.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    #[error("{path}, which holds the name of this node, cannot be read or written: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error(
        "{path} is not what a first start writes: the name of this node, 24 hexadecimal digits"
    )]
    Malformed { path: PathBuf },
}

/// The name of the node with this data folder; made at the first start.
pub(crate) fn load_or_create_id(data_dir: &Path, now: Timestamp) -> Result<NodeId, NodeError> {
    let path = data_dir.join(FILE);
    let failed = |source| NodeError::File { path: path.clone(), source };
    match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|_| NodeError::Malformed { path: path.clone() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let id = NodeId::new(now);
            let temporary = path.with_extension("tmp");
            let write = || -> std::io::Result<()> {
                let mut options = std::fs::OpenOptions::new();
                let mut file =
                    options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
                writeln!(file, "{id}")?;
                file.sync_all()?;
                std::fs::rename(&temporary, &path)?;
                std::fs::File::open(data_dir)?.sync_all()
            };
            write().map_err(failed).map(|()| id)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Where the databases of all nodes are.
pub(crate) struct NodeHosts {
    pub(crate) membership: Arc<Membership>,
    /// The host of those of this node.
    pub(crate) host: String,
    /// For how many it has ports.
    pub(crate) ports: usize,
    /// Whether they speak TLS.
    pub(crate) tls: bool,
}

impl std::fmt::Debug for NodeHosts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NodeHosts")
    }
}

impl Hosts for NodeHosts {
    fn host_of(&self, instance: &Instance) -> String {
        let nodes = self.membership.nodes();
        let other = instance.node.and_then(|id| nodes.iter().find(|node| node.id == id));
        other.map_or_else(|| self.host.clone(), |node| node.host.clone())
    }

    fn ports(&self) -> usize {
        if !self.membership.is_shared() {
            return self.ports;
        }
        // Who has just started counts. What is not known now was true a moment ago.
        if let Err(error) = self.membership.refresh() {
            tracing::warn!(%error, "which nodes there are could not be looked up");
        }
        let ports = self.membership.workers().iter().map(|node| node.ports).sum::<u32>();
        usize::try_from(ports).unwrap_or(usize::MAX)
    }

    fn speaks_tls(&self, instance: &Instance) -> bool {
        let nodes = self.membership.nodes();
        let other = instance.node.and_then(|id| nodes.iter().find(|node| node.id == id));
        other.map_or(self.tls, |node| node.certificate.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_folder_keeps_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let made = load_or_create_id(folder.path(), now).unwrap();
        assert_eq!(load_or_create_id(folder.path(), now).unwrap(), made);
        std::fs::write(folder.path().join(FILE), "something else").unwrap();
        let refused = load_or_create_id(folder.path(), now);
        assert!(matches!(refused, Err(NodeError::Malformed { .. })));
    }
}
