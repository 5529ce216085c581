//! The command line for people: a client of a server's API.
//!
//! Data goes to the standard output, everything else to the standard error. `--json` prints one document
//! for each command, of the type in `answers` that its schema describes. What destroys something shows its
//! plan and asks. It knows no catalog and no vault: what it can do, any client of the API can.

mod answers;
mod ask;
mod bootstrap_file;
mod client;
mod command;
mod commands;
mod error;
mod lines;
mod output;
mod profiles;
mod progress;
mod schemas;
mod session;
mod table;
mod when;

pub use bootstrap_file::{Bootstrap, BootstrapFileError};
pub use commands::{commands, run};
pub use error::{CliError, Exit};
pub use schemas::{CommandSchema, SCHEMAS, schema_of};

/// The variables of a client; a server on the same machine takes none of them for its own.
pub const CLIENT_VARIABLES: &[&str] = &[
    "TIDEMARK_CLI_CONFIG",
    "TIDEMARK_CLIENT_ID",
    "TIDEMARK_CLIENT_SECRET",
    "TIDEMARK_PRIVATE_KEY",
    "TIDEMARK_PROFILE",
    "TIDEMARK_PROJECT",
    "TIDEMARK_PUBLIC_KEY",
    "TIDEMARK_SERVER",
    "TIDEMARK_SERVER_CA_FILE",
    "TIDEMARK_URI",
    "TIDEMARK_USER_PASSWORD",
];
