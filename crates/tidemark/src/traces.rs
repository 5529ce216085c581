//! Traces for OpenTelemetry, by the variables of its specification.
//!
//! Requests and jobs are spans of the target [`TRACE_TARGET`]; without an endpoint none is made. The log does not show
//! them.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Response};
use axum::middleware::Next;
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tidemark_atlas_api::OperationId;
use tidemark_model::TRACE_TARGET;
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;

type Failure = Box<dyn std::error::Error>;

/// One of these says where traces go.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
const SERVICE: &str = "tidemark";

/// Sends spans as long as it is there; what is left is sent when it goes.
pub(crate) struct Traces(SdkTracerProvider);

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

impl Traces {
    /// What the environment asks for; nothing, if it names no endpoint or wants none.
    pub(crate) fn asked_for() -> Result<Option<Self>, Failure> {
        let said = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let is_off = said("OTEL_SDK_DISABLED")
            .is_some_and(|word| word.eq_ignore_ascii_case("true"))
            || said("OTEL_TRACES_EXPORTER").is_some_and(|word| word != "otlp");
        if is_off || !ENDPOINTS.iter().any(|name| said(name).is_some()) {
            return Ok(None);
        }
        if let Some(protocol) = PROTOCOLS.iter().find_map(|name| said(name))
            && protocol != "http/protobuf"
        {
            let reason = format!(
                "traces are sent as http/protobuf, not as {protocol}: say so in {}, and give the collector's port for it (4318)",
                PROTOCOLS.join(" or ")
            );
            return Err(reason.into());
        }
        // It may have been chosen already, as the one that all of it uses.
        let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
        let exporter = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary);
        let exporter = exporter.build().map_err(|error| format!("traces: {error}"))?;
        // `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` come after what is said here.
        let resource = Resource::builder().with_attribute(opentelemetry::KeyValue::new(
            "service.version",
            env!("CARGO_PKG_VERSION"),
        ));
        let resource = match said("OTEL_SERVICE_NAME") {
            Some(_) => resource.build(),
            None => resource.with_service_name(SERVICE).build(),
        };
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource)
            .build();
        Ok(Some(Self(provider)))
    }

    /// What hands spans on.
    pub(crate) fn layer<S>(&self) -> impl Layer<S>
    where
        S: tracing::Subscriber + for<'span> LookupSpan<'span>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer(SERVICE))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_target(TRACE_TARGET, LevelFilter::INFO))
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(axum::http::HeaderName::as_str).collect()
    }
}

/// The path of a request; of links only what they are, because the rest opens them.
fn shown(path: &str) -> &str {
    let is_link = |known: &&&str| path.starts_with(**known);
    ["/download/", "/upload/"].iter().find(is_link).copied().unwrap_or(path)
}

/// A span around a request, below the one that its `traceparent` names.
pub(crate) async fn request(request: Request, next: Next) -> Response<Body> {
    let span = tracing::info_span!(
        target: TRACE_TARGET,
        "request",
        "otel.kind" = "server",
        "otel.name" = request.method().as_str(),
        "http.request.method" = request.method().as_str(),
        "url.path" = shown(request.uri().path()),
        "http.response.status_code" = tracing::field::Empty,
        "tidemark.operation" = tracing::field::Empty,
        "otel.status_code" = tracing::field::Empty,
    );
    if span.is_disabled() {
        return next.run(request).await;
    }
    let parent: Context = TraceContextPropagator::new().extract(&Headers(request.headers()));
    let _ = span.set_parent(parent);
    async {
        let response = next.run(request).await;
        let status = response.status();
        let span = Span::current();
        if let Some(OperationId(id)) = response.extensions().get() {
            span.record("tidemark.operation", id);
            span.context().span().update_name(*id);
        }
        span.record("http.response.status_code", i64::from(status.as_u16()));
        if status.is_server_error() {
            span.record("otel.status_code", "ERROR");
        }
        response
    }
    .instrument(span)
    .await
}
