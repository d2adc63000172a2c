//! Objects that were put, and may never be named: their transaction was refused, or never began.
//!
//! Invariant: an object is only condemned here, in a transaction that finds no row with its name; so it does not matter when that is, or whether a write that
//! would name it still runs (docs/decisions/0015-bodies-by-hash.md).

use super::name::ObjectName;
use crate::store::lock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Names of objects that were put and not named. Clones share them. What a daemon that dies had in it is found by the daily listing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unnamed(Arc<Mutex<Vec<ObjectName>>>);

impl Unnamed {
    /// Takes out all.
    #[cfg(feature = "cluster")]
    pub fn take(&self) -> Vec<ObjectName> {
        std::mem::take(&mut lock(&self.0))
    }
}

/// An object that was put, or is being put. When the last clone goes and no committed transaction has used it, it is unnamed.
#[derive(Clone, Debug)]
pub(crate) struct NewObject(Arc<Put>);

#[derive(Debug)]
struct Put {
    name: ObjectName,
    put_at: Instant,
    unnamed: Unnamed,
    /// A transaction has named it, or condemned it.
    is_used: AtomicBool,
    is_committed: AtomicBool,
}

impl NewObject {
    /// To be made before the put begins.
    #[cfg(feature = "cluster")]
    pub fn new(name: ObjectName, unnamed: Unnamed) -> Self {
        let (is_used, is_committed) = (AtomicBool::new(false), AtomicBool::new(false));
        Self(Arc::new(Put { name, put_at: Instant::now(), unnamed, is_used, is_committed }))
    }

    pub fn name(&self) -> &ObjectName {
        &self.0.name
    }

    pub fn put_at(&self) -> Instant {
        self.0.put_at
    }

    /// A transaction uses it, and may still fail.
    pub fn used(&self) {
        self.0.is_used.store(true, Ordering::Relaxed);
    }

    /// The transaction is committed.
    pub fn committed(&self) {
        self.0.is_committed.store(true, Ordering::Relaxed);
    }
}

impl Drop for Put {
    fn drop(&mut self) {
        if !(*self.is_used.get_mut() && *self.is_committed.get_mut()) {
            lock(&self.unnamed.0).push(self.name.clone());
        }
    }
}
