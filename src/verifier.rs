//! The verifier. (stub: owner verification)
