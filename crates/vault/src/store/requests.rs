//! Counting the requests that a bucket is asked: they cost money and time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};

/// What a request asks for; stores charge for each of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RequestKind {
    /// An object, a part of it, or what is known of it.
    Get,
    /// The names of objects.
    List,
    /// To write an object or a part of it, or to begin and end that.
    Put,
    /// To remove an object.
    Delete,
}

impl RequestKind {
    const ALL: [Self; 4] = [Self::Get, Self::List, Self::Put, Self::Delete];

    /// Its name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Put => "put",
            Self::Delete => "delete",
        }
    }

    fn of(request: &HttpRequest) -> Self {
        match request.method().as_str() {
            "GET" | "HEAD" => {
                // S3 and Google, then Azure.
                let query = request.uri().query().unwrap_or_default();
                let lists = query.contains("list-type=") || query.contains("comp=list");
                if lists { Self::List } else { Self::Get }
            }
            "DELETE" => Self::Delete,
            // Several at once, of S3 and of Azure.
            "POST"
                if matches!(
                    request.uri().query(),
                    Some("delete" | "restype=container&comp=batch")
                ) =>
            {
                Self::Delete
            }
            _ => Self::Put,
        }
    }
}

/// How many requests there were, repeated ones included.
#[derive(Debug, Default)]
pub(super) struct Requests([AtomicU64; RequestKind::ALL.len()]);

impl Requests {
    pub(super) fn counted(&self) -> Vec<(RequestKind, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        RequestKind::ALL.into_iter().zip(counts).collect()
    }

    fn note(&self, kind: RequestKind) {
        let places = RequestKind::ALL.into_iter().zip(&self.0);
        for (_, count) in places.filter(|(of, _)| *of == kind) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Makes clients whose requests are counted.
#[derive(Debug, Clone, Default)]
pub(super) struct CountingConnector(pub(super) Arc<Requests>);

impl HttpConnector for CountingConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(CountingService { client, requests: Arc::clone(&self.0) }))
    }
}

#[derive(Debug)]
struct CountingService {
    client: HttpClient,
    requests: Arc<Requests>,
}

#[async_trait]
impl HttpService for CountingService {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.requests.note(RequestKind::of(&request));
        self.client.execute(request).await
    }
}
