//! A release becomes a deployment.
