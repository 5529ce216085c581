//! A part of a bucket: S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage.
//!
//! Whoever calls waits: requests run on two threads of the store's own, so that none of the vault's
//! callers needs to know of them. Requests that fail in passing are repeated with longer and longer
//! pauses, for a minute at most.

use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use object_store::aws::{AmazonS3Builder, Checksum, S3ConditionalPut};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload,
    RetryConfig, UpdateVersion, WriteMultipart,
};
use tokio::runtime::Runtime;

use crate::locking::lock;

use super::contract::{Listed, NewObject, Object, Put, Rewriter, Stamp, Store, too_large};
use super::credentials::{Environment, Profile};
use super::location::{Bucket, LocationError, Provider};
use super::object_lock::ObjectLock;
use super::requests::{CountingConnector, RequestKind, Requests};
use super::windows::Windows;

/// Larger objects are written in parts of this size.
const PART_BYTES: usize = 16 * 1024 * 1024;
/// Parts of one object that are on their way at the same time.
const PARTS_ON_THEIR_WAY: usize = 2;
/// Of an object that is read from front to back so much is read at the second read, and at most.
const SECOND_WINDOW: u64 = 2 * 1024 * 1024;
const LONGEST_WINDOW: u64 = 8 * 1024 * 1024;
/// So many may read an object from front to back at the same time.
const STREAMS: usize = 8;
/// A read that begins so near behind the one before goes on with it.
const NEAR: u64 = 1024 * 1024;

/// Between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// How long a bucket is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(super) connect: Duration,
    /// For one request; a part of an object takes no longer on the slowest line.
    pub(super) request: Duration,
    /// For a request and its repetitions.
    pub(super) repeated: Duration,
}

impl Patience {
    /// While a vault is used: a bucket may be away for a while.
    pub(crate) const USUAL: Self = Self {
        connect: Duration::from_secs(5),
        request: Duration::from_mins(3),
        repeated: Duration::from_mins(1),
    };
    /// For the first question: whoever made a mistake in an address waits for the answer.
    pub(crate) const FIRST: Self = Self { repeated: Duration::from_secs(8), ..Self::USUAL };
}

/// A part of a bucket.
pub(crate) struct RemoteStore(Arc<Remote>);

struct Remote {
    store: Arc<dyn ObjectStore>,
    prefix: String,
    requests: Arc<Requests>,
    windows: Windows,
    patience: Patience,
    /// Where the store is to keep objects itself.
    lock: Option<ObjectLock>,
    /// Only `None` while it is dropped.
    runtime: Option<Runtime>,
}

