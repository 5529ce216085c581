//! What an instance was asked, counted.

use std::sync::atomic::{AtomicI64, Ordering};

use bson::Document;

/// Counts since the start.
#[derive(Default)]
pub(crate) struct Operations {
    insert: AtomicI64,
    query: AtomicI64,
    update: AtomicI64,
    delete: AtomicI64,
    getmore: AtomicI64,
    command: AtomicI64,
    bytes_in: AtomicI64,
    bytes_out: AtomicI64,
}

impl Operations {
    /// Counts a command and its bytes.
    pub(crate) fn note(&self, command: &str, bytes_in: usize, bytes_out: usize) {
        let counter = match command {
            "insert" => &self.insert,
            "find" => &self.query,
            "update" => &self.update,
            "delete" => &self.delete,
            "getMore" => &self.getmore,
            _ => &self.command,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let bytes = |bytes: usize| i64::try_from(bytes).unwrap_or(0);
        self.bytes_in.fetch_add(bytes(bytes_in), Ordering::Relaxed);
        self.bytes_out.fetch_add(bytes(bytes_out), Ordering::Relaxed);
    }

    /// As `serverStatus` shows them.
    pub(crate) fn describe(&self) -> Document {
        let count = |counter: &AtomicI64| counter.load(Ordering::Relaxed);
        bson::doc! {
            "insert": count(&self.insert),
            "query": count(&self.query),
            "update": count(&self.update),
            "delete": count(&self.delete),
            "getmore": count(&self.getmore),
            "command": count(&self.command),
        }
    }

    /// As `serverStatus` shows them.
    pub(crate) fn describe_network(&self) -> Document {
        let count = |counter: &AtomicI64| counter.load(Ordering::Relaxed);
        let counters =
            [&self.insert, &self.query, &self.update, &self.delete, &self.getmore, &self.command];
        let requests: i64 = counters.into_iter().map(count).sum();
        bson::doc! {
            "bytesIn": count(&self.bytes_in),
            "bytesOut": count(&self.bytes_out),
            "numRequests": requests,
        }
    }
}
