//! How many octets the readers of messages look at. Tests hold that to linear time, whatever machine they run on.

/// Counts octets that are looked at; elsewhere than in tests it does nothing.
pub(crate) fn count(octets: usize) {
    #[cfg(test)]
    tests::COUNT.with(|count| count.set(count.get() + octets));
    #[cfg(not(test))]
    let _ = octets;
}

#[cfg(test)]
pub(crate) use tests::during;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    thread_local! {
        pub(super) static COUNT: Cell<usize> = const { Cell::new(0) };
    }

    /// The octets that this thread looks at during some work.
    pub(crate) fn during(work: impl FnOnce()) -> usize {
        let before = COUNT.get();
        work();
        COUNT.get() - before
    }
}