impl RemoteStore {
    /// A bucket as its location, the environment and profiles say. Nothing is asked yet.
    pub(super) fn new(
        bucket: &Bucket,
        environment: &Environment,
        patience: Patience,
    ) -> std::result::Result<Self, LocationError> {
        // Whoever chose one before chose the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let connector = CountingConnector::default();
        let requests = Arc::clone(&connector.0);
        let unusable = |error: object_store::Error| LocationError::Unusable(error.to_string());
        let mut lock = None;
        let store: Arc<dyn ObjectStore> = match bucket.provider {
            Provider::S3 => {
                let settings = S3Settings::find(bucket, environment)?;
                let mut builder = s3(bucket, environment, &settings).with_retry(patience.retry());
                if bucket.lock().is_some() {
                    // A bucket with a default retention takes nothing without one.
                    builder = builder.with_checksum_algorithm(Checksum::SHA256);
                }
                let options = patience.options(settings.endpoint.as_deref());
                let builder = builder
                    .with_client_options(options.clone())
                    .with_http_connector(connector.clone());
                let s3 = Arc::new(builder.build().map_err(unusable)?);
                let of = |mode| ObjectLock::new((Arc::clone(&s3), mode), (&connector, &options));
                lock = bucket.lock().map(of).transpose().map_err(unusable)?;
                s3
            }
            Provider::Google => {
                let builder = google(bucket, environment).with_retry(patience.retry());
                let options = patience.options(bucket.option("endpoint"));
                let builder = builder.with_client_options(options).with_http_connector(connector);
                Arc::new(builder.build().map_err(unusable)?)
            }
            Provider::Azure => {
                let builder = azure(bucket, environment).with_retry(patience.retry());
                let options = patience.options(bucket.option("endpoint"));
                let builder = builder.with_client_options(options).with_http_connector(connector);
                Arc::new(builder.build().map_err(unusable)?)
            }
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("vault-store")
            .enable_all()
            .build()
            .map_err(|error| LocationError::Unusable(error.to_string()))?;
        Ok(Self(Arc::new(Remote {
            store,
            prefix: bucket.prefix.clone(),
            requests,
            windows: Windows::default(),
            patience,
            lock,
            runtime: Some(runtime),
        })))
    }
}

impl Patience {
    /// How a client connects, over plain HTTP where its endpoint says so.
    fn options(self, endpoint: Option<&str>) -> ClientOptions {
        ClientOptions::new()
            .with_connect_timeout(self.connect)
            .with_timeout(self.request)
            .with_allow_http(endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")))
    }

    fn retry(self) -> RetryConfig {
        RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(100),
                max_backoff: LONGEST_PAUSE,
                base: 2.0,
            },
            max_retries: 12,
            retry_timeout: self.repeated,
        }
    }
}

/// What the location, then the environment, then the profile says of S3.
struct S3Settings {
    endpoint: Option<String>,
    region: Option<String>,
    /// Key, secret and token, if the profile's are to be used.
    keys: Option<(String, String, String)>,
}

impl S3Settings {
    fn find(
        bucket: &Bucket,
        environment: &Environment,
    ) -> std::result::Result<Self, LocationError> {
        let profile = Profile::load(bucket.option("profile"), |name| environment.get(name))?;
        let first = |option: &str, variables: &[&str], key: &str| {
            let said = bucket.option(option).map(str::to_owned);
            let of_environment = || variables.iter().find_map(|name| environment.get(name));
            said.or_else(of_environment).or_else(|| profile.get(key).map(str::to_owned))
        };
        // As AWS's tools do it: keys in the environment win, unless a profile is asked for by name.
        let is_profile_wanted =
            bucket.option("profile").is_some() || environment.get("AWS_ACCESS_KEY_ID").is_none();
        let of_profile = |key: &str| profile.get(key).map(str::to_owned);
        let keys = of_profile("aws_access_key_id").zip(of_profile("aws_secret_access_key"));
        let token = of_profile("aws_session_token").unwrap_or_default();
        Ok(Self {
            endpoint: first(
                "endpoint",
                &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"],
                "endpoint_url",
            ),
            region: first("region", &["AWS_REGION", "AWS_DEFAULT_REGION"], "region"),
            keys: keys.filter(|_| is_profile_wanted).map(|(id, secret)| (id, secret, token)),
        })
    }
}

fn s3(bucket: &Bucket, environment: &Environment, settings: &S3Settings) -> AmazonS3Builder {
    let mut builder = AmazonS3Builder::new();
    for (name, value) in environment.beginning_with("AWS_") {
        if let Ok(key) = name.to_ascii_lowercase().parse() {
            builder = builder.with_config(key, value);
        }
    }
    if let Some((id, secret, token)) = &settings.keys {
        builder = builder.with_access_key_id(id).with_secret_access_key(secret).with_token(token);
    }
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    // Servers of one's own rarely have a name for each bucket; a dot in one breaks AWS's certificate.
    let is_path = match bucket.option("pathStyle") {
        Some(said) => said != "false",
        None => settings.endpoint.is_some() || bucket.name.contains('.'),
    };
    builder
        .with_bucket_name(&bucket.name)
        .with_region(settings.region.as_deref().unwrap_or("us-east-1"))
        .with_virtual_hosted_style_request(!is_path)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
}

