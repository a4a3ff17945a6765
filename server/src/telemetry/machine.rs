//! Figures of the process and its machine, as the system tells them.

use std::path::Path;

use weir_api_types::system::{MachineFigures, ProcessFigures};

/// What the process has now.
pub fn process(requests_in_flight: u64, connections: u64) -> ProcessFigures {
    ProcessFigures {
        requests_in_flight,
        connections,
        ..of_process().unwrap_or_default()
    }
}

/// What the machine has now; the disk is the one that the folder is on.
pub fn machine(folder: &Path) -> MachineFigures {
    let disk = rustix::fs::statvfs(folder).ok();
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64);
    MachineFigures {
        cpus,
        disk_bytes: disk.as_ref().map(|disk| disk.f_blocks * disk.f_frsize),
        disk_free_bytes: disk.as_ref().map(|disk| disk.f_bavail * disk.f_frsize),
        ..of_machine()
    }
}

#[cfg(target_os = "linux")]
fn of_process() -> Option<ProcessFigures> {
    let process = procfs::process::Process::myself().ok()?;
    let stat = process.stat().ok()?;
    let ticks = procfs::ticks_per_second() as f64;
    let limits = process.limits().ok();
    let most = limits.and_then(|limits| match limits.max_open_files.soft_limit {
        procfs::process::LimitValue::Value(most) => Some(most),
        procfs::process::LimitValue::Unlimited => None,
    });
    Some(ProcessFigures {
        cpu_seconds: Some((stat.utime + stat.stime) as f64 / ticks),
        resident_bytes: Some(stat.rss * procfs::page_size()),
        threads: u64::try_from(stat.num_threads).ok(),
        open_files: process.fd_count().ok().map(|files| files as u64),
        max_open_files: most,
        ..ProcessFigures::default()
    })
}

#[cfg(target_os = "linux")]
fn of_machine() -> MachineFigures {
    use procfs::{Current as _, LoadAverage, Meminfo};

    let memory = Meminfo::current().ok();
    let devices = procfs::net::dev_status().ok();
    let sum = |bytes: fn(&procfs::net::DeviceStatus) -> u64| {
        let devices = devices.as_ref()?.values();
        let devices = devices.filter(|device| device.name != "lo");
        Some(devices.map(bytes).sum())
    };
    MachineFigures {
        load: LoadAverage::current().ok().map(|load| f64::from(load.one)),
        memory_bytes: memory.as_ref().map(|memory| memory.mem_total),
        memory_available_bytes: memory.and_then(|memory| memory.mem_available),
        received_bytes: sum(|device| device.recv_bytes),
        sent_bytes: sum(|device| device.sent_bytes),
        ..MachineFigures::default()
    }
}

#[cfg(not(target_os = "linux"))]
fn of_process() -> Option<ProcessFigures> {
    None
}

#[cfg(not(target_os = "linux"))]
fn of_machine() -> MachineFigures {
    MachineFigures::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn the_system_tells_about_this_process_and_its_machine() {
        let process = process(3, 4);
        assert_eq!((process.requests_in_flight, process.connections), (3, 4));
        assert!(process.resident_bytes.is_some_and(|bytes| bytes > 1 << 20));
        assert!(process.open_files.is_some_and(|files| files > 2));
        let machine = machine(Path::new("/"));
        assert!(machine.cpus > 0 && machine.memory_bytes > machine.memory_available_bytes);
        assert!(machine.disk_bytes >= machine.disk_free_bytes);
    }
}
