//! The real binary as a process, for what only a process can suffer: kill -9, SIGTERM, a restart.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use tokio::net::TcpSocket;

use super::{SOON, Stores};

/// The binary with this environment and nothing of the test's own.
pub fn weir(environment: Vec<(String, String)>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.env_clear().envs(environment).stdin(Stdio::null());
    command
}

/// A port that nobody else is given while its socket lives.
fn free_port() -> (SocketAddr, TcpSocket) {
    let port = TcpSocket::new_v4().unwrap();
    port.set_reuseaddr(true).unwrap();
    port.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    (port.local_addr().unwrap(), port)
}

/// A running `weir serve`.
pub struct Process {
    child: Child,
    pub url: String,
    _port: TcpSocket,
}

impl Process {
    /// Starts `weir serve` and waits until it is ready.
    pub async fn start(
        stores: &Stores,
        environment: Vec<(String, String)>,
        arguments: &[&str],
    ) -> Self {
        let process = Self::spawn(stores, environment, arguments);
        process.ready().await;
        process
    }

    /// The same, with its log where a test can read it.
    pub async fn start_logging(
        stores: &Stores,
        environment: Vec<(String, String)>,
        log: Stdio,
    ) -> Self {
        let process = Self::spawn_with(stores, environment, &[], log);
        process.ready().await;
        process
    }

    /// Starts `weir serve` and waits for nothing. The port is held meanwhile by a socket that never
    /// listens: so nobody else is given it, and the process may listen there all the same.
    pub fn spawn(stores: &Stores, environment: Vec<(String, String)>, arguments: &[&str]) -> Self {
        Self::spawn_with(stores, environment, arguments, Stdio::inherit())
    }

    fn spawn_with(
        stores: &Stores,
        environment: Vec<(String, String)>,
        arguments: &[&str],
        log: Stdio,
    ) -> Self {
        let mut command = weir(environment);
        command.arg("serve").args(arguments);
        Self::run(command, stores, free_port(), log)
    }

    /// Starts `weir serve` with a disk of its own, of so many bytes, under this folder, and waits until it is ready.
    /// Only the process sees that disk; [`Process::seen`] reaches into it.
    pub async fn start_on_disk_of(
        bytes: u64,
        folder: &Path,
        stores: &Stores,
        environment: Vec<(String, String)>,
    ) -> Self {
        const MOUNT: &str =
            "mount -t tmpfs -o mode=0700,size=$0 none \"$1\" && shift && exec \"$@\"";
        let mut command = Command::new("/usr/bin/unshare");
        command.env_clear().envs(environment).stdin(Stdio::null());
        command
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", MOUNT])
            .arg(bytes.to_string())
            .arg(folder)
            .args([env!("CARGO_BIN_EXE_weir"), "serve"]);
        let process = Self::run(command, stores, free_port(), Stdio::inherit());
        process.ready().await;
        process
    }

    fn run(
        mut command: Command,
        stores: &Stores,
        (address, port): (SocketAddr, TcpSocket),
        log: Stdio,
    ) -> Self {
        command
            .env("WEIR_LISTEN", address.to_string())
            .stderr(log)
            .stdout(Stdio::null());
        command.current_dir(stores.folder.path());
        let child = command.spawn().unwrap();
        Self {
            child,
            url: format!("http://{address}"),
            _port: port,
        }
    }

    /// Waits until it says that it is ready.
    pub async fn ready(&self) {
        let deadline = tokio::time::Instant::now() + SOON;
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        loop {
            let asked = http.get(format!("{}/ready", self.url)).send().await;
            if asked.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "the process never became ready"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A path as the process sees it.
    pub fn seen(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.child.id()));
        root.join(path.strip_prefix("/").unwrap())
    }

    /// How many files it has open.
    pub fn open_files(&self) -> usize {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        open.unwrap().count()
    }

    /// How many threads it has.
    pub fn threads(&self) -> usize {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        threads.unwrap().count()
    }

    /// Time that its threads have run, in ticks of 10 ms.
    pub fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // After the name, which may hold anything: state is the first, user and system time the 12th and 13th.
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let mut fields = fields.split_whitespace().skip(11);
        let mut next = || fields.next().unwrap().parse::<u64>().unwrap();
        next() + next()
    }

    /// Its memory that is in use, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).unwrap();
        let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
        pages * rustix::param::page_size() as u64
    }

    /// Lets it have only so many files more than it has open now.
    pub fn allow_files(&self, more: u64) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        let limit = Rlimit {
            current: Some(self.open_files() as u64 + more),
            maximum: getrlimit(Resource::Nofile).maximum,
        };
        prlimit(Some(pid), Resource::Nofile, limit).unwrap();
    }

    /// Ends it at once, as a power cut would end the process.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Lets it do nothing until [`Process::resume`].
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Asks it to stop; [`Process::ended`] waits for it.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Waits for its end; the exit code.
    pub async fn ended(mut self) -> Option<i32> {
        tokio::task::spawn_blocking(move || self.child.wait().unwrap().code())
            .await
            .unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Ended already where the test did so.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