fn google(bucket: &Bucket, environment: &Environment) -> GoogleCloudStorageBuilder {
    let mut builder = GoogleCloudStorageBuilder::new();
    for (name, value) in environment.beginning_with("GOOGLE_") {
        if let Ok(key) = name.to_ascii_lowercase().parse() {
            builder = builder.with_config(key, value);
        }
    }
    if let Some(endpoint) = bucket.option("endpoint") {
        builder = builder.with_config(GoogleConfigKey::BaseUrl, endpoint);
    }
    builder.with_bucket_name(&bucket.name)
}

fn azure(bucket: &Bucket, environment: &Environment) -> MicrosoftAzureBuilder {
    let mut builder = MicrosoftAzureBuilder::new();
    for (name, value) in environment.beginning_with("AZURE_") {
        if let Ok(key) = name.to_ascii_lowercase().parse() {
            builder = builder.with_config(key, value);
        }
    }
    if let Some(endpoint) = environment.get("IDENTITY_ENDPOINT") {
        builder = builder.with_msi_endpoint(endpoint);
    }
    if let Some(account) = bucket.option("account") {
        builder = builder.with_account(account);
    }
    if let Some(endpoint) = bucket.option("endpoint") {
        builder = builder.with_endpoint(endpoint.to_owned());
    }
    builder.with_container_name(&bucket.name)
}

/// What the vault takes an answer for: damage only where the object is gone.
fn to_io(error: object_store::Error) -> Error {
    use object_store::Error as E;
    // Of lists and beginnings of uploads only the text says it.
    let is_refused =
        |text: String| ["401", "403"].iter().any(|s| text.contains(&format!("status code: {s}")));
    let kind = match &error {
        E::NotFound { .. } => ErrorKind::NotFound,
        E::AlreadyExists { .. } | E::Precondition { .. } => ErrorKind::AlreadyExists,
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => ErrorKind::PermissionDenied,
        E::Generic { source, .. } if is_refused(source.to_string()) => ErrorKind::PermissionDenied,
        _ => ErrorKind::Other,
    };
    Error::new(kind, error)
}

fn stamp_of(size: u64, tag: Option<&str>) -> Stamp {
    // Not every store's lists have tags.
    let changed = tag.map_or(0, |tag| {
        let hash = blake3::hash(tag.trim_matches('"').as_bytes());
        i64::from_le_bytes(hash.as_bytes().first_chunk().copied().unwrap_or_default())
    });
    Stamp { size, modified: 0, changed }
}

fn stamp_of_meta(meta: &ObjectMeta) -> Stamp {
    stamp_of(meta.size, meta.e_tag.as_deref())
}

impl Remote {
    fn wait<T>(&self, asked: impl Future<Output = object_store::Result<T>>) -> Result<T> {
        self.runtime()?.block_on(asked).map_err(to_io)
    }

    /// Asks what the client does not always ask again by itself: where doing it twice could matter, which
    /// it does not here, or where half of an answer is lost.
    fn wait_repeating<T, F: Future<Output = object_store::Result<T>>>(
        &self,
        ask: impl Fn() -> F,
    ) -> Result<T> {
        let end = Instant::now() + self.patience.repeated;
        let mut pause = Duration::from_millis(100);
        loop {
            match self.wait(ask()) {
                Err(error) if error.kind() == ErrorKind::Other && Instant::now() + pause < end => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                outcome => return outcome,
            }
        }
    }

    fn runtime(&self) -> Result<&Runtime> {
        self.runtime.as_ref().ok_or_else(|| Error::other("the store is closed"))
    }

    fn path(&self, name: &str) -> Path {
        Path::from(format!("{}/{name}", self.prefix))
    }

    /// A part of an object.
    fn range(&self, name: &str, range: std::ops::Range<u64>) -> Result<Bytes> {
        let length = range.end - range.start;
        let bytes = self.wait(self.store.get_range(&self.path(name), range))?;
        if bytes.len() as u64 == length {
            return Ok(bytes);
        }
        Err(Error::new(ErrorKind::UnexpectedEof, "the object is shorter than it was"))
    }

