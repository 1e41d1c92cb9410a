//! Carries requests to instances, and tells the conductor what became of them.
//!
//! The proxy is a process of its own and outlives the conductor. It is told what to do over a Unix
//! socket in its directory ([`ProxyClient`]), keeps its last table there too, and so serves at once
//! when it is started again. It decides nothing: weights come from the conductor, verdicts are taken
//! by the conductor on the [tallies](Tally).
//!
//! # What it promises
//!
//! - A new [table](Routes) is one pointer swap. No connection of a client is ever cut for it.
//! - Once [`ProxyClient::set_routes`] has returned, no new request reaches an instance that is not in
//!   the table; once [`ProxyClient::drain`] says 0, stopping the instance fails nobody.
//! - A request is tried again only if it cannot have been heard, or may safely be heard twice, and
//!   always at the same release.
//! - Started a second time in one directory, it takes the listening sockets over from the first,
//!   which finishes what it has and goes.
//!
//! # The way of a request
//!
//! `listen` accepts the client; `http1` serves it from socket to socket while it asks for ordinary
//! things, and hands HTTP/2, upgrades and the like to the long way over hyper, which also serves
//! what comes encrypted (`tls`). There `listen` watches
//! the patience of the client; `forward` finds the service (`table`), waits
//! where requests are held (`gate`), is dealt a release (`share`), chooses an instance and counts
//! (`instance`, `count`), rewrites the headers (`headers`) and passes everything on over a kept
//! connection (`upstream`).
//!
//! What only some services want is asked for in the table and is `None` for the others: lines about
//! requests (`access_log`, without what `mask` takes for secrets), a trace context (`trace`), limits
//! for each client (`limiter`) and for all together (`breaker`), clients that stay with an instance
//! (`sticky`), compression (`encoding`). The last two go the long way always.

mod access_log;
mod breaker;
mod client;
mod control;
mod count;
mod encoding;
mod forward;
mod gate;
mod hand_over;
mod headers;
mod http1;
mod instance;
mod keep;
mod limiter;
mod listen;
mod mask;
mod page;
mod protocol;
mod proxy_protocol;
mod routes;
mod serve;
mod share;
mod sticky;
mod table;
mod tally;
mod tls;
mod trace;
mod upstream;
mod ways;

pub use client::{ClientError, ProxyClient, Tallies};
#[doc(hidden)]
pub use http1::read_anything as read_http1;
pub use protocol::{
    Answer, Drained, Hold, InstanceStatus, Listening, Refusal, Request, SOCKET, Status,
};
#[doc(hidden)]
pub use proxy_protocol::{NoHeader, read_header as read_proxy_protocol};
pub use routes::{
    AccessLog, Certificate, CircuitBreakers, Guards, Limits, Listener, LogFormat, OutlierDetection,
    RateLimit, RetryBudget, Route, Routes, RoutesError, Service, Target, Tls, WHOLE,
};
pub use serve::{ProxyError, serve, serve_until};
pub use tally::{ErrorKind, Errors, Failing, Histogram, Tally, TallyReport};
