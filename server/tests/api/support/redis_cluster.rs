//! A Redis Cluster of three nodes, gone when the test ends.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use tempfile::TempDir;

pub struct RedisCluster {
    pub url: String,
    nodes: Vec<Child>,
    _folder: TempDir,
}

impl RedisCluster {
    /// Starts the nodes and waits until they agree on who has which keys.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
        let nodes = ports.iter().map(|port| {
            let home = folder.path().join(port.to_string());
            std::fs::create_dir(&home).unwrap();
            let mut node = Command::new("redis-server");
            let port = port.to_string();
            node.args([
                "--port",
                &port,
                "--bind",
                "127.0.0.1",
                "--cluster-enabled",
                "yes",
            ])
            .args([
                "--cluster-config-file",
                "nodes.conf",
                "--save",
                "",
                "--appendonly",
                "no",
                "--dir",
            ])
            .arg(home)
            .stdout(Stdio::null());
            node.spawn()
                .expect("Debian's package redis-server: `make setup-test` installs it")
        });
        let cluster = Self {
            url: format!("redis://127.0.0.1:{}", ports[0]),
            nodes: nodes.collect(),
            _folder: folder,
        };
        let addresses: Vec<String> = ports
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        until("the nodes answer", || {
            ports
                .iter()
                .all(|port| cli(*port, &["ping"]).contains("PONG"))
        });
        let made = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(&addresses)
            .args(["--cluster-replicas", "0", "--cluster-yes"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        until("the cluster is whole", || {
            ports
                .iter()
                .all(|port| cli(*port, &["cluster", "info"]).contains("cluster_state:ok"))
        });
        cluster
    }

    /// How many keys each node has.
    pub fn keys(&self) -> Vec<usize> {
        let port = self.url.rsplit(':').next().unwrap().parse().unwrap();
        let nodes = cli(port, &["cluster", "nodes"]);
        let ports = nodes.lines().filter_map(|line| {
            let address = line.split_whitespace().nth(1)?;
            address.split('@').next()?.rsplit(':').next()?.parse().ok()
        });
        let sizes = ports.map(|port| {
            cli(port, &["dbsize"])
                .trim()
                .trim_start_matches("(integer) ")
                .parse()
                .unwrap()
        });
        sizes.collect()
    }
}

impl Drop for RedisCluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.kill().unwrap();
            node.wait().unwrap();
        }
    }
}

pub fn cli(port: u16, command: &[&str]) -> String {
    let said = Command::new("redis-cli")
        .args(["-p", &port.to_string()])
        .args(command)
        .output()
        .unwrap();
    String::from_utf8_lossy(&said.stdout).into_owned()
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A free port that leaves room for the node's second one, ten thousand above.
pub fn free_port() -> u16 {
    let is_free = |port: &u16| {
        let both = [*port, *port + 10_000].map(|port| TcpListener::bind(("127.0.0.1", port)));
        both.iter().all(Result::is_ok)
    };
    // Begins somewhere, so that tests at the same time do not meet.
    let begin = 20_000 + u16::try_from(std::process::id() % 5_000).unwrap();
    let taken = PORTS.fetch_add(20, Ordering::Relaxed);
    (begin + taken..30_000).find(is_free).expect("a free port")
}

/// Ports that were given out in this process, and those between.
static PORTS: AtomicU16 = AtomicU16::new(0);
