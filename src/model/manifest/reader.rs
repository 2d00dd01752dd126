//! Reads the fields of one object strictly and collects every fault: wrong types, wrong texts, fields nobody knows.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::model::filter::query::closest;
use crate::model::template::FieldError;

/// One object under reading. Each reader takes a field by its name, checks it and keeps it in its canonical form.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    /// JSON pointer of the object, empty at the top.
    path: String,
    object: &'a Map<String, Value>,
    known: Vec<&'static str>,
    out: Map<String, Value>,
    errors: Vec<FieldError>,
}

/// What a value is called in a message.
fn what(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A JSON pointer's segment: `~` and `/` are written `~0` and `~1` (RFC 6901).
pub(super) fn segment(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

impl<'a> Reader<'a> {
    pub(super) fn new(path: impl Into<String>, object: &'a Map<String, Value>) -> Self {
        let (known, out, errors) = (Vec::new(), Map::new(), Vec::new());
        Self { path: path.into(), object, known, out, errors }
    }

    /// What was read, and every fault; fields that no reader asked for are faults.
    pub(super) fn finish(mut self) -> (Map<String, Value>, Vec<FieldError>) {
        for name in self.object.keys().filter(|name| !self.known.contains(&name.as_str())) {
            let near = closest(name, self.known.iter().copied());
            let hint = match near {
                Some(near) => format!("did you mean {near}?"),
                None => format!("expected one of {}", self.known.join(", ")),
            };
            let shown: String = name.chars().take(80).collect();
            let path = format!("{}/{}", self.path, segment(&shown));
            self.errors.push(FieldError::new(path, format!("unknown field: {hint}")));
        }
        (self.out, self.errors)
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{}", self.path, segment(name))
    }

    pub(super) fn fault(&mut self, name: &str, message: impl Into<String>) {
        let path = self.path(name);
        self.errors.push(FieldError::new(path, message));
    }

    /// The field's value, unless it is missing or null; null is kept, as the wish for the default.
    fn field(&mut self, name: &'static str) -> Option<&'a Value> {
        if !self.known.contains(&name) {
            self.known.push(name);
        }
        match self.object.get(name)? {
            Value::Null => {
                self.out.insert(name.to_owned(), Value::Null);
                None
            }
            value => Some(value),
        }
    }

    /// A field that is written as it is read, after its own type has checked it (quantities, spans, enums, numbers).
    pub(super) fn of<T: DeserializeOwned + serde::Serialize>(
        &mut self,
        name: &'static str,
        expected: &str,
    ) {
        let Some(value) = self.field(name) else { return };
        match serde_json::from_value::<T>(value.clone()).map(serde_json::to_value) {
            Ok(Ok(read)) => drop(self.out.insert(name.to_owned(), read)),
            Ok(Err(error)) | Err(error) => {
                let said = error.to_string();
                let message = if said.contains("expected") && !said.starts_with("invalid ") {
                    said
                } else {
                    format!("expected {expected}, got {}", shown(value))
                };
                self.fault(name, message);
            }
        }
    }

    pub(super) fn text(&mut self, name: &'static str) -> Option<&'a str> {
        let value = self.field(name)?;
        let Value::String(text) = value else {
            self.fault(name, format!("expected a text, got {}", what(value)));
            return None;
        };
        self.out.insert(name.to_owned(), value.clone());
        Some(text)
    }

    pub(super) fn flag(&mut self, name: &'static str) {
        let Some(value) = self.field(name) else { return };
        if value.is_boolean() {
            self.out.insert(name.to_owned(), value.clone());
        } else {
            self.fault(name, format!("expected true or false, got {}", what(value)));
        }
    }

    pub(super) fn texts(&mut self, name: &'static str) {
        let Some(value) = self.field(name) else { return };
        let Value::Array(items) = value else {
            let message = format!("expected a list of texts, got {}", what(value));
            return self.fault(name, message);
        };
        for (at, item) in items.iter().enumerate().filter(|(_, item)| !item.is_string()) {
            let path = format!("{}/{at}", self.path(name));
            let message = format!("expected a text, got {} (put it in quotes)", what(item));
            self.errors.push(FieldError::new(path, message));
        }
        self.out.insert(name.to_owned(), value.clone());
    }

    /// Names and texts. Numbers and booleans must be quoted: `"8080"`, so that what is meant is what is stored.
    pub(super) fn pairs(&mut self, name: &'static str) {
        let Some(value) = self.field(name) else { return };
        let Value::Object(pairs) = value else {
            let message = format!("expected names and texts, got {}", what(value));
            return self.fault(name, message);
        };
        let mut sorted = BTreeMap::new();
        for (key, item) in pairs {
            if !item.is_string() {
                let path = format!("{}/{}", self.path(name), segment(key));
                let message = format!("expected a text, got {} (put it in quotes)", what(item));
                self.errors.push(FieldError::new(path, message));
            }
            sorted.insert(key.clone(), item.clone());
        }
        self.out.insert(name.to_owned(), Value::Object(sorted.into_iter().collect()));
    }

    /// An object whose own fields `read` reads.
    pub(super) fn object(&mut self, name: &'static str, read: impl FnOnce(&mut Reader<'a>)) {
        let Some(value) = self.field(name) else { return };
        let Value::Object(object) = value else {
            return self.fault(name, format!("expected an object, got {}", what(value)));
        };
        let mut inner = Reader::new(self.path(name), object);
        read(&mut inner);
        let (out, errors) = inner.finish();
        self.errors.extend(errors);
        self.out.insert(name.to_owned(), Value::Object(out));
    }

    /// An object that is kept as it is.
    pub(super) fn open(&mut self, name: &'static str) {
        self.any(name, "an object", Value::is_object);
    }

    /// A list that is kept as it is.
    pub(super) fn list(&mut self, name: &'static str) {
        self.any(name, "a list", Value::is_array);
    }

    fn any(&mut self, name: &'static str, expected: &str, fits: impl Fn(&Value) -> bool) {
        let Some(value) = self.field(name) else { return };
        if fits(value) {
            self.out.insert(name.to_owned(), value.clone());
        } else {
            self.fault(name, format!("expected {expected}, got {}", what(value)));
        }
    }

    /// A field that is no part of the document (a reference by name, resolved by the engine).
    pub(super) fn reference(&mut self, name: &'static str) -> Option<String> {
        let text = self.text(name).map(str::to_owned);
        self.out.remove(name);
        text
    }

    pub(super) fn value(&mut self, name: &'static str) -> Option<&'a Value> {
        self.field(name)
    }

    pub(super) fn is_null(&self, name: &str) -> bool {
        self.object.get(name).is_some_and(Value::is_null)
    }

    pub(super) fn keep(&mut self, name: &str, value: Value) {
        self.out.insert(name.to_owned(), value);
    }

    pub(super) fn faults(&mut self, under: &str, faults: impl IntoIterator<Item = FieldError>) {
        let path = self.path(under);
        let moved = faults
            .into_iter()
            .map(|fault| FieldError::new(path.clone() + &fault.path, fault.message));
        self.errors.extend(moved);
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(_) | Value::Number(_) | Value::Bool(_) => {
            value.to_string().chars().take(80).collect()
        }
        Value::Null | Value::Array(_) | Value::Object(_) => what(value).to_owned(),
    }
}
