//! People and programs look in.
//!
//! One [`router`] serves server-rendered pages, the events as they happen, and the JSON that the
//! command line speaks. Everything shown is derived from the journal, its view, log files and the
//! numbers of the traffic; everything asked for goes through [`Wishes`] into the journal as a
//! `…Requested` fact. There is no second way in.
//!
//! Pages work without JavaScript: links and forms, POST then redirect, running logs as a stream of
//! HTML. The one small script only swaps what changed.
//!
//! - [`state`]: what the pages are made from; the traits the binary fills in.
//! - [`entrance`]: who may come in: the socket's file permission, or a login link and a session.
//! - [`mod@router`]: which path is which page.
//! - `page`: one file per page. `component`: what pages are built from.
//! - [`numbers`]: requests, errors and latency out of the series.
//! - [`ansi`]: what a terminal shows, as HTML.
//! - [`prometheus`]: the HTTP API of Prometheus over the series, and remote write.
//! - [`wish`]: forms and requests become facts, checked against the view first.
//!
//! # Glossary
//!
//! - **entrance**: how a request came in; it decides whether a login is asked for.
//! - **wish**: something asked for; granted wishes are facts in the journal.
//! - **region**: a part of a page with an id that the script may swap.
//! - **standing**: ok, running, attention, failed or off; always an icon, a word and a colour.

pub mod ansi;
mod api;
mod asset;
mod component;
pub mod entrance;
mod live;
mod log;
pub mod numbers;
mod page;
pub mod prometheus;
pub mod router;
pub mod state;
pub mod wish;

pub use entrance::{Entrance, Sessions};
pub use numbers::{Numbers, Of, Point, Traffic, Window};
pub use router::{router, router_with};
pub use state::{Logs, Refusal, WebState, Wishes};
