//! From columns to domain types, strictly.

use crate::database::{FromValue, Row, Rows};
use jiff::Timestamp;
use tidemark_model::{Cause, Failure};

use crate::error::CatalogError;

/// One row, with what is needed to name it in an error.
pub(crate) struct Decoder<'a> {
    row: &'a Row,
    table: &'static str,
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(table: &'static str, row: &'a Row) -> Self {
        Self { row, table }
    }

    pub(crate) fn corrupt(&self, reason: impl Into<String>) -> CatalogError {
        let id: String = self.row.get("id").unwrap_or_else(|_| "without id".to_owned());
        CatalogError::Corrupt { table: self.table, id, reason: reason.into() }
    }

    pub(crate) fn get<T: FromValue>(&self, column: &str) -> Result<T, CatalogError> {
        self.row.get(column).map_err(|error| self.corrupt(format!("{column}: {error}")))
    }

    /// A text that has a domain type.
    pub(crate) fn parse<T: std::str::FromStr>(&self, column: &str) -> Result<T, CatalogError> {
        let text: String = self.get(column)?;
        text.parse().map_err(|_| self.corrupt(format!("{column} holds {text:?}")))
    }

    pub(crate) fn parse_optional<T: std::str::FromStr>(
        &self,
        column: &str,
    ) -> Result<Option<T>, CatalogError> {
        let text: Option<String> = self.get(column)?;
        text.map(|text| text.parse().map_err(|_| self.corrupt(format!("{column} holds {text:?}"))))
            .transpose()
    }

    pub(crate) fn instant(&self, column: &str) -> Result<Timestamp, CatalogError> {
        let seconds: i64 = self.get(column)?;
        Timestamp::from_second(seconds)
            .map_err(|_| self.corrupt(format!("{column} holds {seconds}")))
    }

    pub(crate) fn optional_instant(&self, column: &str) -> Result<Option<Timestamp>, CatalogError> {
        let seconds: Option<i64> = self.get(column)?;
        seconds
            .map(|seconds| {
                Timestamp::from_second(seconds)
                    .map_err(|_| self.corrupt(format!("{column} holds {seconds}")))
            })
            .transpose()
    }

    /// Why something failed, if it did.
    pub(crate) fn failure(&self) -> Result<Option<Failure>, CatalogError> {
        let reason: Option<String> = self.get("failure")?;
        let cause: Option<String> = self.get("failure_cause")?;
        let Some(reason) = reason else { return Ok(None) };
        // A later release may have words that this one does not know.
        let cause = cause.and_then(|word| Cause::parse(&word)).unwrap_or(Cause::Unknown);
        Ok(Some(Failure { cause, reason }))
    }

    /// A JSON text.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(
        &self,
        column: &str,
    ) -> Result<T, CatalogError> {
        let text: String = self.get(column)?;
        self.parse_json(column, &text)
    }

    /// A value that is kept as JSON, or nothing.
    pub(crate) fn optional_json<T: serde::de::DeserializeOwned>(
        &self,
        column: &str,
    ) -> Result<Option<T>, CatalogError> {
        let text: Option<String> = self.get(column)?;
        text.map(|text| self.parse_json(column, &text)).transpose()
    }

    fn parse_json<T: serde::de::DeserializeOwned>(
        &self,
        column: &str,
        text: &str,
    ) -> Result<T, CatalogError> {
        serde_json::from_str(text).map_err(|error| self.corrupt(format!("{column}: {error}")))
    }
}

/// Decodes all rows of an answer.
pub(crate) fn decode_all<T>(
    mut rows: Rows,
    decode: impl Fn(&Row) -> Result<T, CatalogError>,
) -> Result<Vec<T>, CatalogError> {
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        items.push(decode(row)?);
    }
    Ok(items)
}

/// A value as JSON text.
pub(crate) fn to_json(value: &impl serde::Serialize) -> String {
    // Serializing strings, numbers and lists of them cannot fail.
    serde_json::to_string(value).unwrap_or_default()
}
