//! Counts the octets that message parsers look at. Tests use it to check for linear time independently of the machine.

/// Counts octets; does nothing outside tests.
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

    /// The octets that this thread looks at while `work` runs.
    pub(crate) fn during(work: impl FnOnce()) -> usize {
        let before = COUNT.get();
        work();
        COUNT.get() - before
    }
}
