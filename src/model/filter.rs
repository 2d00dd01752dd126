//! Provisional shape until the algorithms land; whoever merges takes the other side.
use serde_json::Value;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Field(String);

impl Field {
    pub fn new(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    All,
    Eq(Field, Value),
    Ne(Field, Value),
    Lt(Field, Value),
    Lte(Field, Value),
    Gt(Field, Value),
    Gte(Field, Value),
    In(Field, Vec<Value>),
    Contains(Field, Value),
    Exists(Field),
    Prefix(Field, String),
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Not(Box<Filter>),
}
