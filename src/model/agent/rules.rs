//! What names, labels and configurations must be like. Every fault is listed, with a JSON pointer and what was expected.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::{Agent, AgentConfig, ResourceList, Resources};
use crate::model::template::FieldError;

const MAX_LABELS: usize = 64;
const MAX_ENV: usize = 256;
const MAX_ENV_VALUE: usize = 32 * 1024;
const MAX_ARGUMENTS: usize = 256;
const MAX_TEXT: usize = 4 * 1024;
/// 10,000 cores and 1 PiB: beyond them an amount is a slip of the hand.
const MAX_CPU: u64 = 10_000_000;
const MAX_MEMORY: u64 = 1 << 50;
const HOUR: Duration = Duration::from_secs(3_600);
const SECOND: Duration = Duration::from_secs(1);

/// Set by the engine for every agent; a template cannot.
const OURS: [&str; 2] = ["CVXC_AGENT_ID", "CVXC_STORE"];
/// What marks a variable as a secret, as whole words of its name.
const SECRET_WORDS: [&str; 8] =
    ["PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN", "CREDENTIAL", "CREDENTIALS", "APIKEY"];
/// Words that mark a secret before `KEY`: `API_KEY`, not `PARTITION_KEY`.
const KEY_WORDS: [&str; 7] = ["API", "ACCESS", "PRIVATE", "SECRET", "SIGNING", "ENCRYPTION", "SSH"];
/// How a secret is named instead of written.
pub const SECRET_PREFIX: &str = "secret://";

pub(in crate::model) fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Names of agents, pools and templates: 1 to 63 of letters, digits, `-`, `_`, `.`, beginning with a letter or digit.
pub fn is_name(text: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    text.len() <= 63
        && text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && text.bytes().all(fine)
}

/// `noun` is the word of the message: `template name is required`.
pub(in crate::model) fn name(faults: &mut Vec<FieldError>, noun: &str, text: &str) {
    if text.is_empty() {
        faults.push(FieldError::new("/name", format!("{noun} name is required")));
    } else if !is_name(text) {
        let message = format!(
            "expected 1 to 63 letters, digits, '-', '_' or '.', beginning with a letter or digit, got {:?}",
            shown(text)
        );
        faults.push(FieldError::new("/name", message));
    } else if is_like_an_id(text) {
        // things are called by name or by id: one must never be taken for the other
        let message = "expected a name that does not look like an id";
        faults.push(FieldError::new("/name", message));
    }
}

