//! A program on a terminal in the agent's container, over the API.

use std::sync::{Arc, Mutex};

use futures::{FutureExt, SinkExt};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{AttachParams, TerminalSize as Size};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::client::{ANSWER, Cluster, silent};
use super::exec::{code, never_run};
use super::fault::{self, Kind};
use super::manifest::CONTAINER;
use crate::ports::runtime::RuntimeError;
use crate::ports::site::{Shell, TerminalSize};

/// # Errors
/// Those of the API server.
pub async fn open(
    cluster: &Cluster,
    pod: &str,
    command: &[String],
    size: TerminalSize,
) -> Result<Shell, RuntimeError> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let params = AttachParams::interactive_tty().container(CONTAINER);
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    let begun = timeout(ANSWER, api.exec(pod, words, &params)).await;
    let mut process =
        begun.map_err(|_| silent(Kind::Write))?.map_err(|error| fault::of(error, Kind::Write))?;
    let missing = || RuntimeError::Unavailable("the cluster gave no terminal".into());
    let input = process.stdin().ok_or_else(missing)?;
    let output = process.stdout().ok_or_else(missing)?;
    let status = process.take_status().ok_or_else(missing)?;
    let mut sizes = process.terminal_size().ok_or_else(missing)?;
    let (wanted, mut news) = watch::channel(size);
    // sizes in between may be passed over, the last one never; it ends with the terminal
    let mut teller = JoinSet::new();
    teller.spawn(async move {
        loop {
            let TerminalSize { columns, rows } = *news.borrow_and_update();
            let told = sizes.send(Size { width: columns, height: rows }).await;
            if told.is_err() || news.changed().await.is_err() {
                return;
            }
        }
    });
    let teller = Mutex::new(teller);
    let resize = move |size: TerminalSize| {
        let _held = &teller;
        wanted.send_replace(size);
    };
    let end = async move {
        // dropping the process closes the connection, and with it the program's terminal
        let _process = process;
        match status.await {
            Some(status) => code(&status).ok_or_else(|| never_run(&status)),
            None => Err(RuntimeError::OutcomeUnknown("its end was not told".into())),
        }
    };
    Ok(Shell {
        input: Box::new(input),
        output: Box::new(output),
        resize: Arc::new(resize),
        end: end.boxed(),
    })
}
