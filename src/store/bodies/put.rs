//! Objects that were put and may never be referenced: their transaction failed, or never began.
//!
//! Invariant: such an object is only condemned, in a transaction that finds no row with its name; so this is safe at any time,
//! also while a write that would refer to it still runs (docs/decisions/0015-bodies-by-hash.md).

use super::name::ObjectName;
use crate::store::lock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// The names of objects that were put and not referenced; clones share them. After a crash, the daily listing finds those
/// objects.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unreferenced(Arc<Mutex<Vec<ObjectName>>>);

impl Unreferenced {
    /// Removes and returns all names.
    #[cfg(feature = "cluster")]
    pub fn take(&self) -> Vec<ObjectName> {
        std::mem::take(&mut lock(&self.0))
    }
}

/// An object that was put, or is being put. When its last clone is dropped and no committed transaction has used it, its name is
/// added to [`Unreferenced`].
#[derive(Clone, Debug)]
pub(crate) struct NewObject(Arc<Put>);

#[derive(Debug)]
struct Put {
    name: ObjectName,
    put_at: Instant,
    unreferenced: Unreferenced,
    /// A transaction has referred to it, or condemned it.
    is_used: AtomicBool,
    is_committed: AtomicBool,
}

impl NewObject {
    /// To be called before the put begins.
    #[cfg(feature = "cluster")]
    pub fn new(name: ObjectName, unreferenced: Unreferenced) -> Self {
        let (is_used, is_committed) = (AtomicBool::new(false), AtomicBool::new(false));
        Self(Arc::new(Put { name, put_at: Instant::now(), unreferenced, is_used, is_committed }))
    }

    pub fn name(&self) -> &ObjectName {
        &self.0.name
    }

    pub fn put_at(&self) -> Instant {
        self.0.put_at
    }

    /// A transaction refers to it or condemns it, and may still be rolled back.
    pub fn used(&self) {
        self.0.is_used.store(true, Ordering::Relaxed);
    }

    /// The transaction was committed.
    pub fn committed(&self) {
        self.0.is_committed.store(true, Ordering::Relaxed);
    }
}

impl Drop for Put {
    fn drop(&mut self) {
        if !(*self.is_used.get_mut() && *self.is_committed.get_mut()) {
            lock(&self.unreferenced.0).push(self.name.clone());
        }
    }
}
