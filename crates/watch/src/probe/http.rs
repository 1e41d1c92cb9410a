//! Is the answer to a GET below 400?

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Answer, Probe, Running, Target, connect_failure};

pub(super) const PROBE: Probe =
    Probe { name: "http", asks: "whether a GET is answered with a status below 400", ask };

/// How much of an answer is read at most.
const MOST: usize = 64 * 1024;

fn ask(target: Target) -> Running<Answer> {
    Box::pin(get(target))
}

async fn get(target: Target) -> Answer {
    let stream =
        TcpStream::connect(target.address).await.map_err(|error| connect_failure(&error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| format!("could not speak HTTP: {error}"))?;
    let request = http::Request::get(&target.path)
        .header(http::header::HOST, &target.host)
        .header(http::header::USER_AGENT, "marline-probe")
        .header(http::header::CONNECTION, "close")
        .body(Empty::<bytes::Bytes>::new())
        .map_err(|error| format!("`{}` cannot be asked for: {error}", target.path))?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| broke(&error))?;
        let status = response.status();
        // The body is read so that an answer that breaks off in the middle is not taken for well.
        let body = Limited::new(response.into_body(), MOST).collect().await;
        if let Err(error) = body
            && !error.is::<http_body_util::LengthLimitError>()
        {
            return Err(format!("{status}, and then the answer broke off"));
        }
        if status.as_u16() < 400 { Ok(status.to_string()) } else { Err(status.to_string()) }
    };
    // The connection is driven beside the exchange and is gone with it: nothing is left behind.
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(broke(&error)),
        },
    }
}

fn broke(error: &hyper::Error) -> String {
    if error.is_incomplete_message() {
        "the connection was closed before the answer was whole".to_owned()
    } else {
        format!("the answer is not HTTP: {error}")
    }
}
