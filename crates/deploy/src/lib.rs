//! A release becomes a deployment.
//!
//! What runs is decided elsewhere; this crate knows *how*: it cuts releases, plans how a Compose
//! service runs on an engine, moves traffic step by step, and keeps instances alive as processes
//! that outlive Marline itself.
//!
//! - [`release`]: an immutable, content-addressed copy of what shall run, and the store of them.
//! - [`plan`]: a Compose service becomes a resolved plan, with a finding for all that an engine
//!   cannot honour.
//! - [`deployment`]: what an engine is told to run.
//! - [`strategy`]: pure step functions: what to do next, given what is seen.
//! - [`engine`]: where instances run; [`engine::process`] runs them as processes of this machine.
//! - [`shim`]: the small process that holds one instance, its output and its exit status.
//! - [`diagnosis`]: why an instance did not start, in words.
//! - [`proxy`]: listeners and routes, in a process of their own.
//!
//! # Glossary
//!
//! - **release**: what exactly will run: files, Compose snapshot, commit, run; never changes.
//! - **service · instance**: an entry under `services:`; one running copy of it for one release.
//! - **deployment**: moving a service's traffic from one release to another, by a strategy. For an
//!   engine it is one service of one release with everything its instances need.
//! - **engine**: a place where instances run. It knows how and never decides when.
//! - **shim**: one small process per instance that outlives the conductor.
//! - **weight**: the share of a service's requests that a release gets.

pub mod deployment;
pub mod diagnosis;
pub mod engine;
pub mod plan;
pub mod proxy;
pub mod release;
pub mod shim;
pub mod strategy;

pub use deployment::Deployment;
pub use engine::{ENGINES, Engine, EngineError, Instance, InstanceState};
pub use release::{Cut, Manifest, ReleaseError, ReleaseStore};
pub use strategy::{Outcome, Progress, STRATEGIES, Step};
