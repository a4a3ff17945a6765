//! Everything at once, and the books are exact all the same (promise 2; threats.md, B6).
//!
//! Calls of every kind, a third of them left at a random byte, while the process is killed five times and the database goes
//! away. What happens is drawn from a seed; `WEIR_SEED` runs the same again as far as the machine allows.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use tokio::{io::AsyncReadExt as _, sync::watch};
use weir_entity::usage_event;
use weir_upstream::{Behaviour, Cut, Fault, Line};

use crate::{
    books::{assert_independent_sum, mixed, secret},
    support::{
        Bench, Books, Mark, Raw, SOON, Setup, Store,
        gateway::{KEY, OTHER_KEY, hello, hello_stream},
        marked::{billed, booked},
        window,
    },
};

const MODELS: [&str; 11] = [
    "gpt-test",
    "gpt-test",
    "gpt-same",
    // What is still under way when its caller leaves.
    "slow",
    "slow",
    "slow",
    "unpriced",
    "cut",
    "falls-back",
    "reset-first",
    "breaks",
];
const KILLS: u64 = 5;
/// Calls under way at a time.
const AT_ONCE: usize = 24;

/// One call, drawn from the seed and its number.
#[derive(Debug, Clone, Copy)]
struct Plan {
    model: &'static str,
    streamed: bool,
    /// Bytes to be read before leaving, and whether by FIN.
    leaves: Option<(usize, bool)>,
}

