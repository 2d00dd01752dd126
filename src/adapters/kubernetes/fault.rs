//! What Kubernetes' refusals and silences mean for the engine: to be told to the operator, tried again, or asked about.

use kube::core::Status;
use kube::core::response::reason;

use crate::ports::runtime::RuntimeError;

/// Whether the request would have changed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Read,
    Write,
}

/// How a request to the API server failed.
pub fn of(error: kube::Error, kind: Kind) -> RuntimeError {
    match error {
        kube::Error::Api(status) => refusal(&status),
        // the request never went out whole, or was never made
        kube::Error::BuildRequest(error) => {
            RuntimeError::Rejected { message: format!("the request cannot be made: {error}") }
        }
        kube::Error::Auth(error) => RuntimeError::Unavailable(Box::new(error)),
        error if kind == Kind::Write && may_have_happened(&error) => {
            RuntimeError::OutcomeUnknown(Box::new(error))
        }
        error => RuntimeError::Unavailable(Box::new(error)),
    }
}

/// A connection that could not be made carried no request.
fn may_have_happened(error: &kube::Error) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if cause.downcast_ref::<std::io::Error>().is_some_and(|io| {
            matches!(
                io.kind(),
                std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::NotFound
            )
        }) {
            return false;
        }
        source = cause.source();
    }
    true
}

/// What the API server answered instead of doing it.
pub fn refusal(status: &Status) -> RuntimeError {
    let said = if status.message.is_empty() { &status.reason } else { &status.message };
    let message = said.clone();
    match status.code {
        401 => {
            let text = format!("the cluster does not accept our credentials: {message}");
            RuntimeError::Unavailable(text.into())
        }
        403 if is_going(status) => RuntimeError::Unavailable(message.into()),
        403 if is_about_rights(status) => RuntimeError::Forbidden { message },
        // quota, LimitRange, PodSecurity, a webhook: about the workload, not about who asks
        403 => RuntimeError::Rejected { message },
        404 if is_about_namespace(status) => RuntimeError::Unavailable(message.into()),
        // somebody else was faster: look again
        409 if status.reason != reason::ALREADY_EXISTS && !is_field_conflict(status) => {
            RuntimeError::Unavailable(message.into())
        }
        408 | 429 | 500..=599 => {
            RuntimeError::Unavailable(format!("{message} ({})", status.code).into())
        }
        _ => RuntimeError::Rejected { message },
    }
}

/// The namespace is being deleted.
fn is_going(status: &Status) -> bool {
    causes(status).any(|cause| cause.reason == "NamespaceTerminating")
}

/// RBAC says who may not do what to what; nothing else that refuses with 403 words it so.
fn is_about_rights(status: &Status) -> bool {
    status.message.contains(" cannot ") && status.message.contains("User \"")
}

fn is_about_namespace(status: &Status) -> bool {
    status.details.as_ref().is_some_and(|details| details.kind == "namespaces")
}

/// Another field manager owns a field that was applied with another value.
pub fn is_field_conflict(status: &Status) -> bool {
    status.code == 409 && causes(status).any(|cause| cause.reason == "FieldManagerConflict")
}

/// The disruption budget that refuses an eviction, in the cluster's words, which name it.
pub fn budget(status: &Status) -> Option<String> {
    let cause = causes(status).find(|cause| cause.reason == "DisruptionBudget")?;
    Some(join_words(&status.message, &cause.message))
}

fn join_words(what: &str, why: &str) -> String {
    match (what.trim_end_matches('.'), why) {
        ("", why) => why.to_owned(),
        (what, "") => what.to_owned(),
        (what, why) => format!("{what}: {why}"),
    }
}

/// Whether all that others own of what was applied is this field.
pub fn is_only_over(status: &Status, field: &str) -> bool {
    let conflicts = causes(status).filter(|cause| cause.reason == "FieldManagerConflict");
    conflicts.map(|cause| cause.field.as_str()).all(|at| at == field)
}

/// Who owns the fields of a conflict: `conflict with "kubectl" using apps/v1`.
pub fn owners(status: &Status) -> Vec<String> {
    let quoted = |message: &str| message.split('"').nth(1).map(str::to_owned);
    let mut owners: Vec<String> = causes(status)
        .filter(|cause| cause.reason == "FieldManagerConflict")
        .filter_map(|cause| quoted(&cause.message))
        .collect();
    owners.sort();
    owners.dedup();
    owners
}

fn causes(status: &Status) -> impl Iterator<Item = &kube::core::response::StatusCause> {
    status.details.iter().flat_map(|details| &details.causes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::store::Advice;
    use serde_json::json;

    fn answered(
        code: u16,
        reason: &str,
        message: &str,
        details: serde_json::Value,
    ) -> RuntimeError {
        let status = json!({"status": "Failure", "code": code, "reason": reason, "message": message, "details": details});
        refusal(&serde_json::from_value::<Status>(status).unwrap())
    }

    #[test]
    fn refusals_are_told_apart_by_what_helps_against_them() {
        let rights = "deployments.apps is forbidden: User \"limited\" cannot patch resource \"deployments\" in API group \"apps\" in the namespace \"default\"";
        assert!(matches!(
            answered(403, "Forbidden", rights, json!({})),
            RuntimeError::Forbidden { .. }
        ));
        let quota = "deployments.apps \"agent-a\" is forbidden: exceeded quota: small, requested: count/deployments.apps=1";
        let said = answered(403, "Forbidden", quota, json!({}));
        assert!(
            matches!(&said, RuntimeError::Rejected { message } if message.contains("exceeded quota"))
        );
        let invalid = answered(422, "Invalid", "spec.replicas: Invalid value", json!({}));
        assert!(matches!(invalid, RuntimeError::Rejected { .. }));
        for code in [401, 408, 429, 500, 503] {
            assert_eq!(answered(code, "", "no", json!({})).advice(), Advice::RetryLater, "{code}");
        }
    }

    #[test]
    fn a_namespace_that_is_gone_or_going_is_waited_for() {
        let gone = answered(
            404,
            "NotFound",
            "namespaces \"x\" not found",
            json!({"kind": "namespaces", "name": "x"}),
        );
        assert_eq!(gone.advice(), Advice::RetryLater);
        let going = json!({"causes": [{"reason": "NamespaceTerminating", "message": "namespace x is being terminated"}]});
        assert_eq!(
            answered(403, "Forbidden", "being terminated", going).advice(),
            Advice::RetryLater
        );
    }

    #[test]
    fn a_conflict_over_fields_names_who_owns_them() {
        let details = json!({"causes": [
            {"reason": "FieldManagerConflict", "message": "conflict with \"kubectl\" using apps/v1", "field": ".spec.replicas"},
            {"reason": "FieldManagerConflict", "message": "conflict with \"kubectl\" using apps/v1", "field": ".spec.template"},
        ]});
        let status = json!({"code": 409, "reason": "Conflict", "message": "Apply failed", "details": details});
        let status: Status = serde_json::from_value(status).unwrap();
        assert!(is_field_conflict(&status));
        assert_eq!(owners(&status), ["kubectl"]);
        assert!(matches!(refusal(&status), RuntimeError::Rejected { .. }));
    }
}
