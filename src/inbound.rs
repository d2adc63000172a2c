//! A message comes in: recipients resolved, stamped, delivered, 250. (stub: owner smtp)