/// A number drawn for a call: SplitMix64 (Steele, Lea and Flood 2014).
fn drawn(seed: u64, mark: Mark, turn: u64) -> u64 {
    let mut z = seed
        .wrapping_add(mark.0.wrapping_mul(0xD134_2543_DE82_EF95))
        .wrapping_add(turn.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn plan(seed: u64, mark: Mark) -> Plan {
    let draw = |turn, below: u64| drawn(seed, mark, turn) % below;
    let leaves = draw(3, 3) == 0;
    Plan {
        model: MODELS[draw(1, MODELS.len() as u64) as usize],
        streamed: draw(2, 3) > 0,
        leaves: leaves.then(|| (draw(4, 2_500) as usize, draw(5, 2) == 0)),
    }
}

/// What a caller got.
#[derive(Debug, Default)]
struct Got {
    text: String,
    /// To the connection's regular end.
    ended: bool,
}

impl Got {
    fn is_whole(&self, plan: Plan) -> bool {
        self.ended
            && self.text.starts_with("HTTP/1.1 200")
            && (!plan.streamed || self.text.contains("data: [DONE]"))
            && !self.text.contains("upstream_error")
    }
}

/// Which process is there.
#[derive(Debug, Clone)]
struct Now {
    url: String,
    kills: u64,
}

/// Makes a call where the process listens now; one that meets a dead process before it is sent is made again.
async fn perform(now: &mut watch::Receiver<Now>, mark: Mark, plan: Plan) -> Got {
    let body = match plan.streamed {
        true => hello_stream(plan.model),
        false => hello(plan.model),
    }
    .to_string();
    let key = if mark.0.is_multiple_of(3) {
        OTHER_KEY
    } else {
        KEY
    };
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: weir\r\nconnection: close\r\nauthorization: Bearer {key}\r\n{}content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        mark.headers(),
        body.len()
    );
    let mut connection = loop {
        let address = now
            .borrow_and_update()
            .url
            .trim_start_matches("http://")
            .to_owned();
        match tokio::net::TcpStream::connect(&address).await {
            Ok(connection) => break Raw(connection),
            // Nobody listens there any more: the next process says where it does.
            Err(_) => now.changed().await.unwrap(),
        }
    };
    let mut got = Got::default();
    use tokio::io::AsyncWriteExt as _;
    if connection
        .0
        .write_all(format!("{head}{body}").as_bytes())
        .await
        .is_err()
    {
        return got;
    }
    let mut read = Vec::new();
    let enough = plan.leaves.map_or(usize::MAX, |(bytes, _)| bytes);
    let mut piece = [0; 700];
    let reading = async {
        while read.len() < enough {
            match connection.0.read(&mut piece).await {
                Ok(0) => return true,
                Ok(bytes) => read.extend_from_slice(&piece[..bytes]),
                Err(_) => return false,
            }
        }
        false
    };
    got.ended = tokio::time::timeout(6 * SOON, reading)
        .await
        .expect("an end of the answer");
    got.text = String::from_utf8_lossy(&read).into_owned();
    match plan.leaves {
        // One whose process has gone has nobody to leave.
        Some((_, true)) => drop(connection.0.shutdown().await),
        Some(_) => connection.reset(),
        None => {}
    }
    got
}

async fn everything_at_once(kind: Store) {
    let seed =
        std::env::var("WEIR_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("WEIR_SEED={seed}");
    let calls_made: u64 = window(600, 10_000);
    let setup = Setup {
        outages: true,
        ..mixed()
    };
    let resources = setup.resources.clone().unwrap();
    let mut bench = Bench::without_gateway(kind, setup).await;
    bench
        .vendor
        .on_model("resets", Behaviour::fault(Fault::Reset(Cut::BeforeHead)));
    let process = bench.process().await;
    bench.apply(&resources).await;
    let now = watch::Sender::new(Now {
        url: bench.url.clone(),
        kills: 0,
    });

    let made = AtomicU64::new(0);
    let calls = stream::iter((0..calls_made).map(Mark)).map(|mark| {
        let mut now = now.subscribe();
        let made = &made;
        async move {
            // Each process has its share, and each kill meets calls: a share begins once the last kill but one is over.
            let share = mark.0 * (KILLS + 2) / calls_made;
            now.wait_for(|now| now.kills + 1 >= share).await.unwrap();
            let got = perform(&mut now, mark, plan(seed, mark)).await;
            made.fetch_add(1, Relaxed);
            (mark, got)
        }
    });
    let calls = calls
        .buffer_unordered(AT_ONCE)
        .collect::<HashMap<Mark, Got>>();
    let trouble = async {
        let mut process = process;
        for kill in 1..=KILLS {
            while made.load(Relaxed) < kill * calls_made / (KILLS + 2) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            process.kill();
            process = bench.process().await;
            let url = bench.url.clone();
            now.send_replace(Now { url, kills: kill });
            if kill == 2 {
                let outage = bench.lose_database().await;
                tokio::time::sleep(window(Duration::from_secs(1), Duration::from_secs(20))).await;
                outage.end().await;
            }
        }
        process
    };
    let (got, process) = tokio::join!(calls, trouble);

    // Who left is settled after they have gone.
    let all_there = |books: &Books| {
        let (events, bill) = (booked(books), billed(&bench.vendor));
        bill.keys().all(|mark| events.contains_key(mark))
    };
    let books = bench.books_when(all_there).await;
    let (events, bill) = (booked(&books), billed(&bench.vendor));
    assert_eq!(
        events.len(),
        books.events.len(),
        "every event is one of the calls"
    );
    let mut exact = 0;
    for (mark, got) in &got {
        let lines = bill.get(mark).map_or(&[][..], Vec::as_slice);
        match events.get(mark) {
            Some(event) => exact += u64::from(check(plan(seed, *mark), got, event, lines)),
            None => assert!(
                got.text.is_empty() && lines.is_empty(),
                "{mark:?} is lost: {got:?} {lines:#?}"
            ),
        }
    }
    let of = |outcome: &str| {
        books
            .events
            .iter()
            .filter(|event| event.outcome == outcome)
            .count()
    };
    assert!(
        exact > calls_made / 4,
        "{exact} of {calls_made} were reported and booked as reported"
    );
    // All ways there are: the last process lives on after its calls, so what it could not tell at once is told too.
    for outcome in ["interrupted", "cut_by_client", "cut_by_upstream"] {
        assert!(of(outcome) > 0, "no call is booked as {outcome}");
    }
    books.assert_sums();
    assert_independent_sum(&books);
    process.terminate();
    assert_eq!(process.ended().await, Some(0));
}

/// A call's event against what its caller got and the vendor's lines; whether its tokens are the vendor's own.
fn check(plan: Plan, got: &Got, event: &usage_event::Model, lines: &[Line]) -> bool {
    let context = format!("{plan:?}\n{got:?}\n{event:#?}\n{lines:#?}");
    let attempts = event.attempts.as_array().unwrap();
    assert!(
        attempts.len() >= lines.len() || plan.model == "reset-first",
        "{context}"
    );
    if got.is_whole(plan) {
        assert_eq!(event.outcome, "ok", "{context}");
    }
    // Killed after its last attempt had failed, before that was told: nothing is estimated, and nothing was spent.
    let all_failed = attempts
        .iter()
        .all(|attempt| attempt["failure"].is_string());
    assert!(
        event.outcome != "interrupted" || event.estimated || (all_failed && event.cost_nanos == 0),
        "{context}"
    );
    let booked = (event.input_tokens as u64, event.output_tokens as u64);
    let Some(line) = lines.last().filter(|line| line.status == Some(200)) else {
        return false;
    };
    if event.outcome == "ok" && line.usage_reported {
        assert!(!event.estimated, "{context}");
    }
    if !event.estimated {
        assert_eq!(booked, (line.tokens.input, line.tokens.output), "{context}");
        return true;
    }
    // Four bytes a token where a killed process could not count, and what may have been thought in silence: of an event
    // that was made at replay only its attempts' times are known.
    let took = attempts
        .iter()
        .map(|attempt| attempt["took_us"].as_i64().unwrap());
    let silent_us = event.total_us + took.sum::<i64>();
    let most = 2 * line.tokens.output + secret(0, silent_us) + 2;
    assert!(
        booked.0 > 0 && booked.1 <= most,
        "at most {most}: {context}"
    );
    false
}

/// Threats: B6.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_at_once_and_the_books_are_exact_embedded() {
    everything_at_once(Store::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_at_once_and_the_books_are_exact_cluster() {
    if Store::cluster_is_there() {
        everything_at_once(Store::Cluster).await;
    }
}
