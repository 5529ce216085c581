//! Serving the files of download jobs: signed by a secret in the link, with ranges.

use std::io::SeekFrom;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    IF_RANGE, RANGE, RETRY_AFTER,
};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use tidemark_atlas_api::Api;
use tidemark_catalog::CatalogError;
use tidemark_model::{Clock, ExportFormat};
use tidemark_vault::{KeptFile, Vault, VaultError, Vaults};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

/// What the download route needs.
pub(crate) struct Downloads {
    pub(crate) api: Arc<Api>,
    pub(crate) clock: Clock,
    pub(crate) folder: PathBuf,
    pub(crate) vaults: Vaults,
}

/// The file of a download: in the folder of this node, or in the vault, where any node put it.
enum Source {
    Here(tokio::fs::File),
    Vault(KeptFile),
}

/// How often a job that is packing the file is looked at, and for how long.
const POLL: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_mins(15);

/// Answers `GET` and `HEAD /download/{token}/{file}`.
///
/// A link may be followed before its file is there: the answer waits for it.
pub(crate) async fn serve(
    State(downloads): State<Arc<Downloads>>,
    Path((token, file)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Response<Body> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        return match downloads.find(token.clone(), file.clone()).await {
            Found::Packing if Instant::now() < deadline => {
                tokio::time::sleep(POLL).await;
                continue;
            }
            Found::Packing => busy(),
            Found::Ready(vault) => downloads.send((&vault, &file), &method, &headers).await,
            Found::Over => refuse(
                StatusCode::GONE,
                "This link has expired; create another restore job with deliveryType download.",
            ),
            Found::Unknown => {
                refuse(StatusCode::NOT_FOUND, "There is no download at this address.")
            }
            Found::Failed => refuse(StatusCode::INTERNAL_SERVER_ERROR, "Unexpected error."),
        };
    }
}

fn busy() -> Response<Body> {
    let detail = "The file is still being packed; try again.";
    let mut response = refuse(StatusCode::SERVICE_UNAVAILABLE, detail);
    insert(&mut response, RETRY_AFTER, "60");
    response
}

enum Found {
    /// It is there, in this vault or here.
    Ready(Arc<Vault>),
    Packing,
    Over,
    Unknown,
    Failed,
}

impl Downloads {
    async fn find(&self, token: String, file: String) -> Found {
        let api = Arc::clone(&self.api);
        let now = self.clock.now();
        let look = move || {
            let job = api.catalog().find_download(&file)?;
            let Some(job) = job.filter(|job| api.is_ticket(job.id, &token)) else {
                return Ok(None);
            };
            let vault = api.catalog().vault_of(job.instance)?;
            Ok::<_, CatalogError>(Some((job, vault)))
        };
        let (job, vault) = match tokio::task::spawn_blocking(look).await {
            Ok(Ok(Some(found))) => found,
            Ok(Ok(None)) => return Found::Unknown,
            _ => return Found::Failed,
        };
        match job.download {
            Some(download) => match download.expires_at {
                Some(end) if end <= now => Found::Over,
                Some(_) => match self.vaults.find(vault.as_deref()) {
                    Ok(vault) => Found::Ready(Arc::clone(vault)),
                    Err(error) => {
                        tracing::error!(%error, "a download is in a vault that is not known here");
                        Found::Failed
                    }
                },
                None if job.state.is_final() => Found::Over,
                None => Found::Packing,
            },
            None => Found::Unknown,
        }
    }

