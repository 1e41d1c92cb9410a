//! E-mail by SMTP.

use std::sync::Arc;

use lettre::message::{Mailbox, Mailboxes, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};

use super::{Letter, Notifier, TellError};

pub(super) const NOTIFIER: Notifier =
    Notifier { name: "email", tell: |letter| Box::pin(tell(letter)) };

async fn tell(letter: Arc<Letter>) -> Result<String, TellError> {
    let message = message(&letter)?;
    let transport = transport(&letter)?;
    match transport.send(message).await {
        Ok(response) => Ok(response.message().collect::<Vec<_>>().join(" ")),
        Err(error) if error.is_permanent() => Err(TellError::lasting(said(&error))),
        Err(error) => Err(TellError::passing(said(&error))),
    }
}

/// Says an error with its causes.
fn said(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}

fn transport(letter: &Letter) -> Result<AsyncSmtpTransport<Tokio1Executor>, TellError> {
    let host = letter.plain("smarthost", "smtp_smarthost").unwrap_or_default();
    let wrong = || TellError::lasting("`smarthost` must be written as HOST:PORT");
    let (host, port) = host.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    let asked = |key: &str, global: &str| letter.plain(key, global).map(|text| text == "true");
    let tls = || {
        TlsParameters::new_rustls(host.to_owned())
            .map_err(|error| TellError::lasting(format!("TLS cannot be used: {}", said(&error))))
    };
    let is_implicit = asked("force_implicit_tls", "smtp_force_implicit_tls");
    let tls = if is_implicit.unwrap_or(port == 465) {
        Tls::Wrapper(tls()?)
    } else if asked("require_tls", "smtp_require_tls").unwrap_or(true) {
        Tls::Required(tls()?)
    } else {
        Tls::Opportunistic(tls()?)
    };
    let mut transport =
        AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host).port(port).tls(tls);
    if let Some(hello) = letter.plain("hello", "smtp_hello") {
        transport = transport.hello_name(ClientId::Domain(hello.to_owned()));
    }
    if let Some(name) = letter.plain("auth_username", "smtp_auth_username") {
        let password = letter.needed("auth_password", "smtp_auth_password")?;
        transport = transport.credentials(Credentials::new(name.to_owned(), password));
    }
    Ok(transport.build())
}

fn message(letter: &Letter) -> Result<Message, TellError> {
    let wrong =
        |key: &str| TellError::lasting(format!("`{key}` must be an address such as a@example.com"));
    let from = letter.plain("from", "smtp_from").unwrap_or_default();
    let from: Mailbox = letter.filled("from", from)?.parse().map_err(|_| wrong("from"))?;
    let to: Mailboxes = letter.text("to", "")?.parse().map_err(|_| wrong("to"))?;
    let headers = letter.mapping("headers")?;
    let subject = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("subject"));
    let subject = match subject {
        Some((_, subject)) => subject.clone(),
        None => letter.filled("subject", "{{ template \"email.default.subject\" . }}")?,
    };
    let mut message = Message::builder().from(from).subject(subject);
    for to in to {
        message = message.to(to);
    }
    let text = letter.text("text", "email.default.text")?;
    let html = letter.text("html", "email.default.html")?;
    let message = if html.is_empty() {
        message.singlepart(SinglePart::plain(text))
    } else {
        message.multipart(MultiPart::alternative_plain_html(text, html))
    };
    message.map_err(|error| TellError::lasting(format!("it is no message: {}", said(&error))))
}
