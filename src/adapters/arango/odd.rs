//! What ArangoDB does not keep: a field without a name at the top of a document, and the sign of a zero. Documents with
//! such oddities carry a note of them in a field of their own; all others are stored as they are.

use serde_json::{Map, Value, json};

use crate::ports::store::Body;

/// The field of the note.
pub(super) const NOTE: &str = "cvxc_odd";

/// Makes the body one that the server keeps.
pub(super) fn hide(mut body: Body) -> Body {
    let mut zeros = Vec::new();
    for (name, value) in &body {
        find_zeros(value, &mut vec![name.as_str().into()], &mut zeros);
    }
    let at = body.keys().position(String::is_empty);
    let nameless = at.and_then(|at| body.shift_remove("").map(|value| json!([at, value])));
    if zeros.is_empty() && nameless.is_none() {
        return body;
    }
    body.insert(NOTE.to_owned(), json!({"zeros": zeros, "nameless": nameless}));
    body
}

/// The body as it was.
pub(super) fn show(body: &mut Body) {
    let Some(note) = body.shift_remove(NOTE) else { return };
    if let Some(nameless) = note.get("nameless").and_then(Value::as_array)
        && let [at, value] = nameless.as_slice()
    {
        let at = at.as_u64().and_then(|at| usize::try_from(at).ok()).unwrap_or_default();
        body.shift_insert(at.min(body.len()), String::new(), value.clone());
    }
    let zeros = note.get("zeros").and_then(Value::as_array);
    for path in zeros.into_iter().flatten().filter_map(Value::as_array) {
        if let Some(value) = reach(body, path)
            && value.as_f64() == Some(0.0)
        {
            *value = json!(-0.0);
        }
    }
}

fn find_zeros(value: &Value, path: &mut Vec<Value>, into: &mut Vec<Value>) {
    match value {
        Value::Number(number) => {
            if number.as_f64().is_some_and(|real| real == 0.0 && real.is_sign_negative()) {
                into.push(path.clone().into());
            }
        }
        Value::Array(list) => {
            for (at, value) in list.iter().enumerate() {
                path.push(at.into());
                find_zeros(value, path, into);
                path.pop();
            }
        }
        Value::Object(map) => {
            for (name, value) in map {
                path.push(name.as_str().into());
                find_zeros(value, path, into);
                path.pop();
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

fn reach<'a>(body: &'a mut Map<String, Value>, path: &[Value]) -> Option<&'a mut Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(body.get_mut(first.as_str()?)?, |here, step| match step {
        Value::String(name) => here.get_mut(name.as_str()),
        step => here.get_mut(usize::try_from(step.as_u64()?).ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_is_shown_again_and_plain_documents_stay() {
        let Value::Object(odd) =
            json!({"a": [1, {"b": -0.0}], "": "nameless", "c": 0, "d": {"": -0.0}})
        else {
            panic!("an object")
        };
        let mut hidden = hide(odd.clone());
        assert!(!hidden.contains_key("") && hidden.contains_key(NOTE));
        hidden["a"][1]["b"] = json!(0);
        show(&mut hidden);
        assert_eq!(Value::Object(hidden.clone()).to_string(), Value::Object(odd).to_string());
        let Value::Object(plain) = json!({"a": 0, "b": [{}]}) else { panic!("an object") };
        assert_eq!(hide(plain.clone()), plain);
    }
}
