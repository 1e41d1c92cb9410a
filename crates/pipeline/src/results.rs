//! What jobs leave for other jobs and for later runs: artifacts and caches.
//!
//! There is one [`Store`], in the state directory, and two ways to it: the built-in actions use it
//! directly, and JavaScript actions reach it through the [`Service`], which speaks on loopback what
//! the public clients of GitHub's artifact service (version 4) and cache service (version 2)
//! speak. What one way keeps the other finds.
//!
//! - [`store`]: files by their content, written whole or not at all.
//! - [`artifact`]: files of a run under a name, kept as a zip archive.
//! - [`cache`]: files under a key, found again by later runs of the same branch or of children of it.
//! - `token`, `twirp`, `blob`, `server`: who may ask, what is asked, how bytes come and go.

pub mod artifact;
mod blob;
pub mod cache;
mod server;
pub mod store;
mod token;
mod twirp;

pub use artifact::Artifact;
pub use blob::{BlockList, parse_block_list, parse_range};
pub use cache::{Entry, Scopes};
pub use server::{Service, ServiceError};
pub use store::{Store, StoreError};
pub use twirp::{Call, parse_call};
