//! Whether the operator's files have changed since they were read: settings, views, bookmarks, themes and keymaps. They
//! are looked at every five seconds, which costs a few calls and works where no watcher does; nothing is drawn for it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{AUTO, Console};
use crate::settings::TimeZone;
use crate::tui::event::Alarm;
use crate::tui::theme::Depth;
use crate::tui::views::Views;
use crate::tui::widgets::toast::Weight;
use crate::tui::{bookmarks, jumps, keymap, theme};

/// Between two looks.
pub(super) const EVERY: Duration = Duration::from_secs(5);

const FILES: [&str; 4] = ["config.toml", "views.toml", "bookmarks.toml", "jumps.toml"];
const FOLDERS: [&str; 2] = ["themes", "keymaps"];

/// What was seen last.
#[derive(Debug)]
pub(super) struct Look {
    config: PathBuf,
    seen: u64,
}

impl Look {
    pub(super) fn new(config: &Path) -> Self {
        let seen = sign(config);
        Self { config: config.to_owned(), seen }
    }

    /// Whether anything is other than it was at the last look.
    pub(super) fn changed(&mut self) -> bool {
        let now = sign(&self.config);
        std::mem::replace(&mut self.seen, now) != now
    }
}

/// Names, sizes and times of the files, in one number.
fn sign(config: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut add = |path: &Path| {
        if let Ok(about) = std::fs::metadata(path) {
            (path, about.len(), about.modified().ok()).hash(&mut hasher);
        }
    };
    for file in FILES {
        add(&config.join(file));
    }
    for folder in FOLDERS {
        let entries = std::fs::read_dir(config.join(folder)).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        paths.iter().for_each(|path| add(path));
    }
    hasher.finish()
}

impl Console {
    /// Looks at the operator's files; takes what has changed, as far as it can be read.
    pub(super) fn files_changed(&mut self) -> bool {
        self.alarms.add(Alarm::Files, EVERY);
        if !self.look.changed() {
            return false;
        }
        self.recorder.lose(self.clock.now(), "the settings were read again");
        let mut names = (self.ui.theme.name.clone(), self.keymap.clone());
        match (self.settings.0)() {
            Ok(settings) => {
                self.ui.limits = settings.thresholds;
                let console = settings.console;
                self.ui.local_time = console.time_zone == TimeZone::Local;
                let theme_set = console.theme != AUTO && console.theme != self.set.theme;
                if theme_set && self.ui.depth != Depth::None {
                    self.ui.theme_chosen = true;
                    names.0.clone_from(&console.theme);
                }
                if console.keymap != self.set.keymap {
                    names.1.clone_from(&console.keymap);
                }
                self.set = console;
            }
            Err(why) => self.notice(Weight::Warn, &why),
        }
        // What cannot be read leaves what there is in force.
        let (theme, mut faults) = theme::load::load(&names.0, Some(&self.config));
        let worn = if faults.is_empty() { theme } else { self.ui.theme.as_ref().clone() };
        self.ui.wear(worn);
        let (keymap, more) = keymap::load::load(&names.1, Some(&self.config));
        if more.is_empty() {
            (self.ui.keymap, self.keymap) = (Arc::new(keymap), names.1);
        }
        faults.extend(more);
        let (views, more) = Views::load(&self.config);
        if more.is_empty() {
            self.ui.views = Arc::new(views);
        }
        faults.extend(more);
        let (bookmarks, more) = bookmarks::load(&self.config);
        if more.is_empty() {
            self.ui.bookmarks = bookmarks;
        }
        faults.extend(more);
        let (jumps, more) = jumps::load(&self.config, &self.ui.keymap);
        if more.is_empty() {
            self.ui.jumps = jumps;
        }
        faults.extend(more);
        if faults.is_empty() {
            self.notice(Weight::Info, "the settings were read again");
        }
        self.ui.faults = faults;
        self.tell_faults();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_new_changed_or_gone_is_noticed_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut look = Look::new(folder.path());
        assert!(!look.changed());
        std::fs::create_dir(folder.path().join("themes")).unwrap();
        assert!(!look.changed(), "an empty folder changes nothing");
        let theme = folder.path().join("themes/mine.toml");
        std::fs::write(&theme, "ok = \"red\"\n").unwrap();
        assert!(look.changed() && !look.changed());
        std::fs::write(&theme, "ok = \"green\"\n").unwrap();
        assert!(look.changed() && !look.changed());
        std::fs::remove_file(&theme).unwrap();
        std::fs::write(folder.path().join("fleet.db"), "x").unwrap();
        assert!(look.changed() && !look.changed(), "and what is no file of the operator's is not");
    }
}
