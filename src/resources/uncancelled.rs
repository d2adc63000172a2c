//! Work that must not stop halfway: a commit and what follows from it.

/// Runs a future to its end in a separate task, even if the caller is cancelled. A panic is propagated to the caller.
pub async fn uncancelled<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(future).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down and drops the caller, too.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn it_ends_without_its_caller_and_panics_with_it() {
        let ((go, wait), (done, is_done)) = (oneshot::channel::<()>(), oneshot::channel());
        let caller = tokio::spawn(uncancelled(async move {
            wait.await.unwrap();
            done.send(7).unwrap();
        }));
        tokio::task::yield_now().await;
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
        go.send(()).unwrap();
        assert_eq!(is_done.await, Ok(7));
        assert!(tokio::spawn(uncancelled(async { panic!("a bug") })).await.unwrap_err().is_panic());
    }
}
