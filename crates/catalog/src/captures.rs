//! Who follows the oplogs of instances, where several nodes may.

use std::collections::HashSet;

use jiff::Timestamp;
use tidemark_model::{InstanceId, NodeRun, OplogTime};

use crate::catalog::Catalog;
use crate::database::OptionalExtension;
use crate::error::CatalogError;
use crate::nodes::is_alive;
use crate::oplog_ranges::{position, signed};
use crate::row::Decoder;

/// How the round of a capture ended that somebody else wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureAnswer {
    /// Through where everything is stored; or why it is not.
    pub outcome: Result<OplogTime, String>,
}

/// Captures that are taken at once.
const AT_ONCE: usize = 200;

impl Catalog {
    /// Takes captures for a run, so that it has at most `most` of those that are wanted; answers those that it
    /// has then. What a node had that is gone is free, and so is what nobody had.
    pub fn claim_captures(
        &self,
        run: NodeRun,
        (wanted, most): (&[InstanceId], usize),
        now: Timestamp,
    ) -> Result<Vec<InstanceId>, CatalogError> {
        let name = run.to_string();
        let (mut mine, mut others) = (Vec::new(), Vec::new());
        {
            let connection = self.read()?;
            let sql = format!(
                "SELECT instance_id, run FROM captures WHERE run IS NOT NULL AND {}",
                is_alive("captures.run")
            );
            let mut rows = connection.prepare_cached(&sql)?.query([now.as_second()])?;
            while let Some(row) = rows.next()? {
                let id: InstanceId = Decoder::new("captures", row).parse("instance_id")?;
                let holder: String = row.get(1)?;
                if holder == name { mine.push(id) } else { others.push(id) }
            }
        }
        let wanted_ids: HashSet<&InstanceId> = wanted.iter().collect();
        mine.retain(|id| wanted_ids.contains(id));
        let taken: HashSet<InstanceId> = mine.iter().chain(&others).copied().collect();
        let free = wanted.iter().filter(|id| !taken.contains(id)).copied();
        // The rest is for the next call: what was taken begins meanwhile.
        let most = most.saturating_sub(mine.len()).min(AT_ONCE);
        let free: Vec<InstanceId> = free.take(most).collect();
        for id in free {
            let sql = format!(
                "INSERT INTO captures (instance_id, run) SELECT CAST(?2 AS TEXT), CAST(?3 AS TEXT) WHERE {}
                 ON CONFLICT (instance_id) DO UPDATE SET run = excluded.run
                 WHERE captures.run IS NULL OR NOT {}",
                is_alive("?3"),
                is_alive("captures.run")
            );
            let taken = self.lock().execute(&sql, (now.as_second(), id.to_string(), &name));
            match taken {
                Ok(1) => mine.push(id),
                Ok(_) => {}
                // The instance is gone since.
                Err(crate::DatabaseError::Constraint(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(mine)
    }

    /// Gives a capture back, if this run has it.
    pub fn release_capture(&self, instance: InstanceId, run: NodeRun) -> Result<(), CatalogError> {
        let sql = "UPDATE captures SET run = NULL WHERE instance_id = ?1 AND run = ?2";
        self.lock().execute(sql, (instance.to_string(), run.to_string()))?;
        Ok(())
    }

    /// Proves that a run has a capture, for the rest of the transaction.
    pub fn check_capture(&self, instance: InstanceId, run: NodeRun) -> Result<(), CatalogError> {
        let sql = "SELECT 1 FROM captures WHERE instance_id = ?1 AND run = ?2";
        let found: Option<i64> = self
            .lock()
            .query_row(sql, (instance.to_string(), run.to_string()), |row| row.get(0))
            .optional()?;
        found.map(drop).ok_or_else(|| CatalogError::LeaseLost(format!("capture of {instance}")))
    }

    /// Wants everything that is new in an instance's oplog to be stored, whoever follows it; answers a
    /// number by which to ask how that ended.
    pub fn want_capture(&self, instance: InstanceId) -> Result<i64, CatalogError> {
        Ok(self.lock().query_row(
            "INSERT INTO captures (instance_id, wanted) VALUES (?1, 1)
             ON CONFLICT (instance_id) DO UPDATE SET wanted = captures.wanted + 1 RETURNING wanted",
            [instance.to_string()],
            |row| row.get(0),
        )?)
    }

    /// What is wanted of the captures that a run has: the instances, with the numbers.
    pub fn list_wanted_captures(
        &self,
        run: NodeRun,
    ) -> Result<Vec<(InstanceId, i64)>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(
            "SELECT instance_id, wanted FROM captures WHERE run = ?1 AND wanted > done",
        )?;
        let mut rows = statement.query([run.to_string()])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push((Decoder::new("captures", row).parse("instance_id")?, row.get(1)?));
        }
        Ok(found)
    }

    /// Answers those who wanted a capture, through the number that was known when it began.
    pub fn answer_capture(
        &self,
        (instance, run): (InstanceId, NodeRun),
        number: i64,
        answer: &CaptureAnswer,
    ) -> Result<(), CatalogError> {
        self.lock().execute(
            "UPDATE captures SET done = ?3, through = ?4, failure = ?5
             WHERE instance_id = ?1 AND run = ?2 AND done < ?3",
            (
                instance.to_string(),
                run.to_string(),
                number,
                answer.outcome.as_ref().ok().map(|through| signed(*through)),
                answer.outcome.as_ref().err(),
            ),
        )?;
        Ok(())
    }

    /// How a capture ended that was wanted; nothing while it has not.
    pub fn find_capture_answer(
        &self,
        instance: InstanceId,
        number: i64,
    ) -> Result<Option<CaptureAnswer>, CatalogError> {
        let connection = self.read()?;
        let found: Option<(Option<i64>, Option<String>)> = connection
            .query_row(
                "SELECT through, failure FROM captures WHERE instance_id = ?1 AND done >= ?2",
                (instance.to_string(), number),
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        Ok(found.map(|(through, failure)| CaptureAnswer {
            outcome: match (through, failure) {
                (Some(through), None) => Ok(position(through)),
                (_, failure) => Err(failure.unwrap_or_default()),
            },
        }))
    }
}
