//! Writes a recording into two files, for their owner alone: `….cast`, which asciinema plays, and `….jsonl`, which the console
//! itself plays again (`recorder::replay`).

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use crate::model::time::Time;
use crate::tui::event::{Fault, Reply};
use crate::tui::recorder::Session;
use crate::tui::writer::tape::Tape;

/// Writes `tape`, which began `length` before `now`, and `session` into `folder`.
///
/// # Errors
/// [`Fault::Dump`] naming the file that could not be written.
pub(super) fn write(
    folder: &Path,
    now: Time,
    length: Duration,
    tape: &Tape,
    session: &Session,
) -> Result<Reply, Fault> {
    let stem = folder.join(now.to_jiff().strftime("session-%Y%m%dT%H%M%S%.3fZ").to_string());
    let failed = |error: io::Error| Fault::Dump(format!("{}: {error}", stem.display()));
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let stamp = now.minus(length).millis() / 1_000;
    if let Some(cast) = tape.asciicast(stamp, "cvxc") {
        fresh(&stem, "cast", &cast).map_err(failed)?;
    }
    let lines = session.lines().map_err(|error| Fault::Dump(error.to_string()))?;
    fresh(&stem, "jsonl", &lines).map_err(failed)?;
    Ok(Reply::Dumped(stem.display().to_string()))
}

/// Writes a file that was not there before.
fn fresh(stem: &Path, ending: &str, text: &str) -> io::Result<()> {
    let mut name = stem.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(name)?;
    file.write_all(text.as_bytes())
}
