//! The collections and their indexes, declared once; every store adapter builds itself from this table.

use strum::{EnumIter, EnumString, IntoStaticStr};

/// A named set of documents. The text form is the collection's name in the store.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    EnumIter,
    EnumString,
    IntoStaticStr,
    strum::Display,
)]
#[strum(serialize_all = "snake_case")]
pub enum Collection {
    Agents,
    AgentPools,
    AgentTemplates,
    TemplateVersions,
    AgentStates,
    StateConflicts,
    AgentMessages,
    AgentPublications,
    AgentSubscriptions,
    AgentCommunications,
    Dependencies,
    Events,
    Operations,
    AgentHealth,
    Workflows,
    WorkflowExecutions,
    Tasks,
    CoordinationContexts,
    ResourceProfiles,
    Alerts,
    AuditLog,
    Configs,
    Leases,
    Principals,
    ApiKeys,
}

/// One index over fields (dotted paths), in the order in which they are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Index {
    pub fields: &'static [&'static str],
    pub unique: bool,
    /// Documents in which any of the fields is missing or null are left out (and may repeat, if unique).
    pub sparse: bool,
    pub kind: IndexKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexKind {
    Sorted,
    /// The field is a list; each element is found.
    Elements,
    /// The store removes the document once the time in the field has passed. One a collection at most.
    Expiry,
    Geo,
}

impl Collection {
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether the documents are edges, with `_from` and `_to` naming agents as `agents/<id>`.
    pub fn is_edge(self) -> bool {
        matches!(self, Self::AgentCommunications | Self::Dependencies)
    }

    /// Whether the store stamps a growing number `seq` on each new document, in the order in which commits become visible:
    /// a reader that has seen `seq` n will never later meet a new document with `seq` ≤ n.
    pub fn is_sequenced(self) -> bool {
        matches!(self, Self::AgentMessages | Self::AgentPublications)
    }

    /// The field whose value a change of this collection carries as its topic, so that a watcher can wait for its own alone.
    pub fn topic_field(self) -> Option<&'static str> {
        match self {
            Self::AgentMessages => Some("to_agent_id"),
            Self::AgentPublications => Some("event_name"),
            _ => None,
        }
    }

    pub fn indexes(self) -> &'static [Index] {
        match self {
            Self::Agents => {
                const {
                    &[
                        sorted(&["phase"]),
                        sorted(&["health.status"]),
                        sorted(&["type", "phase"]),
                        sorted(&["pool_id"]),
                        sorted(&["template_id"]),
                        sorted(&["created_at"]),
                        unique_sparse(&["tenant", "live_name"]),
                        Index {
                            fields: &["deployment.location"],
                            unique: false,
                            sparse: true,
                            kind: IndexKind::Geo,
                        },
                    ]
                }
            }
            Self::AgentPools => {
                const {
                    &[
                        sorted(&["tenant"]),
                        sorted(&["template_id"]),
                        unique_sparse(&["tenant", "live_name"]),
                    ]
                }
            }
            Self::AgentTemplates => {
                const {
                    &[
                        unique_sparse(&["name"]),
                        Index {
                            fields: &["tags"],
                            unique: false,
                            sparse: false,
                            kind: IndexKind::Elements,
                        },
                        sorted(&["created_by"]),
                        sorted(&["updated_at"]),
                    ]
                }
            }
            Self::TemplateVersions => const { &[unique(&["template_id", "version"])] },
            Self::AgentStates => const { &[sorted(&["updated_at"])] },
            Self::StateConflicts => {
                const { &[sorted(&["agent_id", "created_at"]), sorted(&["status"])] }
            }
            Self::AgentMessages => {
                const {
                    &[
                        sorted(&["to_agent_id", "status", "rank", "created_at"]),
                        sorted(&["from_agent_id"]),
                        sorted(&["created_at"]),
                        sorted(&["status", "expires_at"]),
                        sparse(&["correlation_id"]),
                        unique_sparse(&["from_agent_id", "idempotency_key"]),
                        sparse(&["lease_until"]),
                        expiry(&["purge_at"]),
                    ]
                }
            }
            Self::AgentPublications => {
                const {
                    &[
                        sorted(&["event_name", "seq"]),
                        unique(&["seq"]),
                        sorted(&["publisher_agent_id"]),
                        expiry(&["expires_at"]),
                    ]
                }
            }
            Self::AgentSubscriptions => {
                const { &[sorted(&["subscriber_agent_id"]), sorted(&["active"])] }
            }
            Self::AgentCommunications => {
                const {
                    &[
                        sorted(&["_from"]),
                        sorted(&["_to"]),
                        sorted(&["timestamp"]),
                        expiry(&["ttl"]),
                    ]
                }
            }
            Self::Dependencies => {
                const { &[sorted(&["_to"]), unique(&["_from", "_to", "dependency_type"])] }
            }
            Self::Events => {
                const {
                    &[
                        unique(&["seq"]),
                        sorted(&["aggregate", "aggregate_id", "seq"]),
                        sorted(&["type"]),
                        sorted(&["at"]),
                    ]
                }
            }
            Self::Operations => {
                const {
                    &[
                        sorted(&["status"]),
                        sorted(&["target", "created_at"]),
                        sorted(&["created_at"]),
                    ]
                }
            }
            Self::AgentHealth => const { &[sorted(&["status"]), sorted(&["checked_at"])] },
            Self::Workflows => const { &[unique_sparse(&["name"])] },
            Self::WorkflowExecutions => {
                const { &[sorted(&["workflow_id"]), sorted(&["status"]), sorted(&["start_time"])] }
            }
            Self::Tasks => const { &[sorted(&["status", "created_at"]), sorted(&["agent_id"])] },
            Self::CoordinationContexts
            | Self::ResourceProfiles
            | Self::Configs
            | Self::Principals => const { &[unique_sparse(&["name"])] },
            Self::Alerts => const { &[sorted(&["status"]), unique_sparse(&["fingerprint"])] },
            Self::AuditLog => const { &[sorted(&["at"]), sorted(&["actor"]), sorted(&["action"])] },
            Self::Leases => const { &[] },
            Self::ApiKeys => const { &[unique_sparse(&["prefix"])] },
        }
    }
}

const fn sorted(fields: &'static [&'static str]) -> Index {
    Index { fields, unique: false, sparse: false, kind: IndexKind::Sorted }
}

const fn sparse(fields: &'static [&'static str]) -> Index {
    Index { fields, unique: false, sparse: true, kind: IndexKind::Sorted }
}

const fn unique(fields: &'static [&'static str]) -> Index {
    Index { fields, unique: true, sparse: false, kind: IndexKind::Sorted }
}

const fn unique_sparse(fields: &'static [&'static str]) -> Index {
    Index { fields, unique: true, sparse: true, kind: IndexKind::Sorted }
}

const fn expiry(fields: &'static [&'static str]) -> Index {
    Index { fields, unique: false, sparse: true, kind: IndexKind::Expiry }
}
