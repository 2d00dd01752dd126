//! Who we are, told with each request: user and password, or a token that is renewed before it expires.

use http::HeaderValue;
use serde_json::Value;
use tokio::sync::Mutex;
use url::Url;

use crate::model::time::Time;

use super::fault::Failure;
use super::http::lost;
use super::options::{ArangoOptions, Login};

/// A token is renewed when less than this part of its life is left.
const LAST_PART: i64 = 5;

#[derive(Debug, Clone)]
struct Token {
    header: HeaderValue,
    /// Milliseconds of the epoch.
    renew_at: i64,
}

/// The login of one pool of connections.
pub(super) struct Session {
    options: ArangoOptions,
    basic: Option<HeaderValue>,
    token: Mutex<Option<Token>>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session")
    }
}

impl Session {
    pub(super) fn new(options: &ArangoOptions) -> Self {
        let pair = format!("{}:{}", options.username, options.password.reveal());
        let basic = HeaderValue::from_str(&format!("Basic {}", base64(pair.as_bytes())));
        let basic = basic.ok().map(|mut header| {
            header.set_sensitive(true);
            header
        });
        Self { options: options.clone(), basic, token: Mutex::default() }
    }

    /// The header to send; a token is fetched or renewed first where it must be.
    pub(super) async fn header(
        &self,
        client: &reqwest::Client,
        base: &Url,
        now: Time,
    ) -> Result<Option<HeaderValue>, Failure> {
        if self.options.login == Login::Basic {
            return Ok(self.basic.clone());
        }
        let mut token = self.token.lock().await;
        if let Some(known) = token.as_ref().filter(|known| now.millis() < known.renew_at) {
            return Ok(Some(known.header.clone()));
        }
        let fresh = self.fetch(client, base, now).await?;
        let header = fresh.header.clone();
        *token = Some(fresh);
        Ok(Some(header))
    }

    /// Drops a token that was refused; true when another is worth a try.
    pub(super) async fn forget(&self, used: &Option<HeaderValue>) -> bool {
        if self.options.login == Login::Basic {
            return false;
        }
        let mut token = self.token.lock().await;
        if token.as_ref().map(|token| &token.header) == used.as_ref() {
            *token = None;
        }
        true
    }

    async fn fetch(
        &self,
        client: &reqwest::Client,
        base: &Url,
        now: Time,
    ) -> Result<Token, Failure> {
        let mut url = base.clone();
        url.set_path("/_open/auth");
        let body = serde_json::json!({
            "username": self.options.username, "password": self.options.password.reveal(),
        });
        let sent = client.post(url).timeout(self.options.request_timeout).body(body.to_string());
        // no request of the caller's has begun yet, whatever comes of this one
        let unbegun = |failure: Failure| match failure {
            Failure::Silent(text) => Failure::Refused(text),
            other => other,
        };
        let response = sent.send().await.map_err(|error| unbegun(lost(base, error)))?;
        let status = response.status().as_u16();
        let answer = response.bytes().await.map_err(|error| unbegun(lost(base, error)))?;
        if status >= 400 {
            return Err(Failure::answered(status, &answer));
        }
        let parsed: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let odd = || Failure::Strange("ArangoDB answered a login without a token".to_owned());
        let jwt = parsed.get("jwt").and_then(Value::as_str).ok_or_else(odd)?;
        let mut header = HeaderValue::from_str(&format!("bearer {jwt}")).map_err(|_| odd())?;
        header.set_sensitive(true);
        let life = expiry(jwt).map_or(60_000, |at| (at - now.millis()).max(0));
        Ok(Token { header, renew_at: now.millis() + life - life / LAST_PART })
    }
}

/// When a token expires, in milliseconds of the epoch.
fn expiry(jwt: &str) -> Option<i64> {
    let payload = unbase64url(jwt.split('.').nth(1)?)?;
    let claims: Value = serde_json::from_slice(&payload).ok()?;
    claims.get("exp").and_then(Value::as_f64).map(|seconds| (seconds * 1_000.0) as i64)
}

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// With padding: strict proxies want it.
fn base64(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        let word = word << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * at) & 63) as usize];
            let shown = if at <= chunk.len() { char::from(letter) } else { '=' };
            out.push(shown);
        }
    }
    out
}

fn unbase64url(text: &str) -> Option<Vec<u8>> {
    let (mut word, mut bits, mut out) = (0_u32, 0, Vec::new());
    for letter in text.trim_end_matches('=').bytes() {
        let letter = match letter {
            b'-' => b'+',
            b'_' => b'/',
            other => other,
        };
        let value = LETTERS.iter().position(|known| *known == letter)?;
        word = word << 6 | u32::try_from(value).ok()?;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push(u8::try_from(word >> bits & 255).ok()?);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_written_and_read_as_everybody_does() {
        for (plain, written) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("root:", "cm9vdDo=")]
        {
            assert_eq!(base64(plain.as_bytes()), written);
            assert_eq!(unbase64url(written).unwrap(), plain.as_bytes());
        }
        assert_eq!(unbase64url("_-8").unwrap(), [0xff, 0xef]);
        assert_eq!(unbase64url("a b"), None);
    }

    #[test]
    fn a_tokens_end_is_read_from_it() {
        let payload = base64(br#"{"exp":1700000000.5,"iss":"arangodb"}"#);
        assert_eq!(expiry(&format!("h.{payload}.s")), Some(1_700_000_000_500));
        assert_eq!(expiry("nonsense"), None);
    }
}
