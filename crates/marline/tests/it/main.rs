//! Marline from outside: the real binary in real repositories.

mod alerts;
mod approval;
mod artifact;
mod bad_input;
mod browser;
mod calls;
mod carry;
mod clock;
mod config;
mod crash;
mod debug;
mod demo;
mod docs;
mod eval;
mod events;
mod from;
mod guarded;
mod metrics;
mod people;
mod probes;
mod proxied;
mod reports;
mod rules;
mod running;
mod watching;
mod world;
