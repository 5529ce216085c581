//! Object lock of S3: the store itself refuses to remove a version of an object before its time, whoever asks.
//!
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectRetention.html>. The request is not one of
//! `object_store`'s, but it signs it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use object_store::aws::AmazonS3;
use object_store::client::{HttpClient, HttpConnector, HttpRequest, HttpRequestBody};
use object_store::path::Path;
use object_store::signer::{HeaderName, HeaderValue, Method, SignedUrlOptions, Signer};
use object_store::{ClientOptions, Error, Result};
use reqwest::StatusCode;
use tidemark_model::format_instant;

/// A signature need not hold longer than a request takes.
const SIGNATURE_LIFETIME: Duration = Duration::from_mins(5);

/// Whether anybody may take a lock back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LockMode {
    /// Nobody may.
    Compliance,
    /// Whoever has the right to may.
    Governance,
}

impl LockMode {
    /// Reads the option of a location.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "compliance" => Some(Self::Compliance),
            "governance" => Some(Self::Governance),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Compliance => "COMPLIANCE",
            Self::Governance => "GOVERNANCE",
        }
    }
}

/// Locks objects of a bucket.
pub(super) struct ObjectLock {
    s3: Arc<AmazonS3>,
    client: HttpClient,
    mode: LockMode,
}

fn failed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Generic { store: "S3", source: source.into() }
}

impl ObjectLock {
    pub(super) fn new(
        (s3, mode): (Arc<AmazonS3>, LockMode),
        (connector, options): (&impl HttpConnector, &ClientOptions),
    ) -> Result<Self> {
        Ok(Self { s3, client: connector.connect(options)?, mode })
    }

    /// Locks the newest version of an object until an instant; one that is locked longer stays so.
    pub(super) async fn retain(&self, path: &Path, until: SystemTime) -> Result<()> {
        let until = Timestamp::try_from(until).map_err(failed)?;
        let body = format!(
            r#"<Retention xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Mode>{}</Mode><RetainUntilDate>{}</RetainUntilDate></Retention>"#,
            self.mode.as_str(),
            format_instant(until)
        );
        let digest = ring::digest::digest(&ring::digest::SHA256, body.as_bytes());
        let headers = [
            ("x-amz-checksum-sha256", BASE64_STANDARD.encode(digest)),
            ("x-amz-sdk-checksum-algorithm", "SHA256".to_owned()),
        ];
        let mut options = SignedUrlOptions::new().with_query([("retention", "")]);
        let mut request = HttpRequest::new(HttpRequestBody::from(body));
        for (name, value) in headers {
            let (name, value) =
                (HeaderName::from_static(name), HeaderValue::from_str(&value).map_err(failed)?);
            options = options.with_signed_header(name.clone(), value.clone());
            request.headers_mut().insert(name, value);
        }
        let (status, told) = self.ask(Method::PUT, (path, &options), request).await?;
        if status.is_success() {
            return Ok(());
        }
        let told = format!("the object cannot be locked, status code: {status}: {told}");
        if status.as_u16() == 403 && self.retained_until(path).await? >= Some(until) {
            // It is locked longer already, as by a default of the bucket.
            return Ok(());
        }
        if status.is_client_error() && ![408, 429].contains(&status.as_u16()) {
            // Asking again would not help: the bucket has no object lock, or the caller may not lock.
            return Err(Error::PermissionDenied { path: path.to_string(), source: told.into() });
        }
        Err(failed(told))
    }

    /// Until when the newest version of an object is locked, if it is and the caller may know.
    async fn retained_until(&self, path: &Path) -> Result<Option<Timestamp>> {
        let options = SignedUrlOptions::new().with_query([("retention", "")]);
        let request = HttpRequest::new(HttpRequestBody::from(String::new()));
        let (status, told) = self.ask(Method::GET, (path, &options), request).await?;
        let date = told.split_once("<RetainUntilDate>").and_then(|(_, rest)| rest.split_once('<'));
        Ok(date.filter(|_| status.is_success()).and_then(|(date, _)| date.parse().ok()))
    }

    /// Signs and asks; answers the status and the text.
    async fn ask(
        &self,
        method: Method,
        (path, options): (&Path, &SignedUrlOptions),
        mut request: HttpRequest,
    ) -> Result<(StatusCode, String)> {
        let url =
            self.s3.signed_url_opts(method.clone(), path, SIGNATURE_LIFETIME, options).await?;
        *request.method_mut() = method;
        *request.uri_mut() = url.as_str().parse().map_err(failed)?;
        let answer = self.client.execute(request).await.map_err(failed)?;
        let status = answer.status();
        let told = answer.into_body().bytes().await.unwrap_or_default();
        Ok((status, String::from_utf8_lossy(&told).into_owned()))
    }
}
