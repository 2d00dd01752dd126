//! A command beside the agent, in its container.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Api;
use kube::api::AttachParams;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::client::Cluster;
use super::fault::{self, Kind};
use super::manifest::CONTAINER;
use crate::ports::runtime::{ExecResult, RuntimeError};

/// More than this of each stream is not kept.
const MOST: u64 = 1 << 20;

/// # Errors
/// `OutcomeUnknown` when the command has not ended within `limit`; else those of the API server.
pub async fn run(
    cluster: &Cluster,
    pod: &str,
    command: &[String],
    limit: Duration,
) -> Result<ExecResult, RuntimeError> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let params =
        AttachParams::default().container(CONTAINER).stdin(false).stdout(true).stderr(true);
    let run = async {
        let begun = api.exec(pod, command.iter().map(String::as_str), &params).await;
        let mut process = begun.map_err(|error| fault::of(error, Kind::Write))?;
        let (out, err, status) = (process.stdout(), process.stderr(), process.take_status());
        let status = async {
            match status {
                Some(status) => status.await,
                None => None,
            }
        };
        let (stdout, stderr, status) = tokio::join!(drain(out), drain(err), status);
        let code = match &status {
            Some(status) => code(status).ok_or_else(|| never_run(status))?,
            // the connection ended without a word about the command
            None => {
                return Err(RuntimeError::OutcomeUnknown("the command's end was not told".into()));
            }
        };
        Ok(ExecResult { code, stdout, stderr })
    };
    // dropping it closes the connection, and with it the command
    timeout(limit, run).await.unwrap_or_else(|_| {
        Err(RuntimeError::OutcomeUnknown(
            format!("the command did not end within {limit:?}").into(),
        ))
    })
}

/// Everything that is said, of which the first part is kept; a command must not wait for a reader.
async fn drain(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut kept = Vec::new();
    if let Some(mut stream) = stream {
        // what was read until it broke is what there is
        drop((&mut stream).take(MOST).read_to_end(&mut kept).await);
        drop(tokio::io::copy(&mut stream, &mut tokio::io::sink()).await);
    }
    kept
}

/// The exit code; `None` when the command was never run.
pub(super) fn code(status: &Status) -> Option<i32> {
    if status.status.as_deref() == Some("Success") {
        return Some(0);
    }
    let causes = status.details.iter().flat_map(|details| details.causes.iter().flatten());
    let mut codes = causes.filter(|cause| cause.reason.as_deref() == Some("ExitCode"));
    if let Some(cause) = codes.next() {
        return cause.message.as_deref()?.parse().ok();
    }
    // what some runtimes say instead
    let message = status.message.as_deref()?;
    let number = |prefix: &str| {
        let rest = message.split_once(prefix)?.1;
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    };
    number("exit status ").or_else(|| number("exit code "))
}

pub(super) fn never_run(status: &Status) -> RuntimeError {
    let message = status.message.clone().unwrap_or_else(|| "the command was not run".to_owned());
    RuntimeError::Rejected { message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn told(status: Value) -> Option<i32> {
        code(&serde_json::from_value(status).unwrap())
    }

    #[test]
    fn an_exit_code_is_found_however_it_is_told() {
        assert_eq!(told(json!({"status": "Success"})), Some(0));
        let causes = json!([{"reason": "ExitCode", "message": "42"}]);
        let failed = json!({"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes}});
        assert_eq!(told(failed), Some(42));
        assert_eq!(told(json!({"status": "Failure", "message": "error: exit status 7"})), Some(7));
        let absent =
            json!({"status": "Failure", "message": "exec: \"nothing\": executable file not found"});
        assert_eq!(told(absent), None);
    }
}
