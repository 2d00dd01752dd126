//! The simulated runtime under test: nothing fails by itself, so that the rules see only what they ask for.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cvxc::adapters::simulated::{SimOptions, SimulatedRuntime};
use cvxc::model::agent::AgentConfig;
use cvxc::ports::clock::SystemClock;
use cvxc::ports::runtime::Runtime;

use crate::fixture::{Does, Fixture, exited};

pub struct Simulated(SimulatedRuntime);

impl Simulated {
    pub fn open() -> Self {
        let clock = SystemClock::shared();
        Self(SimulatedRuntime::new(SimOptions {
            agents: 10,
            updates_per_second: 0,
            seed: 1,
            clock,
        }))
    }
}

#[async_trait]
impl Fixture for Simulated {
    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(self.0.clone())
    }

    fn another(&self) -> Arc<dyn Runtime> {
        self.runtime()
    }

    fn config(&self, does: Does) -> AgentConfig {
        match does {
            Does::Run => AgentConfig { command: vec!["play".to_owned()], ..AgentConfig::default() },
            Does::Script(script) => panic!("nothing here runs {script:?}"),
        }
    }

    async fn end(self) {
        for seen in self.0.list().await.unwrap() {
            self.0.remove(&seen.agent, Duration::ZERO).await.unwrap();
            exited(&self.0, &seen.agent).await;
            self.0.forget(&seen.agent).await.unwrap();
        }
        assert_eq!(self.0.list().await.unwrap(), []);
    }
}
