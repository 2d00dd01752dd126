//! Names for ever: validated ids behind one type a noun, so that a pool's id is never taken for an agent's.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, de};

/// Why a text cannot be an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} {text:?} is not a valid id: expected 1 to 63 characters of a-z, 0-9 and '-', starting and ending with a letter or digit"
)]
pub struct BadId {
    pub what: &'static str,
    pub text: String,
}

/// Checks `[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?`: safe as a store key, a workload name and a path segment.
pub fn is_valid(text: &str) -> bool {
    let bytes = text.as_bytes();
    let alnum = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => {
            bytes.len() <= 63
                && alnum(*first)
                && alnum(*last)
                && bytes.iter().all(|byte| alnum(*byte) || *byte == b'-')
        }
        _ => false,
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// What ids that we mint begin with, before `-` and a UUID version 7.
            pub const PREFIX: &'static str = $prefix;

            /// # Errors
            /// [`BadId`] when `text` breaks the rule of [`is_valid`].
            pub fn new(text: &str) -> Result<Self, BadId> {
                if is_valid(text) { Ok(Self(text.into())) }
                else { Err(BadId { what: $prefix, text: text.chars().take(80).collect() }) }
            }

            /// The id for a freshly drawn UUID (version 7, so ids sort by age).
            pub fn mint(uuid: uuid::Uuid) -> Self {
                Self(format!("{}-{}", $prefix, uuid.simple()).into())
            }

            pub fn as_str(&self) -> &str { &self.0 }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }

        impl AsRef<str> for $name { fn as_ref(&self) -> &str { &self.0 } }

        impl std::borrow::Borrow<str> for $name { fn borrow(&self) -> &str { &self.0 } }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
                Self::new(&text).map_err(de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// Names one agent for ever.
    AgentId = "agent",
    /// Names one pool.
    PoolId = "pool",
    /// Names one template; its versions are numbered beside it.
    TemplateId = "template",
    /// Names one direct message.
    MessageId = "msg",
    /// Names one published event.
    PublicationId = "pub",
    /// Names one subscription.
    SubscriptionId = "sub",
    /// Names one operation.
    OperationId = "op",
}

impl AgentId {
    /// What the names of pools' own workloads begin with, and so the ids of their copies: `agent-pool-<pool>-…`.
    pub const OF_CREWS: &'static str = "agent-pool-";

    /// Whether it is one of the copies of its pool's workload, which the runtime makes and ends.
    pub fn is_of_crew(&self) -> bool {
        self.as_str().starts_with(Self::OF_CREWS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dns_safe_texts_are_ids() {
        for good in ["a", "a-b", "0", "agent-0197", &"x".repeat(63)] {
            assert!(is_valid(good), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a_b",
            "a.b",
            "../x",
            "//h:1/x",
            "a b",
            "ä",
            "a\n",
            &"x".repeat(64),
        ] {
            assert!(!is_valid(bad), "{bad}");
        }
    }

    #[test]
    fn a_minted_id_is_valid() {
        let id = AgentId::mint(uuid::Uuid::nil());
        assert_eq!(AgentId::new(id.as_str()), Ok(id));
    }
}