    async fn send(
        &self,
        (vault, name): (&Arc<Vault>, &str),
        method: &Method,
        headers: &HeaderMap,
    ) -> Response<Body> {
        let unavailable = || {
            refuse(
                StatusCode::GONE,
                "The file of this download is gone; create another restore job.",
            )
        };
        let (source, size) = match self.open(vault, name).await {
            Ok(Some(found)) => found,
            Ok(None) => return unavailable(),
            Err(error) => {
                tracing::warn!(%error, file = name, "a download could not be read");
                let detail = "The file cannot be read at the moment; try again.";
                return refuse(StatusCode::SERVICE_UNAVAILABLE, detail);
            }
        };
        // The name holds the job and the snapshot, and a file never changes.
        let format = ExportFormat::of_file(name).unwrap_or_default();
        let etag = format!("\"{}\"", name.trim_end_matches(format.extension()));
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let is_same = text(IF_RANGE).is_none_or(|wanted| wanted == etag);
        let range = match text(RANGE).filter(|_| is_same).map(|range| parse_range(range, size)) {
            Some(Some(range)) => Some(range),
            Some(None) => {
                let mut response =
                    refuse(StatusCode::RANGE_NOT_SATISFIABLE, "The range is outside of the file.");
                insert(&mut response, CONTENT_RANGE, &format!("bytes */{size}"));
                return response;
            }
            None => None,
        };
        let (first, last) = range.unwrap_or((0, size.saturating_sub(1)));
        let length = if size == 0 { 0 } else { last - first + 1 };
        let body = match source {
            _ if *method == Method::HEAD => Body::empty(),
            Source::Here(mut file) => {
                if file.seek(SeekFrom::Start(first)).await.is_err() {
                    return unavailable();
                }
                Body::from_stream(ReaderStream::with_capacity(file.take(length), 256 * 1024))
            }
            Source::Vault(file) => stream_out(file, (first, length)),
        };
        let mut response = Response::new(body);
        if range.is_some() {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            insert(&mut response, CONTENT_RANGE, &format!("bytes {first}-{last}/{size}"));
        }
        insert(&mut response, CONTENT_TYPE, format.media_type());
        insert(&mut response, CONTENT_LENGTH, &length.to_string());
        insert(&mut response, ACCEPT_RANGES, "bytes");
        insert(&mut response, ETAG, &etag);
        insert(&mut response, CONTENT_DISPOSITION, &format!("attachment; filename=\"{name}\""));
        response
    }
}

impl Downloads {
    /// Finds a file, and how large it is.
    async fn open(
        &self,
        vault: &Arc<Vault>,
        name: &str,
    ) -> Result<Option<(Source, u64)>, VaultError> {
        if let Ok(file) = tokio::fs::File::open(self.folder.join(name)).await
            && let Ok(metadata) = file.metadata().await
        {
            return Ok(Some((Source::Here(file), metadata.len())));
        }
        if !vault.is_paid_by_request() {
            return Ok(None);
        }
        let (vault, name) = (Arc::clone(vault), name.to_owned());
        // The vault is asked by a thread that may wait.
        let found = tokio::task::spawn_blocking(move || vault.find_file(&name)).await;
        let found = found.unwrap_or(Ok(None))?;
        Ok(found.map(|file| {
            let size = file.size();
            (Source::Vault(file), size)
        }))
    }
}

/// A part of a file in the vault, read as fast as a client takes it.
fn stream_out(file: KeptFile, (first, length): (u64, u64)) -> Body {
    Body::from_stream(futures_util::stream::try_unfold((first, length), move |(offset, left)| {
        let file = file.clone();
        async move {
            if left == 0 {
                return Ok(None);
            }
            // The vault is asked by a thread that may wait; nobody waits for the client with one.
            let read = tokio::task::spawn_blocking(move || file.read_at(offset)).await;
            let mut part = read.map_err(std::io::Error::other)?.map_err(std::io::Error::other)?;
            part.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            let count = part.len() as u64;
            if count == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
            }
            Ok(Some((Bytes::from(part), (offset + count, left - count))))
        }
    }))
}

fn insert(response: &mut Response<Body>, name: axum::http::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn refuse(status: StatusCode, detail: &str) -> Response<Body> {
    let body = serde_json::json!({ "detail": detail, "error": status.as_u16() });
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    insert(&mut response, CONTENT_TYPE, "application/json");
    response
}

/// The first and last byte of a single range; several ranges count as none that can be served.
fn parse_range(range: &str, size: u64) -> Option<(u64, u64)> {
    let (first, last) = range.trim().strip_prefix("bytes=")?.split_once('-')?;
    let (first, last) = match (first.trim(), last.trim()) {
        ("", suffix) => (
            size.saturating_sub(suffix.parse().ok().filter(|length| *length > 0)?),
            size.checked_sub(1)?,
        ),
        (first, "") => (first.parse().ok()?, size.checked_sub(1)?),
        (first, last) => (first.parse().ok()?, last.parse::<u64>().ok()?.min(size.checked_sub(1)?)),
    };
    (first <= last && first < size).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        assert_eq!(parse_range("bytes=0-9", 100), Some((0, 9)));
        assert_eq!(parse_range("bytes=90-", 100), Some((90, 99)));
        assert_eq!(parse_range("bytes=-10", 100), Some((90, 99)));
        assert_eq!(parse_range("bytes=50-500", 100), Some((50, 99)));
        for bad in
            ["bytes=100-", "bytes=9-3", "bytes=-0", "items=0-1", "bytes=a-b", "bytes=0-1,4-5"]
        {
            assert_eq!(parse_range(bad, 100), None, "{bad}");
        }
        assert_eq!(parse_range("bytes=0-", 0), None);
    }
}
