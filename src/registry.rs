//! Custom domains as the API knows them. (stub: owner verification)
