//! The CPU time of a process, in nanoseconds and not in the ticks of `/proc/<pid>/stat`.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;

/// What a process has used, kernel included, as long as none of its threads has ended.
pub(crate) fn cpu_of(pid: u32) -> anyhow::Result<Duration> {
    let mut nanos = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = fs::read_to_string(thread?.path().join("schedstat"))?;
        let ran = stat.split_whitespace().next().context("an empty schedstat")?;
        nanos += ran.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanos))
}
