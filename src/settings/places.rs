//! Where things are kept: settings, the store, agents' files, logs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The folders and files of one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Holds `config.toml`, `contexts.toml`, `views.toml`, `bookmarks.toml`, `themes/`, `keymaps/`.
    pub config: PathBuf,
    /// Holds `fleet.db` and `agents/`.
    pub data: PathBuf,
    pub logs: PathBuf,
}

impl Places {
    /// Everything under `data_dir` if given; else the XDG folders, each with `cvxc` in it (`CVXC_CONFIG_DIR` over the first).
    /// `CVXC_LOGS_DIR` goes over the place of the logs in either case. `None` when there is neither a home directory nor a `data_dir`.
    pub fn find(data_dir: Option<&Path>, environment: &BTreeMap<String, String>) -> Option<Self> {
        let config = environment.get("CVXC_CONFIG_DIR").map(PathBuf::from);
        let logs = environment.get("CVXC_LOGS_DIR").map(PathBuf::from);
        if let Some(dir) = data_dir {
            let config = config.unwrap_or_else(|| dir.to_owned());
            let logs = logs.unwrap_or_else(|| dir.join("log"));
            return Some(Self { config, data: dir.to_owned(), logs });
        }
        let base = directories::BaseDirs::new()?;
        let state = base.state_dir().unwrap_or_else(|| base.data_local_dir());
        Some(Self {
            config: config.unwrap_or_else(|| base.config_dir().join("cvxc")),
            data: base.data_dir().join("cvxc"),
            logs: logs.unwrap_or_else(|| state.join("cvxc").join("log")),
        })
    }

    pub fn settings_file(&self) -> PathBuf {
        self.config.join("config.toml")
    }

    pub fn store_file(&self) -> PathBuf {
        self.data.join("fleet.db")
    }

    /// What consoles write down when asked: screens that were saved, recordings.
    pub fn dumps(&self) -> PathBuf {
        self.data.join("dumps")
    }

    /// One folder an agent.
    pub fn agents(&self) -> PathBuf {
        self.data.join("agents")
    }
}
