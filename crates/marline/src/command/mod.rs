//! One file per command.

pub mod alerts;
pub mod approve;
pub mod artifact;
mod backtest;
pub mod cache;
pub mod check;
pub mod config;
mod debug;
pub mod dispatch;
pub mod eval;
pub mod glance;
pub mod logs;
pub mod metrics;
pub mod notify;
mod preview;
pub mod release;
pub mod report;
pub mod rules;
pub mod run;
pub mod secret;
pub mod silence;
pub mod status;
pub mod timeline;
pub mod up;
mod watch;
pub mod why;
pub mod wish;
