//! The data plane outlives its stores (promise 5), and the spool outlives the data plane.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use serde_json::Value;

use crate::{
    both_stores,
    support::{
        Bench, Mark, Setup, Store,
        gateway::{hello, hello_stream},
        marked::booked,
        weir, window,
    },
};

/// Three times the promised five seconds.
const RECOVERY: Duration = Duration::from_secs(15);

fn outages() -> Setup {
    Setup {
        outages: true,
        ..Setup::default()
    }
}

async fn health(bench: &Bench) -> Value {
    let asked = bench
        .http
        .get(format!("{}/health", bench.url))
        .send()
        .await
        .unwrap();
    assert_eq!(asked.status(), 200, "it says whether the process lives");
    asked.json().await.unwrap()
}

async fn metric(bench: &Bench, name: &str) -> String {
    let asked = bench
        .http
        .get(format!("{}/metrics", bench.url))
        .send()
        .await
        .unwrap();
    let text = asked.text().await.unwrap();
    let line = text.lines().find(|line| line.starts_with(name));
    line.unwrap_or_else(|| panic!("{name} is missing: {text}"))
        .rsplit(' ')
        .next()
        .unwrap()
        .to_owned()
}

/// Asks `/health` until it says this.
async fn health_becomes(bench: &Bench, status: &str) {
    let deadline = Instant::now() + RECOVERY;
    loop {
        let said = health(bench).await;
        if said["status"] == status {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "it never became {status}: {said}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

both_stores!(
    keys_keep_working_while_the_database_is_away_and_everything_is_booked_once_when_it_is_back,
    outages(),
    |bench| {
        assert_eq!(bench.chat(hello("gpt-test")).await.status(), 200);
        assert_eq!(bench.books().await.events.len(), 1);
        let outage = bench.lose_database().await;
        let calls = stream::iter((0..60).map(Mark)).map(async |mark| {
            let body = if mark.0.is_multiple_of(2) {
                hello("gpt-test")
            } else {
                hello_stream("gpt-test")
            };
            let answer = mark
                .put_on(bench.post("/v1/chat/completions"))
                .json(&body)
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), 200);
            drop(answer.bytes().await.unwrap());
        });
        calls.buffer_unordered(8).collect::<Vec<()>>().await;
        health_becomes(&bench, "degraded").await;
        assert_eq!(
            metric(&bench, "gateway_store_up{store=\"database\"}").await,
            "0"
        );
        let waiting: u64 = metric(&bench, "gateway_spool_events")
            .await
            .parse()
            .unwrap();
        assert!(waiting >= 60, "{waiting} wait in the spool");
        let answer = bench
            .http
            .post(format!("{}/v1/chat/completions", bench.url))
            .bearer_auth("wk-nobody-knows-this-key-at-all")
            .json(&hello("gpt-test"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 401, "a key that was unknown stays unknown");

        tokio::time::sleep(window(Duration::ZERO, Duration::from_secs(20))).await;
        outage.end().await;
        let back = Instant::now();
        health_becomes(&bench, "ok").await;
        let books = bench.books_when(|books| books.events.len() >= 61).await;
        assert!(back.elapsed() < RECOVERY);
        assert_eq!((books.events.len(), booked(&books).len()), (61, 60));
        let billed = bench.vendor.counters();
        assert_eq!(books.tokens(), (billed.input_tokens, billed.output_tokens));
        assert_eq!(
            metric(&bench, "gateway_store_up{store=\"database\"}").await,
            "1"
        );
        books.assert_sums();
    }
);

both_stores!(
    a_database_that_comes_and_goes_amid_calls_and_bookings_books_each_call_once,
    outages(),
    |bench| {
        let count = window(300, 3_000);
        let flapping = async {
            for _ in 0..window(5, 50) {
                let outage = bench.lose_database().await;
                tokio::time::sleep(Duration::from_millis(60)).await;
                outage.end().await;
                tokio::time::sleep(Duration::from_millis(90)).await;
            }
        };
        let calls = stream::iter((0..count).map(Mark)).map(async |mark| {
            let answer = mark
                .put_on(bench.post("/v1/chat/completions"))
                .json(&hello("gpt-test"))
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), 200);
            // Closes the running segment, so that there is always something to book.
            if mark.0.is_multiple_of(10) {
                drop(
                    bench
                        .admin(reqwest::Method::GET, "/usage?by=key&wait=10ms")
                        .send()
                        .await,
                );
            }
        });
        tokio::join!(calls.buffer_unordered(4).collect::<Vec<()>>(), flapping);
        let books = bench
            .books_when(|books| books.events.len() as u64 >= count)
            .await;
        assert_eq!(
            (books.events.len() as u64, booked(&books).len() as u64),
            (count, count)
        );
        let billed = bench.vendor.counters();
        assert_eq!(books.tokens(), (billed.input_tokens, billed.output_tokens));
        books.assert_sums();
    }
);

