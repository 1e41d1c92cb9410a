//! Greets whoever asks, on the port it is given.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

fn main() {
    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).expect("the port is free");
    println!("hello listens on {port}");
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || drop(serve(stream)));
    }
}

/// Answers requests on one connection until the client closes it.
fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut header = String::from("x");
        while header.trim() != "" {
            header.clear();
            reader.read_line(&mut header)?;
        }
        let path = request.split(' ').nth(1).unwrap_or("/");
        let (status, body) = answer(path);
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
    }
}

/// What a path gives.
fn answer(path: &str) -> (&'static str, String) {
    match path.trim_start_matches('/') {
        "" => ("200 OK", "Hello, world!\n".into()),
        "up" => ("200 OK", "up\n".into()),
        name if name.chars().all(char::is_alphabetic) => ("200 OK", format!("Hello, {name}!\n")),
        _ => ("404 Not Found", "nobody of that name\n".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::answer;

    #[test]
    fn greets_by_name() {
        assert_eq!(answer("/Ana").1, "Hello, Ana!\n");
    }

    #[test]
    fn greets_the_world_when_nobody_is_named() {
        assert_eq!(answer("/").1, "Hello, world!\n");
    }

    #[test]
    fn does_not_greet_numbers() {
        assert_eq!(answer("/42").0, "404 Not Found");
    }
}
