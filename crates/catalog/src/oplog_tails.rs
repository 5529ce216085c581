//! Captured oplog entries that are not in the vault yet.
//!
//! An object store is paid by the request, so a vault there is given an object a minute; what was captured
//! since then is here, sealed, where any worker can find it.

use tidemark_model::{InstanceId, OplogSpan};

use crate::catalog::Catalog;
use crate::error::CatalogError;
use crate::oplog_ranges::{position, signed};
use crate::row::{Decoder, decode_all};

/// Entries that follow each other, as the vault would store them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TailPiece {
    /// Where they begin and end.
    pub span: OplogSpan,
    /// What only who has the vault's key can open.
    pub sealed: Vec<u8>,
}

/// How much of an instance's oplog is not in the vault yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TailSize {
    /// Pieces.
    pub pieces: u64,
    /// Their sealed bytes.
    pub bytes: u64,
}

impl Catalog {
    /// Keeps a piece; of two that begin at the same place the longer one stays.
    pub fn put_oplog_tail(
        &self,
        instance: InstanceId,
        piece: &TailPiece,
    ) -> Result<(), CatalogError> {
        self.lock().execute(
            "INSERT INTO oplog_tails (instance_id, first, last, sealed) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (instance_id, first) DO UPDATE SET last = excluded.last, sealed = excluded.sealed
             WHERE excluded.last > oplog_tails.last",
            (
                instance.to_string(),
                signed(piece.span.first),
                signed(piece.span.last),
                piece.sealed.as_slice(),
            ),
        )?;
        Ok(())
    }

    /// The pieces of an instance, in order.
    pub fn list_oplog_tail(&self, instance: InstanceId) -> Result<Vec<TailPiece>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(
            "SELECT first, last, sealed FROM oplog_tails WHERE instance_id = ?1 ORDER BY first",
        )?;
        let rows = statement.query_map([instance.to_string()], |row| {
            let span = OplogSpan { first: position(row.get(0)?), last: position(row.get(1)?) };
            Ok(TailPiece { span, sealed: row.get(2)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The instances of which pieces are kept.
    pub fn list_tailed(&self) -> Result<Vec<InstanceId>, CatalogError> {
        let connection = self.read()?;
        let mut statement =
            connection.prepare_cached("SELECT DISTINCT instance_id FROM oplog_tails")?;
        decode_all(statement.query(())?, |row| {
            Decoder::new("oplog_tails", row).parse("instance_id")
        })
    }

    /// How much is kept of an instance.
    pub fn measure_oplog_tail(&self, instance: InstanceId) -> Result<TailSize, CatalogError> {
        let (pieces, bytes): (i64, i64) = self.read()?.query_row(
            "SELECT count(*), coalesce(sum(length(sealed)), 0) FROM oplog_tails WHERE instance_id = ?1",
            [instance.to_string()],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        Ok(TailSize { pieces: pieces.cast_unsigned(), bytes: bytes.cast_unsigned() })
    }

    /// Forgets these pieces: they are in the vault. One that was replaced since stays.
    pub fn remove_oplog_tail(
        &self,
        instance: InstanceId,
        stored: &[OplogSpan],
    ) -> Result<(), CatalogError> {
        let instance = instance.to_string();
        self.transact(|catalog| {
            let transaction = catalog.lock();
            for span in stored {
                transaction.execute(
                    "DELETE FROM oplog_tails WHERE instance_id = ?1 AND first = ?2 AND last = ?3",
                    (&instance, signed(span.first), signed(span.last)),
                )?;
            }
            Ok(())
        })
    }
}
