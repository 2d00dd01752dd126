//! Arguments of the verbs that are about messages and events.

use std::time::Duration;

use clap::Args;

use super::ActArgs;
use crate::model::time::span;

#[derive(Debug, Args)]
pub struct SendArgs {
    /// Receiver
    #[arg(long)]
    pub to: String,
    /// Sender
    #[arg(long)]
    pub from: String,
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: String,
    /// JSON object
    #[arg(long, default_value = "{}")]
    pub payload: String,
    /// 1 to 10, 10 first
    #[arg(long, default_value_t = crate::model::message::DEFAULT_PRIORITY, allow_hyphen_values = true)]
    pub priority: i64,
    #[arg(long, default_value = "1h", value_parser = span::parse, allow_hyphen_values = true)]
    pub ttl: Duration,
    #[arg(long)]
    pub correlation_id: Option<String>,
    /// Sending again with the same key within 24 h answers with the first message's id
    #[arg(long)]
    pub idempotency_key: Option<String>,
    #[command(flatten)]
    pub act: ActArgs,
}

#[derive(Debug, Args)]
pub struct PublishArgs {
    /// Publishing agent
    #[arg(long)]
    pub from: String,
    /// The event's name: task.completed
    pub event: String,
    #[arg(long = "type", default_value = "event", value_name = "TYPE")]
    pub kind: String,
    /// JSON object
    #[arg(long, default_value = "{}")]
    pub payload: String,
    #[arg(long, default_value = "1h", value_parser = span::parse, allow_hyphen_values = true)]
    pub ttl: Duration,
    #[command(flatten)]
    pub act: ActArgs,
}

#[derive(Debug, Args)]
pub struct SubscribeArgs {
    /// The agent that receives
    pub subscriber: String,
    /// Glob over event names: task.*
    pub pattern: String,
    #[arg(long)]
    pub publisher: Option<String>,
    /// JSON object: {"payload.cost": {"$gt": 5}}
    #[arg(long, default_value = "{}")]
    pub conditions: String,
    #[command(flatten)]
    pub act: ActArgs,
}

#[derive(Debug, Args)]
pub struct MessagesArgs {
    #[arg(required = true)]
    pub messages: Vec<String>,
    #[command(flatten)]
    pub act: ActArgs,
}
