//! The process dies or is asked to stop, amid its work (promise 2).

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use weir_upstream::{Behaviour, Cut, Fault};

use crate::support::{
    Bench, Books, Mark, Process, Raw, SOON, Setup, Store,
    books::connect,
    gateway::{KEY, hello, hello_stream},
    marked::{billed, booked},
};

/// What a caller got of its call.
#[derive(Debug, Default)]
struct Got {
    /// The request id, if a head came.
    id: Option<String>,
    /// Everything, to the end.
    whole: bool,
    text: String,
}

async fn call(bench: &Bench, mark: Mark, model: &str) -> Got {
    let streamed = mark.0.is_multiple_of(2);
    let body = if streamed {
        hello_stream(model)
    } else {
        hello(model)
    };
    let call = mark.put_on(bench.post("/v1/chat/completions")).json(&body);
    let Ok(mut answer) = call.send().await else {
        return Got::default();
    };
    let id = answer.headers()["x-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let mut got = Got {
        id: Some(id),
        ..Got::default()
    };
    loop {
        match answer.chunk().await {
            Ok(Some(piece)) => got.text.push_str(&String::from_utf8_lossy(&piece)),
            Ok(None) => {
                got.whole = !streamed || got.text.contains("[DONE]");
                return got;
            }
            Err(_) => {
                got.whole = streamed && got.text.contains("[DONE]");
                return got;
            }
        }
    }
}

/// kill -9 amid 1,000 requests, half of them streams; then two starts that are killed while they replay; then a good one.
async fn every_answered_call_is_booked_once_and_every_cut_one_once(kind: Store) {
    const CALLS: u64 = 1_000;
    let mut bench = Bench::without_gateway(kind, Setup::default()).await;
    bench
        .vendor
        .set_default(Behaviour::tokens(12).with_chunk_delay_ms(4));
    let process = bench.process().await;
    bench.apply(&Bench::usual_resources()).await;

    let answered = AtomicUsize::new(0);
    let calls = stream::iter((0..CALLS).map(Mark)).map(async |mark| {
        let got = call(&bench, mark, "gpt-test").await;
        answered.fetch_add(1, Relaxed);
        (mark, got)
    });
    let calls = calls.buffer_unordered(40).collect::<HashMap<Mark, Got>>();
    let killing = async {
        while answered.load(Relaxed) < 500 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        process.kill();
    };
    let (got, ()) = tokio::join!(calls, killing);
    for after_ms in [40, 150] {
        let process = Process::spawn(&bench.stores, bench.environment("one"), &[]);
        tokio::time::sleep(Duration::from_millis(after_ms)).await;
        process.kill();
    }
    let process = bench.process().await;
    let books = bench.books().await;
    assert_killed_well(&books, &got, &bench);

    // It works as before, and a good stop leaves nothing to replay.
    let before = books.events.len();
    assert!(call(&bench, Mark(CALLS), "gpt-test").await.whole);
    process.terminate();
    assert_eq!(process.ended().await, Some(0));
    let books = Books::read_from(&connect(&bench).await).await;
    assert_eq!(books.events.len(), before + 1);
    books.assert_sums();
}

