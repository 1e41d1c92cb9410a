//! Events become words.
