//! A release becomes a deployment.

pub mod proxy;
