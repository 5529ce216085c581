//! Taking in dumps that are to become snapshots: signed by a secret in the link.

use std::io::Write;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response, StatusCode};
use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use tidemark_actions::snapshots::{self, Imported};
use tidemark_atlas_api::{Api, ImportTicket};
use tidemark_model::{Clock, SnapshotId};
use tidemark_vault::{Vault, Vaults};
use tidemark_worker::{dump_name, dump_path};
use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt;

/// How long a link may be used after it was made.
const LINK_LIFETIME: SignedDuration = SignedDuration::from_hours(1);

/// What an upload leaves free on the disk: what else is there goes on.
const FLOOR_BYTES: u64 = 256 << 20;
/// How much is written between two looks at the disk.
const LOOK_BYTES: usize = 32 << 20;

/// What the upload route needs.
pub(crate) struct Uploads {
    pub(crate) api: Arc<Api>,
    pub(crate) clock: Clock,
    pub(crate) folder: PathBuf,
    pub(crate) vaults: Vaults,
}

/// The file of an upload that goes on, which is removed when that ends, also if whoever sends it goes away.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Why a dump is not taken in.
struct Refused(StatusCode, String);

/// Answers `PUT /upload/{token}/{instance}/{snapshot}/{expires}`: the snapshot is recorded once the dump
/// is here as a whole.
pub(crate) async fn serve(
    State(uploads): State<Arc<Uploads>>,
    Path((token, instance, snapshot, expires)): Path<(String, String, String, i64)>,
    body: Body,
) -> Response<Body> {
    let (status, answer) = match uploads.take(&token, (&instance, &snapshot, expires), body).await {
        Ok(()) => (StatusCode::CREATED, serde_json::json!({ "id": snapshot })),
        Err(Refused(status, detail)) => {
            (status, serde_json::json!({ "detail": detail, "error": status.as_u16() }))
        }
    };
    let mut response = Response::new(Body::from(answer.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

impl Uploads {
    async fn take(
        &self,
        token: &str,
        (instance, snapshot, expires): (&str, &str, i64),
        body: Body,
    ) -> Result<(), Refused> {
        let unknown =
            || Refused(StatusCode::NOT_FOUND, "There is no upload at this address.".into());
        let ticket = ImportTicket {
            instance: instance.parse().map_err(|_| unknown())?,
            snapshot: snapshot.parse().map_err(|_| unknown())?,
            expires_at: Timestamp::from_second(expires).map_err(|_| unknown())?,
        };
        let (api, token) = (Arc::clone(&self.api), token.to_owned());
        let check = move || {
            let is_known = api.is_import_ticket(&ticket, &token);
            is_known.then(|| api.catalog().vault_of(ticket.instance))
        };
        let name = tokio::task::spawn_blocking(check).await.unwrap_or(None).ok_or_else(unknown)?;
        let unusable = |error: &dyn std::fmt::Display| {
            Refused(StatusCode::SERVICE_UNAVAILABLE, format!("Its vault cannot be used: {error}."))
        };
        let name = name.map_err(|error| unusable(&error))?;
        let vault = self.vaults.find(name.as_deref()).map_err(|error| unusable(&error))?;
        let ended = ticket.made_at().saturating_add(LINK_LIFETIME).unwrap_or(Timestamp::MIN);
        if ended < self.clock.now() {
            let detail = "This link has expired; ask for another one.";
            return Err(Refused(StatusCode::GONE, detail.to_owned()));
        }
        let partial = self.folder.join(format!("{snapshot}.part"));
        let whole = dump_path(&self.folder, ticket.snapshot);
        let file = OpenOptions::new().write(true).create_new(true).open(&partial).await;
        let file = file.map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                let detail = "This dump is being uploaded already.";
                Refused(StatusCode::CONFLICT, detail.to_owned())
            }
            _ => failed(&partial, &error),
        })?;
        let unfinished = Unfinished(partial);
        // In this order: what is recorded may be done with, and its file gone.
        if is_there(vault, &whole, ticket.snapshot).await || self.is_recorded(ticket).await? {
            let detail = "This dump was uploaded before; ask for another link for another one.";
            return Err(Refused(StatusCode::CONFLICT, detail.to_owned()));
        }
        // Before the record: a record without its file could not be told from one that lost it.
        if vault.is_paid_by_request() {
            // Whichever node makes the snapshot finds it there.
            store(vault, dump_name(ticket.snapshot), body).await?;
        } else {
            write(file, &unfinished.0, body).await?;
            tokio::fs::rename(&unfinished.0, &whole)
                .await
                .map_err(|error| failed(&whole, &error))?;
            // Under its first name there may be another one's by now.
            std::mem::forget(unfinished);
        }
        let recorded = self.record(ticket).await;
        // What may be recorded after all is left to who makes the snapshot.
        if recorded.is_err() && matches!(self.is_recorded(ticket).await, Ok(false)) {
            remove(vault, whole, ticket.snapshot).await;
        }
        recorded
    }

    async fn is_recorded(&self, ticket: ImportTicket) -> Result<bool, Refused> {
        let catalog = Arc::clone(self.api.catalog());
        // The records are asked by a thread that may wait.
        let find = move || catalog.find_snapshot(ticket.instance, ticket.snapshot);
        let found = tokio::task::spawn_blocking(find)
            .await
            .map_err(|error| Refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        let found = found.map_err(|error| {
            let detail = format!("Whether it was uploaded before is not known: {error}.");
            Refused(StatusCode::INTERNAL_SERVER_ERROR, detail)
        })?;
        Ok(found.is_some())
    }

    async fn record(&self, ticket: ImportTicket) -> Result<(), Refused> {
        let (catalog, now) = (Arc::clone(self.api.catalog()), self.clock.now());
        let imported = Imported {
            instance: ticket.instance,
            snapshot: ticket.snapshot,
            expires_at: ticket.expires_at,
        };
        let done = tokio::task::spawn_blocking(move || {
            catalog.transact(|catalog| snapshots::import(catalog, &imported, now))
        });
        match done.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::error!(%error, "an uploaded dump could not be recorded");
                let detail = format!("The snapshot could not be recorded: {error}.");
                Err(Refused(StatusCode::CONFLICT, detail))
            }
            Err(error) => Err(Refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
        }
    }
}