/// Ends in `-` and the 32 hexadecimal digits of a UUID, as every id does.
fn is_like_an_id(text: &str) -> bool {
    text.rsplit_once('-')
        .is_some_and(|(_, end)| end.len() == 32 && end.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The `type` of an agent: what subscriptions and selectors know it by.
pub(in crate::model) fn kind(faults: &mut Vec<FieldError>, text: &str) {
    if !is_name(text) {
        let message = format!(
            "expected a type such as worker: 1 to 63 letters, digits, '-', '_' or '.', got {:?}",
            shown(text)
        );
        faults.push(FieldError::new("/type", message));
    }
}

pub(in crate::model) fn long_text(faults: &mut Vec<FieldError>, path: &str, text: &str) {
    if text.len() > MAX_TEXT {
        let got = text.len();
        faults.push(FieldError::new(path, format!("expected at most {MAX_TEXT} bytes, got {got}")));
    }
}

/// Label keys `[A-Za-z0-9]([-A-Za-z0-9_./]{0,61}[A-Za-z0-9])?`; values the same without `/`, or empty.
pub(in crate::model) fn labels(faults: &mut Vec<FieldError>, of: &BTreeMap<String, String>) {
    if of.len() > MAX_LABELS {
        let got = of.len();
        faults
            .push(FieldError::new("/labels", format!("expected at most {MAX_LABELS}, got {got}")));
    }
    let ends = |text: &str| {
        let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
        edge(text.bytes().next()) && edge(text.bytes().last()) && text.len() <= 63
    };
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    for (key, value) in of.iter().take(MAX_LABELS) {
        let path = format!("/labels/{}", pointer(key));
        if !(ends(key) && key.bytes().all(|byte| fine(byte) || byte == b'/')) {
            let message = "expected a label name such as tier: 1 to 63 letters, digits, '-', '_', '.' or '/', beginning and ending with a letter or digit";
            faults.push(FieldError::new(path.clone(), message));
        }
        if !(value.is_empty() || (ends(value) && value.bytes().all(fine))) {
            let message = format!(
                "expected a label value such as gold: at most 63 letters, digits, '-', '_' or '.', beginning and ending with a letter or digit, got {:?}",
                shown(value)
            );
            faults.push(FieldError::new(path, message));
        }
    }
}

fn pointer(segment: &str) -> String {
    shown(segment).replace('~', "~0").replace('/', "~1")
}

impl Agent {
    /// Every fault of what an operator may set; nothing of what the engine keeps.
    pub fn validate(&self) -> Vec<FieldError> {
        let mut faults = Vec::new();
        name(&mut faults, "agent", &self.name);
        kind(&mut faults, &self.kind);
        labels(&mut faults, &self.labels);
        self.config.validate(&mut faults, "/config");
        faults
    }
}

impl AgentConfig {
    /// Adds every fault, with paths that begin with `at`.
    pub fn validate(&self, faults: &mut Vec<FieldError>, at: &str) {
        let texts = [("command", &self.command), ("args", &self.args)];
        for (field, list) in texts {
            if list.len() > MAX_ARGUMENTS {
                let message = format!("expected at most {MAX_ARGUMENTS}, got {}", list.len());
                faults.push(FieldError::new(format!("{at}/{field}"), message));
            }
            for (i, _) in list.iter().enumerate().filter(|(_, text)| text.contains('\0')) {
                let path = format!("{at}/{field}/{i}");
                faults.push(FieldError::new(path, "a NUL character cannot be passed to a program"));
            }
        }
        if self.command.first().is_some_and(String::is_empty) {
            faults.push(FieldError::new(format!("{at}/command/0"), "expected a program"));
        }
        if self.image.chars().any(|c| c.is_whitespace() || c.is_control()) {
            let message = "expected an image such as registry/name:tag, without spaces";
            faults.push(FieldError::new(format!("{at}/image"), message));
        }
        env(faults, at, &self.env);
        resources(faults, at, &self.resources);
        let spans = [
            ("grace", self.grace, Duration::ZERO),
            ("start_timeout", self.start_timeout, SECOND),
            ("heartbeat/interval", self.heartbeat.interval, SECOND),
        ];
        for (field, span, least) in spans {
            if span < least || span > HOUR {
                let least = if least.is_zero() { "0s" } else { "1s" };
                let message = format!("expected {least} to 1h, got {span:?}");
                faults.push(FieldError::new(format!("{at}/{field}"), message));
            }
        }
    }

    /// What only a platform administrator may grant (the Pod Security profile `restricted`).
    pub fn privileges(&self, at: &str) -> Vec<FieldError> {
        let mut found = Vec::new();
        let mut add = |field: &str, message: &str| {
            let message = format!("validation failed for security_settings: {message}");
            found.push(FieldError::new(format!("{at}/{field}"), message));
        };
        if self.security.privileged {
            add("security/privileged", "a privileged agent needs the role platform-admin");
        }
        if self.security.run_as_user == Some(0) {
            add("security/run_as_user", "running as root needs the role platform-admin");
        }
        if self.security.run_as_group == Some(0) {
            add("security/run_as_group", "running in group root needs the role platform-admin");
        }
        let volumes = self.pod.get("volumes").and_then(Value::as_array);
        let on_host = |volume: &Value| {
            ["hostPath", "host_path"].iter().any(|name| volume.get(name).is_some())
        };
        for (i, _) in volumes.into_iter().flatten().enumerate().filter(|(_, it)| on_host(it)) {
            add(&format!("pod/volumes/{i}"), "a volume of the host needs the role platform-admin");
        }
        found
    }

    /// What is allowed and yet unwise, in words.
    pub fn doubts(&self) -> Vec<String> {
        let name = self.image.rsplit('/').next().unwrap_or_default();
        let digest = self.image.contains('@');
        let tag = name.split_once(':').map(|(_, tag)| tag);
        match tag {
            _ if self.image.is_empty() || digest => Vec::new(),
            Some(tag) if tag != "latest" => Vec::new(),
            Some(_) | None => vec![format!(
                "image {} has no fixed tag: what runs may change without a new version",
                shown(&self.image)
            )],
        }
    }
}

fn env(faults: &mut Vec<FieldError>, at: &str, env: &BTreeMap<String, String>) {
    let mut add = |path: String, message: String| {
        let message = format!("validation failed for environment_variables: {message}");
        faults.push(FieldError::new(path, message));
    };
    if env.len() > MAX_ENV {
        add(format!("{at}/env"), format!("expected at most {MAX_ENV}, got {}", env.len()));
    }
    for (name, value) in env.iter().take(MAX_ENV) {
        let path = format!("{at}/env/{}", pointer(name));
        if !is_variable(name) {
            add(path.clone(), "expected a name such as LOG_LEVEL: letters, digits and '_'".into());
        } else if OURS.contains(&name.as_str()) {
            add(path.clone(), format!("{name} is set by the engine"));
        } else if is_secret(name) && !value.is_empty() && !value.starts_with(SECRET_PREFIX) {
            // the value itself is left out: it may be the secret
            let message = format!(
                "{name} looks like a secret and its value is written out: refer to it, such as {SECRET_PREFIX}{}",
                name.to_ascii_lowercase().replace('_', "-")
            );
            add(path.clone(), message);
        }
        if value.contains('\0') {
            add(path.clone(), "a NUL character cannot be passed to a program".into());
        }
        if value.len() > MAX_ENV_VALUE {
            add(path, format!("expected at most 32 KiB, got {} bytes", value.len()));
        }
    }
}

fn is_variable(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    first
        && name.len() <= 255
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Whether a variable's name says that its value is a secret.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let words: Vec<&str> = name.split('_').collect();
    words.iter().any(|word| SECRET_WORDS.contains(word))
        || words.windows(2).any(|pair| pair[1] == "KEY" && KEY_WORDS.contains(&pair[0]))
}

fn resources(faults: &mut Vec<FieldError>, at: &str, of: &Resources) {
    let mut add = |path: String, message: String| {
        let message = format!("validation failed for resource_requirements: {message}");
        faults.push(FieldError::new(path, message));
    };
    for (part, list) in [("requests", &of.requests), ("limits", &of.limits)] {
        let path = |field| format!("{at}/resources/{part}/{field}");
        let ResourceList { cpu, memory } = *list;
        if let Some(cpu) = cpu.filter(|cpu| cpu.0 == 0 || cpu.0 > MAX_CPU) {
            add(path("cpu"), format!("expected 1m to 10000 cores, got {cpu}"));
        }
        if let Some(memory) = memory.filter(|it| it.0 == 0 || it.0 > MAX_MEMORY) {
            add(path("memory"), format!("expected 1 byte to 1Pi, got {memory}"));
        }
    }
    if let (Some(request), Some(limit)) = (of.requests.cpu, of.limits.cpu)
        && request > limit
    {
        let message = format!("expected at most the limit {limit}, got {request}");
        add(format!("{at}/resources/requests/cpu"), message);
    }
    if let (Some(request), Some(limit)) = (of.requests.memory, of.limits.memory)
        && request > limit
    {
        let message = format!("expected at most the limit {limit}, got {request}");
        add(format!("{at}/resources/requests/memory"), message);
    }
}

#[cfg(test)]
mod tests;
