//! What a service manager is told: that the server is ready, alive, and about to stop.
//!
//! The protocol of `sd_notify`. Without a service manager that asks for it nothing is told.

use std::time::Duration;

use sd_notify::NotifyState;

/// How often it is looked whether the server is ready.
const LOOK: Duration = Duration::from_millis(100);

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager could not be told how the server is");
    }
}

/// Says that the server is ready once it is, and then again and again that it is alive: as long as requests and
/// work get their turn.
pub(crate) async fn accompany(is_ready: impl Fn() -> bool) {
    while !is_ready() {
        tokio::time::sleep(LOOK).await;
    }
    tell(NotifyState::Ready);
    let Some(patience) = sd_notify::watchdog_enabled() else { return };
    loop {
        tokio::time::sleep(patience / 3).await;
        // Threads that may wait get a turn, too.
        if tokio::task::spawn_blocking(|| ()).await.is_ok() {
            tell(NotifyState::Watchdog);
        }
    }
}

/// Says that the server stops.
pub(crate) fn stopping() {
    tell(NotifyState::Stopping);
}
