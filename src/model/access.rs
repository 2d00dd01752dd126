//! Who acts, in which role, and what that role may do. The engine asks here before every command.

use serde::{Deserialize, Serialize};
use strum::{EnumIter, EnumString, IntoStaticStr};

#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    EnumIter,
    EnumString,
    IntoStaticStr,
    strum::Display,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Role {
    PlatformAdmin,
    TenantAdmin,
    Developer,
    Observer,
}

/// Somebody who asks for something, as the journal names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// `user@host`, `loop:autoscale`, `agent:<id>`, `api:<key prefix>`.
    pub name: String,
    pub role: Role,
    pub tenant: Option<String>,
}

impl Actor {
    /// The person at this machine's terminal: on the embedded store, its owner and so its administrator.
    pub fn local(name: impl Into<String>) -> Self {
        Self { name: name.into(), role: Role::PlatformAdmin, tenant: None }
    }
}

/// What may be asked for, as one role table knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, IntoStaticStr, strum::Display)]
#[strum(serialize_all = "kebab-case")]
pub enum Right {
    View,
    ViewPayloads,
    /// Deploy, start, stop, pause, restart, send, publish, write templates.
    Operate,
    /// Delete, scale, replay, purge, change policies.
    Manage,
    /// Hand over leadership, schema, everything across tenants.
    Administer,
}

impl Role {
    /// The role matrix (`mission.md` §6).
    pub fn may(self, right: Right) -> bool {
        match (self, right) {
            (Self::PlatformAdmin, _) | (_, Right::View) => true,
            (Self::TenantAdmin, Right::ViewPayloads | Right::Operate | Right::Manage)
            | (Self::Developer, Right::ViewPayloads | Right::Operate) => true,
            (Self::TenantAdmin, Right::Administer)
            | (Self::Developer, Right::Manage | Right::Administer)
            | (
                Self::Observer,
                Right::ViewPayloads | Right::Operate | Right::Manage | Right::Administer,
            ) => false,
        }
    }
}
