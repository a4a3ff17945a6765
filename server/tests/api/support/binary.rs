//! The real binary: `weir serve` with its log and output kept, and the commands as people type them.

use std::{
    io::{BufRead as _, BufReader, Read, Write as _},
    process::{Child, Command, Output, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;

use super::stores::ADMIN_TOKEN;

/// A start includes the migrations, on a machine that is busy with other tests.
const START: Duration = Duration::from_secs(30);

/// A running `weir serve`, with all that it said.
pub struct Binary {
    child: Child,
    pub url: String,
    log: Arc<watch::Sender<String>>,
    out: Arc<watch::Sender<String>>,
}

impl Binary {
    /// Starts `weir serve` on a free port with this environment and no other, and waits until it says that it is ready.
    pub async fn serve(environment: &[(String, String)], arguments: &[&str]) -> Self {
        let mut child = command(environment, &[&["serve"], arguments].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = follow(child.stderr.take().unwrap());
        let out = follow(child.stdout.take().unwrap());
        let mut binary = Self {
            child,
            url: String::new(),
            log,
            out,
        };
        // `ready address=127.0.0.1:8080 …`, or the same in JSON.
        let ready = line_with(&binary.log, &["ready", "address", "admin"], "the log").await;
        let (_, address) = ready.split_once("address").unwrap();
        let is_of_address = |c: &char| c.is_ascii_digit() || ".:".contains(*c);
        let address = address.chars().skip_while(|c| !c.is_ascii_digit());
        let address: String = address.take_while(is_of_address).collect();
        binary.url = format!("http://{address}");
        binary
    }

    /// The first line of the log that holds a text; waits for it.
    pub async fn logged(&self, text: &str) -> String {
        line_with(&self.log, &[text], "the log").await
    }

    /// The first line of the output that holds a text; waits for it.
    pub async fn printed(&self, text: &str) -> String {
        line_with(&self.out, &[text], "the output").await
    }

    /// All that was printed so far.
    pub fn output(&self) -> String {
        self.out.borrow().clone()
    }

    /// Stops it as an orchestrator would; the exit code and the whole log.
    pub async fn stop(mut self) -> (Option<i32>, String) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let log = Arc::clone(&self.log);
        let code = tokio::task::spawn_blocking(move || self.child.wait().unwrap().code())
            .await
            .unwrap();
        let said = log.borrow().clone();
        (code, said)
    }

    /// A command against this server.
    pub async fn weir(&self, arguments: &[&str]) -> Output {
        weir(
            &[("WEIR_URL".to_owned(), self.url.clone()), token()],
            arguments,
        )
        .await
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        // Ended already where the test did so.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs a command with this environment and no other.
pub async fn weir(environment: &[(String, String)], arguments: &[&str]) -> Output {
    let mut command = command(environment, arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

/// The same with something on its standard input.
pub async fn weir_with_input(
    environment: &[(String, String)],
    arguments: &[&str],
    input: &str,
) -> Output {
    let mut command = command(environment, arguments);
    command.stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let input = input.to_owned();
    tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        // A command that reads nothing has ended already.
        drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
        child.wait_with_output().unwrap()
    })
    .await
    .unwrap()
}

/// Where commands find the admin token.
pub fn token() -> (String, String) {
    ("WEIR_TOKEN".to_owned(), ADMIN_TOKEN.to_owned())
}

/// Runs any program to its end; its output as text must not be asked for before.
pub async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

/// What was printed, of a command that must have succeeded.
pub fn succeeded(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What was complained, of a command that must have failed with this code.
pub fn failed(output: &Output, code: i32) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{said}{printed}");
    said
}

fn command(environment: &[(String, String)], arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command
}

fn follow(stream: impl Read + Send + 'static) -> Arc<watch::Sender<String>> {
    let kept = Arc::new(watch::Sender::new(String::new()));
    let writing = Arc::clone(&kept);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            writing.send_modify(|text| {
                text.push_str(&line);
                text.push('\n');
            });
        }
    });
    kept
}

async fn line_with(kept: &watch::Sender<String>, words: &[&str], what: &str) -> String {
    let has_all = |line: &&str| words.iter().all(|word| line.contains(word));
    let mut following = kept.subscribe();
    let found = following.wait_for(|said| said.lines().any(|line| has_all(&line)));
    let found = tokio::time::timeout(START, found).await.is_ok();
    let said = kept.borrow().clone();
    assert!(found, "{words:?} never came in {what}: {said}");
    said.lines().find(has_all).unwrap().to_owned()
}
