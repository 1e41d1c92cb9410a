//! A deployment stays healthy.
//!
//! Everything that decides is a pure value: it is fed with what happened and when, and says what
//! follows. Nothing here reads a clock; only [`probe`] touches the network.
//!
//! | module | answers |
//! |---|---|
//! | [`verdict`] | is the new release worse than the old one? |
//!
//! # Glossary
//!
//! - **arm**: one of the two releases under comparison: the *canary*, which is new, and the
//!   *baseline*, which served before.
//! - **verdict**: canary against baseline: worse, not worse, or not enough to tell.

pub mod verdict;
