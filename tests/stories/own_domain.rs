//! The story of the documentation: send and receive under one's own domain.
