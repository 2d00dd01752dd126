//! Provisional shape until the algorithms land; whoever merges takes the other side.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Safe(std::sync::Arc<str>);

impl Safe {
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
