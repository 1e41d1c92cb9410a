//! Who may come in.
//!
//! On the unix socket the permission of its file is the guard. On TCP a single-use link that works
//! for ten minutes gives a session cookie; each form carries a token of that session, and the
//! browser's own `Sec-Fetch-Site` is checked as well. The `Host` header must be one of ours, so that
//! no other site can point its name at this machine.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use journal::Actor;
use sha2::{Digest, Sha256};

/// How long a login link works.
pub const LINK_WORKS_FOR: SignedDuration = SignedDuration::from_mins(10);

/// How long a session lasts.
const SESSION_LASTS: SignedDuration = SignedDuration::from_hours(24 * 7);

/// How many links and sessions are kept; the oldest go first.
const KEPT: usize = 256;

/// How a request came in.
#[derive(Debug, Clone)]
pub enum Entrance {
    /// Through the unix socket: who may open the file may do everything, as this person.
    Socket(Actor),
    /// Through TCP: a session is needed.
    Tcp(TcpEntrance),
}

/// What is needed to let people in through TCP.
#[derive(Debug, Clone)]
pub struct TcpEntrance {
    /// Who is signed in.
    pub sessions: Sessions,
    /// Values of `Host` that are ours, as in `127.0.0.1:7777` and `localhost:7777`.
    pub hosts: Arc<[String]>,
}

impl Entrance {
    /// The unix socket; `name` is the account that may open it.
    pub fn socket(name: impl Into<String>) -> Self {
        Self::Socket(Actor::Person(name.into()))
    }

    /// A listener on loopback at this port.
    pub fn loopback(sessions: Sessions, port: u16) -> Self {
        let hosts = ["127.0.0.1", "localhost", "[::1]"];
        Self::Tcp(TcpEntrance {
            sessions,
            hosts: hosts.iter().map(|host| format!("{host}:{port}")).collect(),
        })
    }
}

/// Links that were made and people who are signed in; cheap to clone.
///
/// They live in memory: after a restart people sign in again.
#[derive(Debug, Clone, Default)]
pub struct Sessions {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By the hash of the token: what it is for is never kept in clear.
    links: HashMap<[u8; 32], (Timestamp, Actor)>,
    sessions: HashMap<[u8; 32], Session>,
}

/// Somebody who is signed in.
#[derive(Debug, Clone)]
pub struct Session {
    /// Who.
    pub actor: Actor,
    /// What each form of this session carries.
    pub form_token: String,
    /// Until when.
    pub until: Timestamp,
}

impl Sessions {
    /// Makes the token of a link that signs `actor` in once, within ten minutes.
    pub fn make_link(&self, actor: Actor, now: Timestamp) -> String {
        let token = random_token();
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.links.retain(|_, (until, _)| *until > now);
        forget_oldest(&mut inner.links, |(until, _)| *until);
        inner.links.insert(hash(&token), (now + LINK_WORKS_FOR, actor));
        token
    }

    /// Uses a link up and returns the value of the session's cookie.
    pub fn sign_in(&self, token: &str, now: Timestamp) -> Option<(String, Session)> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, actor) = inner.links.remove(&hash(token))?;
        if until <= now {
            return None;
        }
        let cookie = random_token();
        let session = Session { actor, form_token: random_token(), until: now + SESSION_LASTS };
        inner.sessions.retain(|_, session| session.until > now);
        forget_oldest(&mut inner.sessions, |session| session.until);
        inner.sessions.insert(hash(&cookie), session.clone());
        Some((cookie, session))
    }

    /// Returns who has this cookie.
    pub fn find(&self, cookie: &str, now: Timestamp) -> Option<Session> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let session = inner.sessions.get(&hash(cookie))?;
        (session.until > now).then(|| session.clone())
    }

    /// Ends a session.
    pub fn sign_out(&self, cookie: &str) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.sessions.remove(&hash(cookie));
    }
}

/// Makes room for one more.
fn forget_oldest<T>(kept: &mut HashMap<[u8; 32], T>, until: impl Fn(&T) -> Timestamp) {
    while kept.len() >= KEPT {
        let Some(oldest) = kept.iter().min_by_key(|(_, value)| until(value)).map(|(key, _)| *key)
        else {
            return;
        };
        kept.remove(&oldest);
    }
}

/// Looking a token up by its hash takes the same time whatever it is.
fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn random_token() -> String {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).expect("every system Marline runs on has random numbers");
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Whether two tokens are the same, in a time that does not tell how much of them is.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    hash(one) == hash(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_000_000).expect("a time")
    }

    #[test]
    fn a_login_link_works_once() {
        let sessions = Sessions::default();
        let token = sessions.make_link(Actor::Person("ana".into()), now());
        let (cookie, _) = sessions.sign_in(&token, now()).expect("a fresh link");
        assert!(sessions.sign_in(&token, now()).is_none());
        assert_eq!(
            sessions.find(&cookie, now()).map(|session| session.actor),
            Some(Actor::Person("ana".into()))
        );
        sessions.sign_out(&cookie);
        assert!(sessions.find(&cookie, now()).is_none());
    }

    #[test]
    fn a_login_link_is_dead_after_ten_minutes() {
        let sessions = Sessions::default();
        let token = sessions.make_link(Actor::Person("ana".into()), now());
        assert!(sessions.sign_in(&token, now() + LINK_WORKS_FOR).is_none());
    }

    #[test]
    fn links_do_not_grow_without_bound() {
        let sessions = Sessions::default();
        for _ in 0..KEPT * 2 {
            sessions.make_link(Actor::Conductor, now());
        }
        let inner = sessions.inner.lock().expect("nobody panicked");
        assert!(inner.links.len() <= KEPT);
    }
}
