//! The processes that serve the same records.

use std::fmt;
use std::str::FromStr;

/// What a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NodeRole {
    /// It answers the API, and nothing else.
    Api,
    /// It does jobs, follows oplogs and runs databases; of the API it answers what operators ask.
    Worker,
    /// Both.
    #[default]
    All,
}

impl NodeRole {
    const ALL: [Self; 3] = [Self::Api, Self::Worker, Self::All];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Worker => "worker",
            Self::All => "all",
        }
    }

    /// Whether it answers the API.
    pub fn answers(self) -> bool {
        self != Self::Worker
    }

    /// Whether it does jobs, follows oplogs and runs databases.
    pub fn works(self) -> bool {
        self != Self::Api
    }
}

impl fmt::Display for NodeRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no role: api, worker or all is expected")]
pub struct NodeRoleError(String);

impl FromStr for NodeRole {
    type Err = NodeRoleError;

    fn from_str(text: &str) -> Result<Self, NodeRoleError> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| NodeRoleError(text.to_owned()))
    }
}
