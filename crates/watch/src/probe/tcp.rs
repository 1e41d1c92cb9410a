//! Does somebody listen?

use tokio::net::TcpStream;

use super::{Answer, Probe, Running, Target, connect_failure};

pub(super) const PROBE: Probe =
    Probe { name: "tcp", asks: "whether a connection is accepted", ask };

fn ask(target: Target) -> Running<Answer> {
    Box::pin(connect(target))
}

async fn connect(target: Target) -> Answer {
    match TcpStream::connect(target.address).await {
        Ok(_) => Ok("connection accepted".to_owned()),
        Err(error) => Err(connect_failure(&error)),
    }
}
