//! What systemd is told (sd_notify(3)): that the agent is ready, that it is alive, that it stops. Nothing, where nobody listens.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::JoinHandle;

use crate::pipeline::PipelineHandle;

/// The agent answers, and its policies are in force.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// The agent has begun to stop.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

/// Says that the agent is alive, as often as the service manager wants to hear it, while it is: the API's runtime comes round
/// and the pipeline answers.
#[derive(Debug)]
pub struct Watchdog(Option<JoinHandle<()>>);

impl Watchdog {
    /// Begins, if the service manager wants that (`WatchdogSec=`).
    pub fn start(pipeline: PipelineHandle) -> Self {
        // twice in the time that it waits
        let interval = sd_notify::watchdog_enabled().map(|patience| patience / 2);
        let Some(interval) = interval.filter(|interval| *interval > Duration::ZERO) else {
            return Self(None);
        };
        Self(Some(tokio::spawn(async move {
            let mut ticks = tokio::time::interval(interval);
            loop {
                ticks.tick().await;
                let pipeline = pipeline.clone();
                // a pipeline that hangs never answers, and then nothing is said any more
                let answered = tokio::task::spawn_blocking(move || pipeline.report().is_some()).await;
                if matches!(answered, Ok(true)) {
                    notify(&[NotifyState::Watchdog]);
                }
            }
        })))
    }

    /// Ends.
    pub fn stop(self) {
        if let Some(task) = self.0 {
            task.abort();
        }
    }
}