fn assert_killed_well(books: &Books, got: &HashMap<Mark, Got>, bench: &Bench) {
    let (events, bill) = (booked(books), billed(&bench.vendor));
    assert_eq!(
        events.len(),
        books.events.len(),
        "every event is one of the calls"
    );
    for (mark, got) in got {
        let Some(event) = events.get(mark) else {
            assert!(got.id.is_none(), "{mark:?} is lost: {got:?}");
            assert!(!bill.contains_key(mark), "{mark:?} left unrecorded");
            continue;
        };
        let context = format!("{mark:?} {got:?} {event:#?}");
        if let Some(id) = &got.id {
            assert_eq!(*id, event.id.to_string(), "{context}");
        }
        if event.attempts.as_array().unwrap().is_empty() {
            // Killed between its record and its attempt: nothing had left, nothing is estimated.
            assert_eq!(
                (
                    event.outcome.as_str(),
                    event.charge_nanos,
                    bill.contains_key(mark)
                ),
                ("interrupted", 0, false),
                "{context}"
            );
            continue;
        }
        if got.whole || event.outcome == "ok" {
            assert_eq!(
                (event.outcome.as_str(), event.estimated),
                ("ok", false),
                "{context}"
            );
            let billed = &bill[mark][0].tokens;
            assert_eq!(
                (event.input_tokens as u64, event.output_tokens as u64),
                (billed.input, billed.output),
                "{context}"
            );
            continue;
        }
        assert_eq!(
            (event.outcome.as_str(), event.estimated),
            ("interrupted", true),
            "{context}"
        );
        assert_eq!(
            event.charge_nanos,
            1_000 * event.input_tokens + 2_000 * event.output_tokens,
            "{context}"
        );
        assert!(event.input_tokens > 0, "{context}");
        let billed = bill.get(mark).map_or(0, |lines| lines[0].tokens.output);
        // Four bytes a token, where nobody could count: at most twice the words.
        assert!(
            event.output_tokens as u64 <= 2 * billed + 2,
            "{billed} {context}"
        );
    }
    let interrupted = books
        .events
        .iter()
        .filter(|event| event.outcome == "interrupted")
        .count();
    assert!(
        (1..=40).contains(&interrupted),
        "{interrupted} of forty under way"
    );
    let lines: usize = bill.values().map(Vec::len).sum();
    assert!(
        lines <= books.events.len() && books.events.len() >= 500,
        "{lines} at the vendor"
    );
    books.assert_sums();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_kill_every_answered_call_is_booked_once_and_every_cut_one_once_embedded() {
    every_answered_call_is_booked_once_and_every_cut_one_once(Store::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_kill_every_answered_call_is_booked_once_and_every_cut_one_once_cluster() {
    if Store::cluster_is_there() {
        every_answered_call_is_booked_once_and_every_cut_one_once(Store::Cluster).await;
    }
}

/// SIGTERM with streams that end in time, one that never does, and a call whose answer never begins.
async fn stop_under_load(kind: Store) {
    let setup = Setup {
        environment: vec![("WEIR_SHUTDOWN_DEADLINE", "1500ms".to_owned())],
        ..Setup::default()
    };
    let mut bench = Bench::without_gateway(kind, setup).await;
    let process = bench.process().await;
    bench.apply(&Bench::usual_resources()).await;
    let vendor = &bench.vendor;
    vendor.on_model(
        "gpt-test-upstream",
        Behaviour::tokens(30).with_chunk_delay_ms(20),
    );
    vendor.on_model(
        "gpt-same",
        Behaviour::tokens(30).with_fault(Fault::Hang(Cut::AfterChunks(4))),
    );
    vendor.on_model(
        "unpriced",
        Behaviour::default().with_first_byte_delay_ms(60_000),
    );
    let in_time = (0..8).map(|n| call(&bench, Mark(2 * n), "gpt-test"));
    let in_time = futures_util::future::join_all(in_time);
    let (hung, silent) = (
        call(&bench, Mark(100), "gpt-same"),
        call(&bench, Mark(101), "unpriced"),
    );
    let under_way = |lines: &[weir_upstream::Line]| {
        lines.iter().filter(|line| line.pieces > 2).count() >= 9 && lines.len() == 10
    };
    let stopping = async {
        bench.vendor.wait_for(under_way, SOON).await.unwrap();
        let asked = std::time::Instant::now();
        process.terminate();
        let address = bench.url.trim_start_matches("http://");
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            assert!(
                asked.elapsed() < Duration::from_secs(3),
                "new connections are refused"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let code = process.ended().await;
        assert_eq!(code, Some(0));
        // The deadline, and actix looks once a second whether all have gone.
        assert!(
            asked.elapsed() < Duration::from_secs(8),
            "{:?}",
            asked.elapsed()
        );
    };
    let (in_time, hung, silent, ()) = tokio::join!(in_time, hung, silent, stopping);
    assert!(in_time.iter().all(|got| got.whole), "{in_time:#?}");
    assert!(
        hung.text.contains("\"overloaded\"") && hung.text.matches("data: {").count() == 5,
        "{hung:?}"
    );
    assert!(silent.text.contains("\"overloaded\""), "{silent:?}");

    // The process has gone: the tables hold everything.
    let books = Books::read_from(&connect(&bench).await).await;
    let events = booked(&books);
    assert_eq!(events.len(), 10);
    for (mark, event) in events {
        let expected = match mark.0 {
            100 => ("cut_by_weir", 200),
            101 => ("cut_by_weir", 503),
            _ => ("ok", 200),
        };
        assert_eq!(
            (event.outcome.as_str(), event.status),
            expected,
            "{event:#?}"
        );
        assert_eq!(event.estimated, mark.0 >= 100);
    }
    books.assert_sums();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_lets_streams_finish_until_the_deadline_and_books_everything_embedded() {
    stop_under_load(Store::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_lets_streams_finish_until_the_deadline_and_books_everything_cluster() {
    if Store::cluster_is_there() {
        stop_under_load(Store::Cluster).await;
    }
}

/// Two processes in one data folder would write over each other's records.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_on_the_same_data_folder_says_so_and_ends() {
    let mut bench = Bench::without_gateway(Store::Embedded, Setup::default()).await;
    let _first = bench.process().await;
    bench.apply(&Bench::usual_resources()).await;
    let mut second = crate::support::weir(bench.environment("one"));
    let ended = tokio::task::spawn_blocking(move || second.arg("serve").output().unwrap());
    let ended = tokio::time::timeout(SOON, ended)
        .await
        .expect("it ends")
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("in use by another process"), "{said}");
    // The first has not noticed.
    let answer = bench
        .http
        .post(format!("{}/v1/chat/completions", bench.url))
        .bearer_auth(KEY)
        .json(&hello("gpt-test"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(bench.books().await.events.len(), 1);
}

/// Threats: H4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_of_files_it_serves_whom_it_has_and_recovers() {
    let mut bench = Bench::without_gateway(Store::Embedded, Setup::default()).await;
    let process = bench.process().await;
    bench.apply(&Bench::usual_resources()).await;
    let body = hello("gpt-test").to_string();
    let mut kept = Raw::connect(&bench.url).await;
    let mut served = 0;
    let mut ask = async |connection: &mut Raw| {
        connection.post("/v1/chat/completions", KEY, &body).await;
        let answered = tokio::time::timeout(SOON, connection.answer()).await;
        let status = answered.ok().flatten().map(|answer| answer.status);
        served += u64::from(status == Some(200));
        status
    };
    assert_eq!(ask(&mut kept).await, Some(200));

    process.allow_files(10);
    let mut crowd = Vec::new();
    for _ in 0..60 {
        crowd.push(Raw::connect(&bench.url).await);
    }
    assert_eq!(
        ask(&mut kept).await,
        Some(200),
        "nothing new is needed for this one"
    );
    drop(crowd);
    let deadline = std::time::Instant::now() + SOON;
    loop {
        let mut fresh = Raw::connect(&bench.url).await;
        if ask(&mut fresh).await == Some(200) {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "it never recovered");
    }
    let books = bench.books().await;
    assert_eq!(books.events.len() as u64, served);
    process.terminate();
    assert_eq!(process.ended().await, Some(0));
}
