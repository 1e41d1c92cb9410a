//! Code becomes findings.
//!
//! [`check::check`] looks through a work tree or a commit and gives a [`check::Report`];
//! [`policy::evaluate`] asks the team's own Rego; [`gate::decide`] turns all of it, with the runs
//! and with what somebody allowed, into one decision. [`vault::Vault`] keeps secrets at rest.
//!
//! Nothing here is silent: an area that could not be checked says so ([`check::NotChecked`]), and
//! a policy that could not be evaluated holds the gate.
//!
//! # Glossary
//!
//! - **area**: a part of the check that can be asked for by name: secrets, workflows, …
//! - **rule**: what raises findings, with its reason, its remedy and two examples.
//! - **secret rule**: a rule in gitleaks' TOML format, built in or from `.gitleaks.toml`.
//! - **subject**: what is looked through: a directory or a commit.
//! - **policy**: a Rego file under `policy/`; its `deny` holds the gate, its `warn` does not.
//! - **gate**: whether a commit may become a release.
//! - **vault**: the directory that keeps secrets, encrypted.

pub mod check;
pub mod gate;
pub mod policy;
pub mod rule;
pub mod secret;
pub mod vault;
