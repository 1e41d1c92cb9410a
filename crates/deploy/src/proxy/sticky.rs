//! Clients that stay with the instance that answered them first, by a cookie.

use std::{collections::HashMap, sync::Arc};

use http::{HeaderMap, HeaderValue, header::COOKIE};
use journal::InstanceId;
use sha2::{Digest, Sha256};

use super::instance::Instance;

/// The instances of a service by what their cookie holds.
#[derive(Debug)]
pub(super) struct Sticky {
    cookie: String,
    instances: HashMap<String, Arc<Instance>>,
}

impl Sticky {
    pub fn new<'a>(cookie: &str, instances: impl Iterator<Item = &'a Arc<Instance>>) -> Self {
        let by_value = |one: &Arc<Instance>| (value_of(&one.target.instance), Arc::clone(one));
        Self { cookie: cookie.to_owned(), instances: instances.map(by_value).collect() }
    }

    /// Returns the instance that a client stays with, if it still gets requests.
    pub fn find(&self, headers: &HeaderMap) -> Option<Arc<Instance>> {
        let cookies = headers.get_all(COOKIE).iter();
        let mut pairs = cookies.flat_map(|value| value.to_str().unwrap_or_default().split(';'));
        let value = pairs.find_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            (name.trim() == self.cookie).then(|| value.trim())
        });
        self.instances.get(value?).cloned()
    }

    /// Returns the cookie that keeps a client with an instance.
    pub fn cookie(&self, instance: &InstanceId, is_encrypted: bool) -> Option<HeaderValue> {
        let secure = if is_encrypted { "; Secure" } else { "" };
        let (name, value) = (&self.cookie, value_of(instance));
        let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}");
        HeaderValue::from_str(&cookie).ok()
    }
}

/// Returns what a cookie holds: enough to find an instance again, and nothing about it.
fn value_of(instance: &InstanceId) -> String {
    let digest = Sha256::digest(instance.as_str().as_bytes());
    let first = digest[..8].iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    format!("{first:016x}")
}