    fn listed(&self, folder: &str) -> Result<(Vec<Listed>, Vec<String>)> {
        let path = self.path(folder);
        let found = self.wait_repeating(|| self.store.list_with_delimiter(Some(&path)))?;
        let name_of = |path: &Path| path.filename().map(str::to_owned);
        let mut objects: Vec<_> = found
            .objects
            .iter()
            .filter_map(|meta| {
                let written = meta.last_modified.into();
                Some(Listed { name: name_of(&meta.location)?, stamp: stamp_of_meta(meta), written })
            })
            .collect();
        objects.sort_by(|a, b| a.name.cmp(&b.name));
        Ok((objects, found.common_prefixes.iter().filter_map(name_of).collect()))
    }

    fn head(&self, name: &str) -> Result<Stamp> {
        self.wait(self.store.head(&self.path(name))).map(|meta| stamp_of_meta(&meta))
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // Uploads that are given up may end on their own; whoever drops this may not wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Store for RemoteStore {
    fn list(&self, folder: &str) -> Result<Vec<String>> {
        let (objects, mut names) = self.0.listed(folder)?;
        names.extend(objects.into_iter().map(|object| object.name));
        names.sort();
        Ok(names)
    }

    fn list_objects(&self, folder: &str) -> Result<Vec<Listed>> {
        self.0.listed(folder).map(|(objects, _)| objects)
    }

    fn open_end(&self, name: &str, bytes: u64) -> Result<(Box<dyn Object>, Vec<u8>)> {
        let remote = &self.0;
        // Not every store knows ranges that are counted from the end.
        let stamp = remote.head(name)?;
        let end = match stamp.size {
            0 => Bytes::new(),
            size => remote.range(name, size.saturating_sub(bytes)..size)?,
        };
        Ok((Box::new(RemoteObject::new(remote, name, stamp)), end.into()))
    }

    fn open_known(&self, name: &str, stamp: Stamp) -> Result<Box<dyn Object>> {
        Ok(Box::new(RemoteObject::new(&self.0, name, stamp)))
    }

    fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        let remote = &self.0;
        let (size, bytes) = remote.wait(async {
            let found = remote.store.get(&remote.path(name)).await?;
            let size = found.meta.size;
            let bytes = if size > limit { Bytes::new() } else { found.bytes().await? };
            Ok((size, bytes))
        })?;
        if size > limit { Err(too_large(size)) } else { Ok(bytes.into()) }
    }

