//! Who may ask: a token for each job, and a signature on each address where bytes come and go.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::Sha256;

/// How long a token serves; its service ends with the run, long before.
const TOKEN_SECONDS: i64 = 35 * 24 * 3600;

/// The longest token that is looked at.
const MAX_TOKEN: usize = 4096;

/// A key that nobody outside this process has.
pub(super) struct Key([u8; 32]);

/// What an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Bytes of an upload come in.
    Upload,
    /// An artifact goes out.
    Artifact,
    /// A cache goes out.
    Cache,
}

impl Use {
    pub fn word(self) -> &'static str {
        match self {
            Use::Upload => "upload",
            Use::Artifact => "artifact",
            Use::Cache => "cache",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        [Use::Upload, Use::Artifact, Use::Cache].into_iter().find(|one| one.word() == word)
    }
}

impl Key {
    pub fn new() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    fn mac(&self, parts: &[&str]) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("a key of any length serves HMAC");
        for part in parts {
            // Lengths keep two lists of parts apart that read the same.
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part.as_bytes());
        }
        mac
    }

    fn sign(&self, parts: &[&str]) -> String {
        URL_SAFE_NO_PAD.encode(self.mac(parts).finalize().into_bytes())
    }

    fn is_signed(&self, parts: &[&str], signature: &str) -> bool {
        let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else { return false };
        self.mac(parts).verify_slice(&signature).is_ok()
    }

    /// Makes the token of a job, in the shape of a JSON web token, as the clients take it apart.
    pub fn token(&self, run: u64, job: &str) -> String {
        let now = Timestamp::now().as_second();
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = part(serde_json::json!({"typ": "JWT", "alg": "HS256"}));
        let claims = part(serde_json::json!({
            "iss": "marline",
            "scp": format!("Actions.Results:{run}:{job}"),
            "nbf": now,
            "exp": now + TOKEN_SECONDS,
        }));
        let signature = self.sign(&[&header, &claims]);
        format!("{header}.{claims}.{signature}")
    }

    /// Returns the run and the job that a token is of, if it is one of ours and not too old.
    pub fn open(&self, token: &str) -> Option<(u64, String)> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let mut parts = token.split('.');
        let (header, claims, signature) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || !self.is_signed(&[header, claims], signature) {
            return None;
        }
        let claims: serde_json::Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        if claims.get("exp")?.as_i64()? < Timestamp::now().as_second() {
            return None;
        }
        let scope = claims.get("scp")?.as_str()?.strip_prefix("Actions.Results:")?;
        let (run, job) = scope.split_once(':')?;
        Some((run.parse().ok()?, job.to_owned()))
    }

    /// Returns the query of an address that may be used until a moment.
    pub fn query(&self, what: Use, id: u64, until: Timestamp) -> String {
        let until = until.as_second().to_string();
        let signature = self.sign(&[what.word(), &id.to_string(), &until]);
        format!("se={until}&sig={signature}")
    }

    /// Whether an address was given out by us and may be used still.
    pub fn allows(&self, what: Use, id: u64, until: &str, signature: &str) -> bool {
        let in_time = until.parse::<i64>().is_ok_and(|until| until >= Timestamp::now().as_second());
        in_time && self.is_signed(&[what.word(), &id.to_string(), until], signature)
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn a_token_opens_only_with_its_own_key() {
        let (key, other) = (Key::new().expect("is random"), Key::new().expect("is random"));
        let token = key.token(7, "job-1");
        assert_eq!(key.open(&token), Some((7, "job-1".to_owned())));
        assert_eq!(other.open(&token), None);
        let (body, signature) = token.rsplit_once('.').expect("has three parts");
        assert_eq!(key.open(body), None);
        assert_eq!(key.open(&format!("{body}.{signature}.x")), None);
        assert_eq!(key.open(&format!("{body}x.{signature}")), None);
        assert_eq!(key.open(&"x".repeat(5000)), None);
    }

    #[test]
    fn an_address_serves_for_one_thing_until_its_time() {
        let key = Key::new().expect("is random");
        let now = Timestamp::now();
        let later = now + SignedDuration::from_mins(5);
        let query = key.query(Use::Cache, 5, later);
        let (until, signature) = query.split_once("&sig=").expect("has both");
        let until = until.trim_start_matches("se=");
        assert!(key.allows(Use::Cache, 5, until, signature));
        assert!(!key.allows(Use::Artifact, 5, until, signature));
        assert!(!key.allows(Use::Cache, 6, until, signature));
        assert!(!key.allows(Use::Cache, 5, &format!("{until}0"), signature));
        let query = key.query(Use::Cache, 5, now - SignedDuration::from_mins(5));
        let (until, signature) = query.split_once("&sig=").expect("has both");
        assert!(!key.allows(Use::Cache, 5, until.trim_start_matches("se="), signature));
    }
}
