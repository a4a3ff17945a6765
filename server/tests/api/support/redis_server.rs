//! A Redis of a test's own, which it may empty, stop and start with an old dump.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::redis_cluster::{cli, free_port};

pub struct RedisServer {
    pub url: String,
    port: u16,
    server: Option<Child>,
    folder: TempDir,
}

impl RedisServer {
    pub fn start() -> Self {
        let port = free_port();
        let mut server = Self {
            url: format!("redis://127.0.0.1:{port}"),
            port,
            server: None,
            folder: tempfile::tempdir().unwrap(),
        };
        server.run();
        server
    }

    fn run(&mut self) {
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(self.folder.path())
            .stdout(Stdio::null());
        let server = command.spawn();
        let server = server.expect("Debian's package redis-server: `make setup-test` installs it");
        self.server = Some(server);
        let began = Instant::now();
        while !cli(self.port, &["ping"]).contains("PONG") {
            assert!(began.elapsed() < Duration::from_secs(30), "Redis answers");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Loses everything.
    pub fn empty(&self) {
        assert!(cli(self.port, &["flushall"]).contains("OK"));
    }

    /// The fields of all hashes whose name begins so.
    pub fn marks(&self, prefix: &str) -> Vec<String> {
        let script = "local found = {}
            for _, key in ipairs(redis.call('KEYS', '*')) do
              if redis.call('TYPE', key).ok == 'hash' then
                for _, field in ipairs(redis.call('HKEYS', key)) do
                  if string.sub(field, 1, #ARGV[1]) == ARGV[1] then found[#found + 1] = field end
                end
              end
            end
            return found";
        let found = cli(self.port, &["eval", script, "0", prefix]);
        let found = found.lines().filter(|line| line.contains(prefix));
        found.map(str::to_owned).collect()
    }

    /// What it says to one command.
    pub fn ask(&self, words: &[&str]) -> String {
        cli(self.port, words)
    }

    /// What a field says in every hash that has it.
    pub fn field(&self, name: &str) -> Vec<String> {
        let script = "local found = {}
            for _, key in ipairs(redis.call('KEYS', '*')) do
              local says = redis.call('TYPE', key).ok == 'hash' and redis.call('HGET', key, ARGV[1])
              if says then found[#found + 1] = says end
            end
            return found";
        let found = cli(self.port, &["eval", script, "0", name]);
        found.split_whitespace().map(str::to_owned).collect()
    }

    /// Writes a dump.
    pub fn dump(&self) {
        assert!(cli(self.port, &["save"]).contains("OK"));
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        let mut server = self.server.take().unwrap();
        server.kill().unwrap();
        server.wait().unwrap();
    }

    /// Starts it again with what it has dumped.
    pub fn start_again(&mut self) {
        self.run();
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if self.server.is_some() {
            self.kill();
        }
    }
}
