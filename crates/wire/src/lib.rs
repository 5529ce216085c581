//! MongoDB's formats between two parties: messages, SCRAM, oplog entries.
//!
//! Bytes in, meaning out, and back. No sockets: whoever owns a connection reads
//! and writes; this crate says what the bytes mean and how many there may be.

mod depth;
mod diff;
mod documents;
mod frame;
mod operators;
mod oplog_entry;
mod scram;

pub use depth::{DepthError, LARGEST_DEPTH, LARGEST_STORED_DEPTH, check_depth};
pub use diff::{DiffError, apply_diff, compute_diff};
pub use documents::{DocumentRun, DocumentRunError, encode_document};
pub use frame::{
    FrameError, HEADER_BYTES, Header, LARGEST_DOCUMENT_BYTES, LARGEST_MESSAGE_BYTES,
    MSG_HEAD_BYTES, MessageFlags, OpMsg, Request, complete_msg, encode_msg, encode_reply,
    parse_header, parse_msg, parse_request,
};
pub use operators::{OperatorError, apply_operators, check_operators};
pub use oplog_entry::{OplogEntry, OplogEntryError, OplogOperation};
pub use scram::{
    SCRAM_ITERATIONS, ScramClient, ScramCredential, ScramError, ScramServer, user_of_first_message,
};
