//! Carries requests to instances, and tells the conductor what became of them.
//!
//! The proxy is a process of its own and outlives the conductor. It is told what to do over a Unix
//! socket in its directory ([`ProxyClient`]), keeps its last table there too, and so serves at once
//! when it is started again. It decides nothing: weights come from the conductor, verdicts are taken
//! by the conductor on the tallies.

mod client;
mod protocol;
mod routes;
mod tally;

pub use client::{ClientError, ProxyClient, Tallies};
pub use protocol::{
    Answer, Drained, Hold, InstanceStatus, Listening, Refusal, Request, SOCKET, Status,
};
pub use routes::{Guards, Limits, Listener, Route, Routes, RoutesError, Service, Target, WHOLE};
pub use tally::{ErrorKind, Errors, Failing, Histogram, Tally, TallyReport};