/// Whether a dump is here as a whole; one of which that is not known counts as such.
async fn is_there(vault: &Arc<Vault>, whole: &FilePath, snapshot: SnapshotId) -> bool {
    if !vault.is_paid_by_request() {
        return tokio::fs::try_exists(whole).await.unwrap_or(true);
    }
    let vault = Arc::clone(vault);
    let find = move || vault.find_file(&dump_name(snapshot));
    !matches!(tokio::task::spawn_blocking(find).await, Ok(Ok(None)))
}

/// Removes a dump of which no snapshot is made.
async fn remove(vault: &Arc<Vault>, whole: PathBuf, snapshot: SnapshotId) {
    let vault = Arc::clone(vault);
    let remove = move || {
        if vault.is_paid_by_request() {
            // What stays is removed when it is old.
            drop(vault.remove_file(&dump_name(snapshot)));
        } else {
            drop(std::fs::remove_file(whole));
        }
    };
    let _ = tokio::task::spawn_blocking(remove).await;
}

/// What a thread that stores an upload is told.
enum Piece {
    More(Bytes),
    End,
}

/// Stores an upload as a file in the vault.
async fn store(vault: &Arc<Vault>, name: String, body: Body) -> Result<(), Refused> {
    let (pieces, mut taken) = tokio::sync::mpsc::channel(16);
    let (vault, told) = (Arc::clone(vault), name.clone());
    let storing = tokio::task::spawn_blocking(move || -> Result<(), String> {
        let mut file = vault.create_file(&name);
        loop {
            match taken.blocking_recv() {
                Some(Piece::More(bytes)) => {
                    file.write_all(&bytes).map_err(|error| error.to_string())?;
                }
                Some(Piece::End) => {
                    let is_first = file.finish().map_err(|error| error.to_string())?;
                    let told = "this dump was uploaded meanwhile by somebody else";
                    return if is_first { Ok(()) } else { Err(told.to_owned()) };
                }
                // Who sends it is gone.
                None => return Err("the upload ended early".to_owned()),
            }
        }
    });
    let sent = send(body, &pieces).await;
    drop(pieces);
    let stored = storing.await.unwrap_or_else(|error| Err(error.to_string()));
    sent?;
    stored.map_err(|error| {
        tracing::error!(error, file = told, "an uploaded dump could not be stored");
        let detail = format!("The dump could not be stored: {error}; try again.");
        Refused(StatusCode::SERVICE_UNAVAILABLE, detail)
    })
}

/// Passes on what comes; the end, too, if nothing is missing.
async fn send(body: Body, pieces: &tokio::sync::mpsc::Sender<Piece>) -> Result<(), Refused> {
    let mut stream = body.into_data_stream();
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(ended_early)?;
        if pieces.send(Piece::More(piece)).await.is_err() {
            // The thread says why.
            return Ok(());
        }
    }
    let _ = pieces.send(Piece::End).await;
    Ok(())
}

fn ended_early(error: axum::Error) -> Refused {
    Refused(StatusCode::BAD_REQUEST, format!("The upload ended early: {error}."))
}

async fn write(mut file: File, path: &FilePath, body: Body) -> Result<(), Refused> {
    let mut stream = body.into_data_stream();
    let mut since_look = LOOK_BYTES;
    while let Some(piece) = stream.next().await {
        if since_look >= LOOK_BYTES {
            check_room(path, FLOOR_BYTES)?;
            since_look = 0;
        }
        let piece = piece.map_err(ended_early)?;
        file.write_all(&piece).await.map_err(|error| failed(path, &error))?;
        since_look += piece.len();
    }
    file.sync_all().await.map_err(|error| failed(path, &error))
}

/// Refuses what would leave less than some bytes free on the disk of a file.
fn check_room(path: &FilePath, floor: u64) -> Result<(), Refused> {
    let disk = rustix::fs::statvfs(path).map_err(|error| failed(path, &error.into()))?;
    if disk.f_bavail.saturating_mul(disk.f_frsize) > floor {
        return Ok(());
    }
    Err(failed(path, &std::io::ErrorKind::StorageFull.into()))
}

fn failed(path: &FilePath, error: &std::io::Error) -> Refused {
    tracing::error!(%error, path = %path.display(), "an uploaded dump could not be written");
    let detail = format!("The dump could not be written: {error}; free space and try again.");
    Refused(StatusCode::INSUFFICIENT_STORAGE, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_leaves_the_disk_some_room() {
        let folder = tempfile::tempdir().unwrap();
        assert!(check_room(folder.path(), 0).is_ok());
        let refused = check_room(folder.path(), u64::MAX).unwrap_err();
        assert_eq!(refused.0, StatusCode::INSUFFICIENT_STORAGE);
    }
}
