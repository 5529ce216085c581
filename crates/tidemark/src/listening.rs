//! The API's connections: accepted, served with deadlines, ended at a signal.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, Request};
use axum::middleware::{self, Next};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tidemark_atlas_api::Ends;
use tidemark_docdb::ServerTls;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::tls::Certificates;

/// The wait after a connection could not be accepted: usually all file handles are in use.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long clients may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For the head of a request, the wait for its first byte included.
    pub(crate) head: Duration,
    /// After the signal, before nothing new is accepted any more.
    pub(crate) drain: Duration,
    /// For what is running when the server stops.
    pub(crate) end: Duration,
}

/// Serves until SIGTERM or SIGINT and some time longer; then nothing listens any more, and what is running has
/// its time to finish. `when_told` is called at the signal and `when_over` when that time is over, which must
/// not take long; answers when that was. A second signal ends the wait.
pub(crate) async fn serve(
    (listener, certificates): (TcpListener, Option<Arc<Certificates>>),
    router: Router,
    patience: Patience,
    (when_told, when_over): (impl FnOnce(), impl FnOnce()),
) -> std::io::Result<Instant> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (end, is_ending) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut when_told = Some(when_told);
    let mut until: Option<tokio::time::Instant> = None;
    loop {
        let is_told = tokio::select! {
            _ = terminate.recv() => true,
            _ = interrupt.recv() => true,
            () = sleep_until(until) => break,
            _ = connections.join_next(), if !connections.is_empty() => false,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let tls = certificates.as_ref().map(|own| TlsAcceptor::from(own.config()));
                    let client = Client { stream, peer, tls, head_patience: patience.head };
                    let serving = serve_connection(client, router.clone(), is_ending.clone());
                    drop(connections.spawn(serving));
                    false
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    false
                }
            },
        };
        if !is_told {
            continue;
        }
        let Some(when_told) = when_told.take() else { break };
        when_told();
        if patience.drain.is_zero() {
            break;
        }
        until = Some(tokio::time::Instant::now() + patience.drain);
    }
    let told_at = Instant::now();
    drop(listener);
    when_over();
    let _ = end.send(true);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(patience.end, all_ended).await;
    Ok(told_at)
}

/// Sleeps until then; for ever if there is no end.
async fn sleep_until(until: Option<tokio::time::Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

struct Client {
    stream: TcpStream,
    peer: SocketAddr,
    /// Greets it, if the API speaks TLS.
    tls: Option<TlsAcceptor>,
    head_patience: Duration,
}

async fn serve_connection(client: Client, router: Router, is_ending: watch::Receiver<bool>) {
    let Client { stream, peer, tls, head_patience } = client;
    let _ = stream.set_nodelay(true);
    let ends = Ends { peer, local: stream.local_addr().ok() };
    let Some(tls) = tls else {
        return serve_stream((stream, ends), router, (head_patience, is_ending)).await;
    };
    // A client that speaks something else, or has no certificate that is good, is its own affair.
    let mut ending = is_ending.clone();
    let greeted = tokio::select! {
        greeted = tokio::time::timeout(head_patience, tls.accept(stream)) => greeted,
        // It would be waited for until it says something.
        _ = ending.changed() => return,
    };
    if let Ok(Ok(stream)) = greeted {
        serve_stream((stream, ends), router, (head_patience, is_ending)).await;
    }
}

async fn serve_stream(
    (stream, ends): (impl AsyncRead + AsyncWrite + Unpin + Send + 'static, Ends),
    router: Router,
    (head_patience, mut is_ending): (Duration, watch::Receiver<bool>),
) {
    let has_asked = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&has_asked);
    let notice = middleware::from_fn(move |request: Request, next: Next| {
        asked.store(true, Ordering::Relaxed);
        next.run(request)
    });
    let router = router.layer(Extension(ConnectInfo(ends))).layer(notice);
    let service = TowerToHyperService::new(router);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(head_patience);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    loop {
        tokio::select! {
            // A client that is gone or speaks something else is its own affair.
            _ = connection.as_mut() => return,
            _ = is_ending.changed() => {
                if !has_asked.load(Ordering::Relaxed) {
                    // It would be waited for until it asks for something.
                    return;
                }
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}