both_stores!(
    a_full_spool_refuses_calls_and_recovers_with_the_database,
    Setup {
        environment: vec![
            ("WEIR_SPOOL_MAX_BYTES", "256KiB".to_owned()),
            ("WEIR_SPOOL_SEGMENT_BYTES", "64KiB".to_owned())
        ],
        ..outages()
    },
    |bench| {
        let outage = bench.lose_database().await;
        let (mut served, mut refused) = (0, 0);
        while refused == 0 {
            let calls = stream::iter(0..32).map(|_| {
                let call = bench
                    .post("/v1/chat/completions")
                    .header("x-request-id", "x".repeat(128));
                call.json(&hello("gpt-test")).send()
            });
            for answer in calls.buffer_unordered(16).collect::<Vec<_>>().await {
                let answer = answer.unwrap();
                if answer.status() == 200 {
                    served += 1;
                    continue;
                }
                refused += 1;
                assert_eq!(answer.status(), 503);
                assert_eq!(answer.headers()["x-should-retry"], "true");
                let body: Value = answer.json().await.unwrap();
                assert_eq!(body["error"]["code"], "spool_full");
            }
            assert!(served < 5_000, "the spool never was full");
        }
        tokio::time::sleep(window(Duration::ZERO, Duration::from_secs(20))).await;
        assert_eq!(
            bench.vendor.bill().len(),
            served,
            "nothing leaves unrecorded"
        );
        outage.end().await;
        let deadline = Instant::now() + RECOVERY;
        while bench.chat(hello("gpt-test")).await.status() != 200 {
            refused += 1;
            assert!(Instant::now() < deadline, "it never recovered");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        served += 1;
        let count = |events: &[weir_entity::usage_event::Model], outcome: &str| -> i32 {
            events
                .iter()
                .filter(|event| event.outcome == outcome)
                .map(|event| event.count)
                .sum()
        };
        let books = bench
            .books_when(|books| count(&books.events, "refused") >= refused)
            .await;
        assert_eq!(
            (count(&books.events, "ok"), count(&books.events, "refused")),
            (served as i32, refused)
        );
        books.assert_sums();
    }
);

/// The spool's segments on disk.
fn segments(spool: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(spool)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.is_file() && path.file_name().unwrap() != "lock")
        .collect()
}

/// What `weir usage replay` says of a file.
fn replay(bench: &Bench, file: &Path) -> String {
    let mut command = weir(bench.stores.environment("one"));
    let done = command
        .args(["usage", "replay"])
        .arg(file)
        .current_dir(bench.stores.folder.path())
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8(done.stdout).unwrap()
}

/// A machine is lost while the database is away; its spool was saved, twice over and with a bad copy.
async fn a_saved_spool(kind: Store) {
    let mut bench = Bench::without_gateway(kind, outages()).await;
    let process = bench.process().await;
    bench.apply(&Bench::usual_resources()).await;
    let outage = bench.lose_database().await;
    for n in 0..20 {
        let answer = Mark(n)
            .put_on(bench.post("/v1/chat/completions"))
            .json(&hello("gpt-test"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
    }
    process.kill();
    let data = PathBuf::from(bench.stores.variable("WEIR_DATA_DIR").unwrap());
    let saved = bench.stores.folder.path().join("saved");
    std::fs::create_dir(&saved).unwrap();
    for file in segments(&data.join("spool")) {
        std::fs::rename(&file, saved.join(file.file_name().unwrap())).unwrap();
    }
    outage.end().await;
    let process = bench.process().await;
    assert_eq!(bench.books().await.events.len(), 0, "the spool has gone");

    let files = segments(&saved);
    let booked_by = |said: &str| said.split(' ').next().unwrap().parse::<u32>().unwrap();
    let inserted: u32 = files
        .iter()
        .map(|file| booked_by(&replay(&bench, file)))
        .sum();
    assert_eq!(inserted, 20);
    let again: Vec<String> = files.iter().map(|file| replay(&bench, file)).collect();
    assert_eq!(
        again.iter().map(|said| booked_by(said)).sum::<u32>(),
        0,
        "{again:?}"
    );

    // R4: the same files put back, one of them with an edited record and one as a link; nothing stops the start.
    process.terminate();
    assert_eq!(process.ended().await, Some(0));
    for file in &files {
        std::fs::copy(file, data.join("spool").join(file.file_name().unwrap())).unwrap();
        let mut edited = std::fs::read(file).unwrap();
        let at = edited
            .windows(7)
            .rposition(|bytes| bytes == b"\"charge")
            .unwrap_or(edited.len() - 9);
        edited[at + 1] ^= 1;
        let name = file.file_name().unwrap().to_str().unwrap();
        let (digits, rest) = name.split_at(name.find('.').unwrap_or(name.len()));
        let (number, width) = (digits.parse::<u64>().unwrap(), digits.len());
        let later = |by: u64| {
            let number = number + by;
            data.join("spool").join(format!("{number:0width$}{rest}"))
        };
        std::fs::write(later(100), edited).unwrap();
        let place = later(200);
        std::os::unix::fs::symlink(file, place).unwrap();
    }
    let process = bench.process().await;
    let books = bench.books().await;
    assert_eq!((books.events.len(), booked(&books).len()), (20, 20));
    let billed = bench.vendor.counters();
    assert_eq!(books.tokens(), (billed.input_tokens, billed.output_tokens));
    books.assert_sums();
    drop(process);
}

/// Threats: R4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_machines_spool_is_booked_once_by_replay_however_often_embedded() {
    a_saved_spool(Store::Embedded).await;
}

/// Threats: R4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_machines_spool_is_booked_once_by_replay_however_often_cluster() {
    if Store::cluster_is_there() {
        a_saved_spool(Store::Cluster).await;
    }
}
