//! API tokens. (stub: owner http)
