//! What a request says of itself, by the specification of Standard Webhooks: an id, the time, and a signature over both
//! and the body.

use anyhow::{Context as _, Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use ring::hmac;

/// Names and values of headers.
pub(super) type Headers = Vec<(&'static str, String)>;

/// What requests are signed with.
pub(super) struct Key(hmac::Key);

/// A shorter secret could be guessed.
const SHORTEST: usize = 16;

impl Key {
    /// `whsec_` and base64, as the specification writes secrets, or the bytes as they are.
    pub(super) fn new(secret: &[u8]) -> Result<Self> {
        let decoded;
        let bytes = match secret.strip_prefix(b"whsec_") {
            Some(encoded) => {
                decoded = BASE64_STANDARD.decode(encoded);
                decoded.as_deref().ok().context("what follows whsec_ is no base64")?
            }
            None => secret,
        };
        ensure!(bytes.len() >= SHORTEST, "a secret of less than {SHORTEST} bytes");
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
    }

    /// The headers of a signed request.
    pub(super) fn headers(&self, id: &str, time: Timestamp, body: &[u8]) -> Headers {
        let seconds = time.as_second().to_string();
        let mut context = hmac::Context::with_key(&self.0);
        for part in [id.as_bytes(), b".", seconds.as_bytes(), b".", body] {
            context.update(part);
        }
        let signature = format!("v1,{}", BASE64_STANDARD.encode(context.sign()));
        let mut headers = unsigned(id);
        headers.extend([("webhook-timestamp", seconds), ("webhook-signature", signature)]);
        headers
    }
}

/// The headers of one that is not signed.
pub(super) fn unsigned(id: &str) -> Headers {
    vec![("webhook-id", id.to_owned())]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The specification's own example.
    #[test]
    fn a_signature_is_as_the_specification_has_it() {
        let key = Key::new(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let time = Timestamp::from_second(1_614_265_330).unwrap();
        let headers = key.headers("msg_p5jXN8AQM9LWM0D4loKWxJek", time, br#"{"test": 2432232314}"#);
        let expected = [
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ];
        assert_eq!(headers, expected.map(|(name, value)| (name, value.to_owned())));
    }

    #[test]
    fn a_secret_is_long_and_encoded_as_it_says() {
        let reason = |secret: &[u8]| Key::new(secret).err().map(|error| error.to_string());
        assert_eq!(reason(b"0123456789abcdef"), None);
        assert_eq!(reason(b"short").unwrap(), "a secret of less than 16 bytes");
        assert_eq!(reason(b"whsec_???").unwrap(), "what follows whsec_ is no base64");
    }
}