    fn put(&self, name: &str, bytes: &[u8], put: Put) -> Result<Stamp> {
        let remote = &self.0;
        let mode = match put {
            Put::New => PutMode::Create,
            Put::Replace => PutMode::Overwrite,
        };
        let (path, payload) = (remote.path(name), PutPayload::from(bytes.to_vec()));
        let size = bytes.len() as u64;
        let ask = || remote.store.put_opts(&path, payload.clone(), mode.clone().into());
        match remote.wait_repeating(ask) {
            Ok(stored) => Ok(stamp_of(size, stored.e_tag.as_deref())),
            // The answer to an earlier attempt may have been lost: then what is there is ours.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let stamp = remote.head(name)?;
                if stamp.size == size && self.read(name, size)? == bytes {
                    return Ok(stamp);
                }
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    fn rewrite(&self, name: &str, limit: u64, change: Rewriter<'_>) -> Result<Option<Stamp>> {
        let remote = &self.0;
        let path = remote.path(name);
        let found = remote.wait_repeating(|| async {
            let found = remote.store.get(&path).await?;
            let meta = found.meta.clone();
            let bytes = if meta.size > limit { Bytes::new() } else { found.bytes().await? };
            Ok((meta, bytes))
        });
        let (meta, before) = match found {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            found => found?,
        };
        if meta.size > limit {
            return Err(too_large(meta.size));
        }
        let Some(bytes) = change(&before)? else { return Ok(None) };
        let size = bytes.len() as u64;
        let payload = PutPayload::from(bytes.clone());
        let version = UpdateVersion { e_tag: meta.e_tag, version: meta.version };
        let mode = PutMode::Update(version);
        let ask = || remote.store.put_opts(&path, payload.clone(), mode.clone().into());
        match remote.wait_repeating(ask) {
            Ok(stored) => Ok(Some(stamp_of(size, stored.e_tag.as_deref()))),
            // Somebody replaced it, or the answer to an earlier attempt was lost.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let stamp = match remote.head(name) {
                    Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                    stamp => stamp?,
                };
                let is_ours = stamp.size == size && self.read(name, size)? == bytes;
                Ok(is_ours.then_some(stamp))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create(&self, name: &str) -> Result<Box<dyn NewObject>> {
        Ok(Box::new(RemoteNewObject {
            remote: Arc::clone(&self.0),
            name: name.to_owned(),
            buffer: Vec::new(),
            written: 0,
            upload: None,
        }))
    }

    fn remove(&self, name: &str) -> Result<()> {
        match self.0.wait(self.0.store.delete(&self.0.path(name))) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        }
    }

    /// Uploads that were not completed show nowhere; a rule of the bucket removes them.
    fn remove_unfinished(&self, _folder: &str) -> Result<()> {
        Ok(())
    }

    fn stamp(&self, name: &str) -> Result<Stamp> {
        self.0.head(name)
    }

    fn written(&self, name: &str) -> Result<SystemTime> {
        let meta = self.0.wait(self.0.store.head(&self.0.path(name)))?;
        Ok(meta.last_modified.into())
    }

    /// What a bucket answered for is durable.
    fn settle(&self, _name: &str) -> Result<()> {
        Ok(())
    }

    fn retain(&self, name: &str, until: SystemTime) -> Result<bool> {
        let Some(lock) = &self.0.lock else { return Ok(false) };
        let path = self.0.path(name);
        self.0.wait_repeating(|| lock.retain(&path, until)).map(|()| true)
    }

    fn requests(&self) -> Vec<(RequestKind, u64)> {
        self.0.requests.counted()
    }
}

struct RemoteObject {
    remote: Arc<Remote>,
    name: Arc<str>,
    stamp: Stamp,
    /// Those who read it from front to back, each from another place; held for lookups.
    streams: Mutex<Vec<Stream>>,
}

/// How a part of the object was read last.
struct Stream {
    start: u64,
    end: u64,
    ahead: u64,
    /// Held while something is fetched: whoever wants what comes next is best served by it.
    fetching: Arc<Mutex<()>>,
}

impl Stream {
    /// Whether a read at an offset goes on with it.
    fn goes_on(&self, offset: u64) -> bool {
        offset > self.start && offset <= self.end.saturating_add(NEAR)
    }

    /// How much is read from an offset on; one read after another is worth more and more.
    fn advance(&mut self, offset: u64, wanted: u64) -> u64 {
        if self.goes_on(offset) {
            self.ahead = (self.ahead * 4).clamp(SECOND_WINDOW, LONGEST_WINDOW);
        }
        let length = self.ahead.max(wanted);
        (self.start, self.end) = (offset, offset.saturating_add(length));
        length
    }
}

impl RemoteObject {
    fn new(remote: &Arc<Remote>, name: &str, stamp: Stamp) -> Self {
        Self { remote: Arc::clone(remote), name: name.into(), stamp, streams: Mutex::default() }
    }

    /// The stream that a read belongs to; a new one takes the place of the oldest.
    fn stream(&self, offset: u64) -> Arc<Mutex<()>> {
        let mut streams = lock(&self.streams);
        if let Some(stream) = streams.iter().find(|stream| stream.goes_on(offset)) {
            return Arc::clone(&stream.fetching);
        }
        if streams.len() == STREAMS {
            streams.remove(0);
        }
        let fetching = Arc::new(Mutex::new(()));
        let (start, end) = (offset, offset);
        streams.push(Stream { start, end, ahead: 0, fetching: Arc::clone(&fetching) });
        fetching
    }
}

impl Object for RemoteObject {
    fn stamp(&self) -> Stamp {
        self.stamp
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let wanted = buffer.len() as u64;
        let end = offset.checked_add(wanted).filter(|end| *end <= self.stamp.size);
        let Some(end) = end else {
            return Err(Error::new(ErrorKind::UnexpectedEof, "the object ends before"));
        };
        if self.remote.windows.fill(&self.name, buffer, offset) {
            return Ok(());
        }
        let stream = self.stream(offset);
        let _turn = lock(&stream);
        if self.remote.windows.fill(&self.name, buffer, offset) {
            return Ok(());
        }
        let length = {
            let mut streams = lock(&self.streams);
            let mine = streams.iter_mut().find(|other| Arc::ptr_eq(&other.fetching, &stream));
            mine.map_or(wanted, |stream| stream.advance(offset, wanted))
        };
        let until = offset.saturating_add(length).min(self.stamp.size);
        let bytes = self.remote.range(&self.name, offset..until)?;
        let asked = bytes.get(..buffer.len()).unwrap_or_default();
        buffer.copy_from_slice(asked);
        if until > end {
            self.remote.windows.keep(&self.name, offset, bytes);
        }
        Ok(())
    }
}

struct RemoteNewObject {
    remote: Arc<Remote>,
    name: String,
    buffer: Vec<u8>,
    written: u64,
    /// Once it is larger than a part.
    upload: Option<WriteMultipart>,
}

impl RemoteNewObject {
    /// Sends what is in the buffer as a part.
    fn send(&mut self) -> Result<()> {
        let runtime = self.remote.runtime()?;
        let _in_runtime = runtime.enter();
        if self.upload.is_none() {
            let path = self.remote.path(&self.name);
            // One that was begun twice is given up by the bucket's rule.
            let upload = self.remote.wait_repeating(|| self.remote.store.put_multipart(&path))?;
            self.upload = Some(WriteMultipart::new_with_chunk_size(upload, PART_BYTES));
        }
        if let Some(upload) = &mut self.upload {
            self.remote.wait(upload.wait_for_capacity(PARTS_ON_THEIR_WAY))?;
            upload.put(std::mem::take(&mut self.buffer).into());
        }
        Ok(())
    }
}

impl NewObject for RemoteNewObject {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let space = PART_BYTES - self.buffer.len();
            let (part, after) = rest.split_at_checked(space).unwrap_or((rest, &[]));
            self.buffer.extend_from_slice(part);
            rest = after;
            if self.buffer.len() == PART_BYTES {
                self.send()?;
            }
        }
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<Stamp> {
        if self.upload.is_none() {
            let store = RemoteStore(Arc::clone(&self.remote));
            return store.put(&self.name, &self.buffer, Put::New);
        }
        self.send()?;
        let Some(upload) = self.upload.take() else { return Err(Error::other("no upload")) };
        let _in_runtime = self.remote.runtime()?.enter();
        match self.remote.wait(upload.finish()) {
            Ok(stored) => Ok(stamp_of(self.written, stored.e_tag.as_deref())),
            // The answer may have been lost; nobody else can have thought of the name.
            Err(error) => match self.remote.head(&self.name) {
                Ok(stamp) if stamp.size == self.written => Ok(stamp),
                _ => Err(error),
            },
        }
    }
}

impl Drop for RemoteNewObject {
    fn drop(&mut self) {
        if let (Some(mut upload), Ok(runtime)) = (self.upload.take(), self.remote.runtime()) {
            // What was sent costs money until it is given up; the bucket's rule does it otherwise. A
            // part that arrives after that stays.
            runtime.spawn(async move {
                let _ = upload.wait_for_capacity(0).await;
                upload.abort().await
            });
        }
    }
}
