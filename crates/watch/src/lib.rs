//! A deployment stays healthy.
//!
//! Everything that decides is a pure value: it is fed with what happened and when, and says what
//! follows. Nothing here reads a clock; only [`probe`] and [`notify`] touch the network.
//!
//! | module | answers |
//! |---|---|
//! | [`verdict`] | is the new release worse than the old one? when does it get more traffic? |
//! | [`probe`] | what does an instance say when it is asked? |
//! | [`check`] | is it healthy, then? does its health change too often to be told each time? |
//! | [`restart`] | when does an instance that ended start again, and when is that pointless? |
//! | [`heal`] | may Marline do something about it, or is a brake on? |
//! | [`rule`] | which alerts of the rule files fire? |
//! | [`dispatch`] | who is told of which alerts, and when? what is silenced or inhibited? |
//! | [`notify`] | how is each kind of channel told? what came back? |
//! | [`template`] | what does a text say once its places are filled? |
//! | [`incident`] | is this one cause or two? since when, who is affected, what is suspected? |
//!
//! # Glossary
//!
//! - **arm**: one of the two releases under comparison: the *canary*, which is new, and the
//!   *baseline*, which served before.
//! - **verdict**: canary against baseline: worse, not worse, or not enough to tell.
//! - **probe · check**: how health is asked; what is known about the health.
//! - **onset**: when something began, as opposed to when it was noticed.
//! - **alarm**: whatever says that users may be affected: an alert, a verdict, a crash loop.
//! - **silence · inhibition**: somebody muted an alert for a while; another alert makes it go without
//!   saying.
//! - **channel**: one integration of one receiver, `team/slack[0]`: what can be told and gives receipts.
//! - **brake**: a reason not to heal.

pub mod check;
pub mod dispatch;
pub mod heal;
pub mod incident;
pub mod notify;
pub mod probe;
pub mod restart;
pub mod rule;
pub mod template;
pub mod verdict;
