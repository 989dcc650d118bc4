//! `EventLogService`: the rotation of the export file, read and changed while the agent runs.

use std::time::Duration;

use tetra_api::tetragon as api;
use tetra_api::tetragon::event_log_service_server::EventLogService;
use tonic::{Request, Response, Status};

use crate::config::parse_duration;
use crate::export::{Rotation, SharedRotation};

/// Bytes of a megabyte as the flags have it.
const MEGABYTE: u64 = 1 << 20;

/// See [the module](self).
#[derive(Debug)]
pub(super) struct EventLog {
    /// `None`: no events are exported to a file.
    rotation: Option<SharedRotation>,
}

impl EventLog {
    pub(super) fn new(rotation: Option<SharedRotation>) -> Self {
        Self { rotation }
    }

    fn rotation(&self) -> Result<&SharedRotation, Status> {
        self.rotation
            .as_ref()
            .ok_or_else(|| Status::failed_precondition("no events are exported to a file"))
    }
}

/// The rotation as a request changes it; nothing of a request with a mistake.
fn changed(mut rotation: Rotation, request: &api::SetEventLogParamsRequest) -> Result<Rotation, Status> {
    if let Some(megabytes) = request.max_size {
        rotation.max_size_bytes = u64::try_from(megabytes)
            .ok()
            .filter(|&megabytes| megabytes > 0)
            .ok_or_else(|| {
                Status::invalid_argument(format!("`max_size` is {megabytes}: expected megabytes, at least 1"))
            })?
            * MEGABYTE;
    }
    if let Some(interval) = &request.rotation_interval {
        rotation.interval = parse_duration(interval).ok_or_else(|| {
            Status::invalid_argument(format!(
                "`rotation_interval` is `{interval}`: expected a duration, as in 30s or 1h30m"
            ))
        })?;
    }
    if let Some(backups) = request.max_backups {
        rotation.max_backups = usize::try_from(backups).map_err(|_| {
            Status::invalid_argument(format!(
                "`max_backups` is {backups}: expected a number of files, at least 0"
            ))
        })?;
    }
    Ok(rotation)
}

/// A duration in Go's form, which [`parse_duration`] reads: `1h30m0s`, `1.5s`, `10ms`.
fn write_duration(duration: Duration) -> String {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    let fraction = |whole: u64, fraction: u32, digits: usize| {
        let text = format!("{whole}.{fraction:0digits$}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match (seconds, nanos) {
        (0, 0) => "0s".to_owned(),
        (0, 1..1_000) => format!("{nanos}ns"),
        (0, 1_000..1_000_000) => fraction(u64::from(nanos / 1_000), nanos % 1_000, 3) + "µs",
        (0, _) => fraction(u64::from(nanos / 1_000_000), nanos % 1_000_000, 6) + "ms",
        _ => {
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let rest = fraction(seconds % 60, nanos, 9) + "s";
            match (hours, minutes) {
                (0, 0) => rest,
                (0, _) => format!("{minutes}m{rest}"),
                _ => format!("{hours}h{minutes}m{rest}"),
            }
        }
    }
}

#[tonic::async_trait]
impl EventLogService for EventLog {
    async fn set_event_log_params(
        &self,
        request: Request<api::SetEventLogParamsRequest>,
    ) -> Result<Response<api::SetEventLogParamsResponse>, Status> {
        let rotation = self.rotation()?.change(|now| changed(now, request.get_ref()))?;
        tracing::info!(?rotation, "export: rotation changed");
        Ok(Response::new(api::SetEventLogParamsResponse {}))
    }

    async fn get_event_log_params(
        &self,
        _: Request<api::GetEventLogParamsRequest>,
    ) -> Result<Response<api::GetEventLogParamsResponse>, Status> {
        let rotation = self.rotation()?.get();
        Ok(Response::new(api::GetEventLogParamsResponse {
            // what was set by a flag may be more than the API can say
            max_size: i32::try_from(rotation.max_size_bytes / MEGABYTE).unwrap_or(i32::MAX),
            rotation_interval: write_duration(rotation.interval),
            max_backups: i32::try_from(rotation.max_backups).unwrap_or(i32::MAX),
        }))
    }
}

#[cfg(test)]
mod tests;
