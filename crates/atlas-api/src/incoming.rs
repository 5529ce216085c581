//! A request whose body was read, and what its headers say.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, Method, Request, Uri};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;

use crate::api::ApiConfig;
use crate::error::{ApiError, Result};
use crate::strict_json;

/// A request whose body was read.
pub(crate) struct Incoming {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// From where it came.
    pub(crate) address: IpAddr,
    /// At which address of this server it arrived, if that is known.
    pub(crate) local_address: Option<SocketAddr>,
}

impl Incoming {
    /// Reads a body up to its limit; or what to answer.
    pub(crate) async fn read(config: &ApiConfig, request: Request<Body>) -> Result<Self> {
        let (head, body) = request.into_parts();
        let limit = config.largest_body_bytes;
        let body = match Limited::new(body, limit).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return Err(ApiError::body_too_large(limit));
            }
            Err(_) => return Err(ApiError::malformed_json()),
        };
        let ends = head.extensions.get::<ConnectInfo<Ends>>().map(|info| info.0);
        Ok(Self {
            address: client_address(config, ends.map(|ends| ends.peer.ip()), &head.headers),
            method: head.method,
            uri: head.uri,
            headers: head.headers,
            body,
            local_address: ends.and_then(|ends| ends.local),
        })
    }

    /// The body as JSON, if it says that it is some.
    pub(crate) fn json(&self) -> Result<Value> {
        let content_type = self
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        let is_json = media_type == "application/json"
            || (media_type.starts_with("application/vnd.atlas.") && media_type.ends_with("+json"));
        if !is_json {
            return Err(ApiError::unsupported_media_type(content_type));
        }
        strict_json::parse(&self.body)
    }

    /// Names and values of the query, in its order.
    pub(crate) fn query(&self) -> Vec<(String, String)> {
        let pairs = self.uri.query().unwrap_or_default().split('&');
        let pairs = pairs.filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode_form(name), decode_form(value))
            })
            .collect()
    }

    /// The address that the client used, unless the configuration says another. Only a trusted
    /// proxy may say that it was an encrypted one.
    pub(crate) fn base_url(&self, config: &ApiConfig) -> String {
        if let Some(url) = &config.public_url {
            return url.trim_end_matches('/').to_owned();
        }
        let text = |name: &str| self.headers.get(name).and_then(|value| value.to_str().ok());
        let forwarded = text("x-forwarded-proto").filter(|_| config.trust_forwarded_for);
        let scheme = forwarded.filter(|scheme| *scheme == "https").unwrap_or("http");
        format!("{scheme}://{}", text(HOST.as_str()).unwrap_or("localhost"))
    }

    /// The address in links to downloads: the configured one, what a trusted proxy says, or the one
    /// at which this server was reached.
    pub(crate) fn download_url(&self, config: &ApiConfig) -> String {
        match self.local_address {
            Some(local) if config.public_url.is_none() && !config.trust_forwarded_for => {
                format!("http://{local}")
            }
            _ => self.base_url(config),
        }
    }
}

/// The two ends of a connection; requests carry it as `ConnectInfo`.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    /// The client's.
    pub peer: SocketAddr,
    /// The server's.
    pub local: Option<SocketAddr>,
}

/// The address of the client: the peer's, or what a trusted proxy says.
pub(crate) fn client_address(
    config: &ApiConfig,
    peer: Option<IpAddr>,
    headers: &HeaderMap,
) -> IpAddr {
    let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)).to_canonical();
    if !config.trust_forwarded_for {
        return peer;
    }
    // The last entry is the one that the proxy itself wrote.
    let forwarded = headers.get_all("x-forwarded-for").iter().next_back();
    let last = forwarded.and_then(|value| value.to_str().ok()?.rsplit(',').next());
    let Some(text) = last.map(str::trim) else {
        return peer;
    };
    let with_port = || text.parse().map(|address: SocketAddr| address.ip());
    // What cannot be read must not pass for the proxy itself.
    let address = text.parse().or_else(|_| with_port());
    address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address: IpAddr| address.to_canonical())
}

/// A name or value of a query or a form.
pub(crate) fn decode_form(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned()
}
