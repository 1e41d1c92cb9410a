//! Serves every page over a journal filled with a realistic story, for looking and for tests.
//!
//! Prints the address and a login link as one JSON line, then serves until its input ends.

mod story;

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use journal::Actor;
use web::{Entrance, Sessions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let story = story::Story::tell(directory.path()).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let sessions = Sessions::default();
    let links: Vec<String> = (0..40)
        .map(|_| {
            let token = sessions.make_link(Actor::Person("ana".into()), jiff::Timestamp::now());
            format!("http://127.0.0.1:{port}/login?t={token}")
        })
        .collect();
    let entrance = Entrance::loopback(sessions, port);
    let router = web::router(story.state.clone(), entrance);
    let said = serde_json::json!({ "base": format!("http://127.0.0.1:{port}"), "links": links, "pages": story.pages });
    println!("{said}");
    std::io::stdout().flush()?;
    let follow = tokio::spawn(Arc::new(story).keep_going());
    let ended = tokio::task::spawn_blocking(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
    });
    tokio::select! {
        served = axum::serve(listener, router) => served?,
        _ = ended => {}
    }
    follow.abort();
    Ok(())
}
