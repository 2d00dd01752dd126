//! An agent's log: its container's lines with the times that the kubelet gave them.

use futures::StreamExt;
use futures::io::{AsyncBufRead, AsyncBufReadExt};
use futures::stream::{self, BoxStream};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use tokio::time::timeout;

use super::client::{ANSWER, Cluster, silent};
use super::fault::{self, Kind};
use super::manifest::CONTAINER;
use crate::model::time::Time;
use crate::ports::runtime::{LogLine, LogOptions, RuntimeError};

/// The longest line that is given whole; more of it is dropped and said so.
const LONGEST: usize = 64 * 1024;
/// What stands at the end of a line that was cut, with the number of bytes left out.
const CUT: usize = 48;

/// Opens the log of the pod `name`.
///
/// # Errors
/// Those of the API server: no such pod, no such container, nothing before this run.
pub async fn open(
    cluster: &Cluster,
    name: &str,
    options: &LogOptions,
) -> Result<BoxStream<'static, Result<LogLine, RuntimeError>>, RuntimeError> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let params = LogParams {
        container: Some(CONTAINER.to_owned()),
        follow: options.follow,
        previous: options.previous,
        // whole seconds are all that it takes; the rest is left out below
        // (a later one, to which `kube` would round, loses lines)
        since_time: options
            .since
            .map(|at| Time::from_millis(at.millis().div_euclid(1_000) * 1_000))
            .map(Time::to_jiff),
        tail_lines: options.tail.map(|tail| i64::try_from(tail).unwrap_or(i64::MAX)),
        timestamps: true,
        ..LogParams::default()
    };
    let opened = timeout(ANSWER, api.log_stream(name, &params)).await;
    let reader =
        opened.map_err(|_| silent(Kind::Read))?.map_err(|error| fault::of(error, Kind::Read))?;
    let since = options.since;
    let lines = stream::unfold(Some(Box::pin(reader)), |reader| async move {
        let mut reader = reader?;
        match line(&mut reader).await {
            Ok(Some(line)) => Some((Ok(line), Some(reader))),
            Ok(None) => None,
            Err(error) => Some((Err(RuntimeError::Unavailable(Box::new(error))), None)),
        }
    });
    let wanted = move |line: &Result<LogLine, RuntimeError>| {
        line.as_ref().map_or(true, |line| since.is_none_or(|since| line.at >= since))
    };
    Ok(lines.filter(move |line| std::future::ready(wanted(line))).boxed())
}

/// The next line, however long it is, in bounded memory. `None`: the log is over.
async fn line(reader: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<LogLine>> {
    let (mut text, mut dropped, mut any) = (Vec::new(), 0_usize, false);
    loop {
        let buffer = reader.fill_buf().await?;
        if buffer.is_empty() {
            if !any {
                return Ok(None);
            }
            break;
        }
        any = true;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = &buffer[..end.unwrap_or(buffer.len())];
        // the stamp is no part of the line
        let room = (LONGEST - CUT + STAMP).saturating_sub(text.len()).min(part.len());
        text.extend_from_slice(&part[..room]);
        dropped += part.len() - room;
        let read = part.len() + usize::from(end.is_some());
        reader.consume_unpin(read);
        if end.is_some() {
            break;
        }
    }
    Ok(Some(parse(&text, dropped)))
}

/// Room for a time of nine decimals and the space after it.
const STAMP: usize = 36;

fn parse(bytes: &[u8], dropped: usize) -> LogLine {
    let text = String::from_utf8_lossy(bytes);
    let (at, rest) = match text.split_once(' ') {
        Some((stamp, rest)) => match stamp.parse::<Time>() {
            Ok(at) => (at, rest),
            Err(_) => (Time::EPOCH, text.as_ref()),
        },
        None => text.parse().map_or((Time::EPOCH, text.as_ref()), |at| (at, "")),
    };
    let mut end = rest.len().min(LONGEST - CUT);
    while !rest.is_char_boundary(end) {
        end -= 1;
    }
    let dropped = dropped + rest.len() - end;
    let mut line = rest[..end].trim_end_matches('\r').to_owned();
    if dropped > 0 {
        line.push_str(&format!(" …(cut: {dropped} bytes more)"));
    }
    LogLine { at, stderr: false, text: line, skipped: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::io::Cursor;

    async fn read(text: Vec<u8>) -> Vec<LogLine> {
        let mut reader = Cursor::new(text);
        let mut lines = Vec::new();
        while let Some(line) = line(&mut reader).await.unwrap() {
            lines.push(line);
        }
        lines
    }

    #[tokio::test]
    async fn lines_are_given_with_their_times_and_an_unfinished_one_too() {
        let text =
            "2026-11-21T03:04:05.678901234Z one\n2026-11-21T03:04:06Z \n2026-11-21T03:04:07.1Z two";
        let lines = read(text.into()).await;
        let told: Vec<(String, &str)> =
            lines.iter().map(|line| (line.at.to_string(), line.text.as_str())).collect();
        assert_eq!(
            told,
            [
                ("2026-11-21T03:04:05.678Z".to_owned(), "one"),
                ("2026-11-21T03:04:06.000Z".to_owned(), ""),
                ("2026-11-21T03:04:07.100Z".to_owned(), "two"),
            ]
        );
    }

    #[tokio::test]
    async fn a_line_of_a_megabyte_is_cut_and_says_how_much_is_missing() {
        let mut text = b"2026-11-21T03:04:05Z ".to_vec();
        text.extend(std::iter::repeat_n(b'x', 1 << 20));
        text.extend(b"\n2026-11-21T03:04:06Z after\n");
        let lines = read(text).await;
        assert_eq!((lines.len(), lines[1].text.as_str()), (2, "after"));
        assert!(lines[0].text.len() <= LONGEST, "{}", lines[0].text.len());
        let kept = lines[0].text.bytes().filter(|byte| *byte == b'x').count();
        assert!(lines[0].text.ends_with(&format!("…(cut: {} bytes more)", (1 << 20) - kept)));
    }

    #[tokio::test]
    async fn bytes_that_are_no_text_and_lines_without_a_time_are_kept_readable() {
        let lines = read(b"2026-11-21T03:04:05Z \xff\x00\nno time here\n".to_vec()).await;
        assert_eq!(lines[0].text, "\u{fffd}\0");
        assert_eq!((lines[1].at, lines[1].text.as_str()), (Time::EPOCH, "no time here"));
    }
}
