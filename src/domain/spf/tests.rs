//! SPF records read, counted and merged.
