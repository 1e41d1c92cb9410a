//! Numbers over time.
