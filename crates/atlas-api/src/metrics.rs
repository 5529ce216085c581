//! Counts of requests, for Prometheus to read.

use std::fmt::Write;

use crate::api::Api;
use crate::operations::OPERATIONS;

impl Api {
    /// How often each operation was asked for since the start, in the text format of Prometheus.
    ///
    /// The count of an operation that is not offered shows what users miss.
    pub fn metrics(&self) -> String {
        let mut text = String::from(
            "# HELP tidemark_api_requests_total Requests to each operation since the start.\n\
             # TYPE tidemark_api_requests_total counter\n",
        );
        for operation in OPERATIONS {
            let (id, offered) = (operation.id, operation.is_offered());
            let count = self.counts.of(id);
            let _ = writeln!(
                text,
                "tidemark_api_requests_total{{operation=\"{id}\",offered=\"{offered}\"}} {count}"
            );
        }
        text
    }
}
