//! The service manager and its watchdog (`WatchdogSec=`, `sd_watchdog_enabled(3)`). Invariant: `WATCHDOG=1` is sent only
//! after the runtime has run a task and the store's writer has committed a change. It is sent from a separate thread,
//! so that a blocked runtime is noticed.

use crate::store::Store;
use sd_notify::NotifyState;
use std::sync::mpsc;
use tokio::runtime::Handle;

/// Notifications per watchdog interval.
const BEATS: u32 = 4;

/// Starts the thread if the watchdog is enabled.
pub(super) fn start(runtime: Handle, store: Store) {
    let span = sd_notify::watchdog_enabled().filter(|span| !span.is_zero());
    let Some(pause) = span.map(|span| span / BEATS) else { return };
    let run = move || {
        while answers(&runtime, &store) {
            notify(NotifyState::Watchdog);
            std::thread::sleep(pause);
        }
    };
    if let Err(error) = std::thread::Builder::new().name("watchdog".into()).spawn(run) {
        tracing::error!(%error, "cannot start the watchdog thread: the service manager will kill this daemon");
    }
}

/// Notifies the service manager, where there is one (`sd_notify(3)`).
pub(super) fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager could not be notified");
    }
}

/// Waits until the runtime and the store's writer have responded. False if they have ended.
fn answers(runtime: &Handle, store: &Store) -> bool {
    let (answer, answered) = mpsc::channel();
    let store = store.clone();
    runtime.spawn(async move {
        let written = store.probe_writer().await;
        // A failed commit, on a full disk for example, is a response too.
        let is_open = !matches!(written, Err(crate::store::StoreError::Closed));
        let _ = answer.send(is_open);
    });
    answered.recv().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreError;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    /// Checks the order of events: `stuck` ends when its channel does, and only then is there a response.
    fn in_order(stuck: impl FnOnce(&Handle, &Store, mpsc::Receiver<()>)) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let events = Arc::new(Mutex::new(Vec::new()));
        let (release, released) = mpsc::channel::<()>();
        stuck(runtime.handle(), &store, released);
        let (handle, log) = (runtime.handle().clone(), Arc::clone(&events));
        let watched = store.clone();
        let watchdog = std::thread::spawn(move || {
            let answered = answers(&handle, &watched);
            log.lock().unwrap().push(if answered { "answered" } else { "closed" });
        });
        // Long enough for a response that is not blocked.
        std::thread::sleep(Duration::from_millis(200));
        events.lock().unwrap().push("released");
        drop(release);
        watchdog.join().unwrap();
        assert_eq!(*events.lock().unwrap(), ["released", "answered"]);
        runtime.block_on(store.close());
        assert!(!answers(runtime.handle(), &store));
    }

    #[test]
    fn a_runtime_with_busy_threads_does_not_respond() {
        in_order(|runtime, _, released| {
            runtime.spawn(async move { released.recv().is_err() });
        });
    }

    #[test]
    fn a_blocked_writer_does_not_respond() {
        crate::store::testing::sqlite_only("on PostgreSQL no write blocks the others");
        in_order(|runtime, store, released| {
            let store = store.clone();
            let (begun, has_begun) = mpsc::channel();
            runtime.spawn(async move {
                let work = move |_: &crate::store::Transaction<'_>| {
                    begun.send(()).unwrap();
                    Ok::<_, StoreError>(released.recv().is_err())
                };
                store.write(work).await
            });
            has_begun.recv().unwrap();
        });
    }
}
