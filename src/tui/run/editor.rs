//! The operator's own editor on a file that only they can read. The terminal must have been given back before.

use std::io::Write as _;

use tokio::process::Command;

use crate::model::text::Safe;
use crate::tui::event::Edited;

/// More than this was not typed by a person.
const LONGEST: u64 = 4 << 20;

/// Has `text` edited; nothing is kept of an edit that its editor gave up.
pub async fn edit(text: &str) -> Result<Edited, Safe> {
    let words = ["VISUAL", "EDITOR"].into_iter().find_map(|name| std::env::var(name).ok());
    let words = words.filter(|it| !it.trim().is_empty()).unwrap_or_else(|| "vi".to_owned());
    let mut words = words.split_whitespace();
    let program = words.next().unwrap_or("vi").to_owned();
    let cannot = |error: std::io::Error| Safe::new(&format!("nothing was edited: {error}"));
    let mut file =
        tempfile::Builder::new().prefix("cvxc-edit-").suffix(".yaml").tempfile().map_err(cannot)?;
    file.write_all(text.as_bytes()).map_err(cannot)?;
    let path = file.into_temp_path();
    let ended = Command::new(&program).args(words).arg(&path).kill_on_drop(true).status().await;
    let ended = ended.map_err(|error| {
        let hint = "set EDITOR to one that is installed";
        Safe::new(&format!("{program} cannot be started: {error}; {hint}"))
    })?;
    if !ended.success() {
        return Err(Safe::new(&format!("nothing was changed: {program} gave up ({ended})")));
    }
    let size = std::fs::metadata(&path).map_err(cannot)?.len();
    if size > LONGEST {
        return Err(Safe::new("nothing was changed: the file is larger than 4 MiB"));
    }
    let text = std::fs::read_to_string(&path).map_err(cannot)?;
    let file = path.keep().map_err(|error| cannot(error.error))?;
    Ok(Edited { text, file })
}
