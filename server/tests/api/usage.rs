//! `weir usage` against a running server: every dimension, every form, the same sums.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;
use weir_entity::usage_event;

use crate::{
    both_stores,
    support::{
        Bench, Books,
        gateway::{KEY, OTHER_KEY, hello, hello_stream},
        stores::ADMIN_TOKEN,
        weir,
    },
};

/// Runs `weir usage` as an operator would; its standard output.
async fn usage(bench: &Bench, arguments: &[&str]) -> String {
    let environment = vec![
        ("WEIR_URL".to_owned(), bench.url.clone()),
        ("WEIR_TOKEN".to_owned(), ADMIN_TOKEN.to_owned()),
    ];
    let mut command = weir(environment);
    command.arg("usage").args(arguments);
    let done = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    assert!(
        done.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    assert!(
        done.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8(done.stdout).unwrap()
}

async fn rows(bench: &Bench, arguments: &[&str]) -> Vec<Value> {
    let text = usage(bench, &[arguments, &["--output", "json"]].concat()).await;
    serde_json::from_str(&text).unwrap()
}

/// Requests, errors, input, cached, output, nano-dollars.
type Sums = [i64; 6];

fn nanos(usd: &Value) -> i64 {
    let (whole, fraction) = usd
        .as_str()
        .unwrap()
        .split_once('.')
        .unwrap_or((usd.as_str().unwrap(), ""));
    whole.parse::<i64>().unwrap() * 1_000_000_000
        + format!("{fraction:0<9}").parse::<i64>().unwrap()
}

fn sums(rows: &[Value]) -> Sums {
    rows.iter().fold([0; 6], |sum, row| {
        let figures = [
            "requests",
            "errors",
            "input_tokens",
            "cached_tokens",
            "output_tokens",
        ];
        let mut figures = figures
            .iter()
            .map(|name| row[*name].as_i64().unwrap())
            .chain([nanos(&row["cost_usd"])]);
        sum.map(|so_far| so_far + figures.next().unwrap())
    })
}

fn of_events(books: &Books) -> Sums {
    books.events.iter().fold([0; 6], |sum, event| {
        let failed = !matches!(event.outcome.as_str(), "ok" | "cut_by_client");
        let count = i64::from(event.count);
        [
            sum[0] + count,
            sum[1] + i64::from(failed) * count,
            sum[2] + event.input_tokens,
            sum[3] + event.cached_tokens,
            sum[4] + event.output_tokens,
            sum[5] + event.charge_nanos,
        ]
    })
}

/// Calls of two tenants, three keys, four models, two channels, three endpoints, some refused.
async fn traffic(bench: &Bench) {
    bench
        .apply(r#"{tenants: [{name: acme, keys: [{name: of-the-team, group: platform-team, value: "wk-team-0123456789-abcdefghij"}]}]}"#)
        .await;
    let team = "wk-team-0123456789-abcdefghij";
    for n in 0..4 {
        for model in ["gpt-test", "gpt-same", "unpriced", "no-such-model"] {
            let body = if n % 2 == 0 {
                hello(model)
            } else {
                hello_stream(model)
            };
            let call = match n {
                0 => bench.post("/v1/chat/completions"),
                1 => bench
                    .http
                    .post(format!("{}/v1/chat/completions", bench.url))
                    .bearer_auth(OTHER_KEY),
                _ => bench
                    .http
                    .post(format!("{}/v1/chat/completions", bench.url))
                    .bearer_auth(team),
            };
            drop(
                call.json(&body)
                    .send()
                    .await
                    .unwrap()
                    .bytes()
                    .await
                    .unwrap(),
            );
        }
    }
    let embedding = bench
        .post("/v1/embeddings")
        .json(&json!({"model": "embed-test", "input": "a river"}));
    assert_eq!(embedding.send().await.unwrap().status(), 200);
    let own = bench
        .post("/proxy/dedicated/v1/chat/completions")
        .json(&hello("house-model"));
    assert_eq!(own.send().await.unwrap().status(), 200);
}

both_stores!(
    /// The command line waits by itself until what was answered before is booked.
    every_dimension_and_every_form_of_weir_usage_gives_the_same_sums,
    |bench| {
        traffic(&bench).await;
        let total = rows(&bench, &[]).await;
        assert_eq!(total.len(), 1);
        let books = bench.books().await;
        let expected = of_events(&books);
        assert_eq!(expected[0], 18);
        assert_eq!(sums(&total), expected);

        let dimensions = [
            ("tenant", vec!["acme", "globex"]),
            ("key", vec!["laptop", "of-the-team", "server"]),
            ("user", vec!["", "zhang@acme.example"]),
            ("group", vec!["", "platform-team"]),
            ("model", vec!["embed-test", "gpt-same", "gpt-test", "house-model", "no-such-model", "unpriced"]),
            ("channel", vec!["", "dedicated", "vendor"]),
            ("endpoint", vec!["/proxy", "/v1/chat/completions", "/v1/embeddings"]),
            ("outcome", vec!["ok", "refused"]),
            ("source", vec!["api"]),
        ];
        for (dimension, names) in &dimensions {
            let rows = rows(&bench, &["--by", dimension]).await;
            assert_eq!(sums(&rows), expected, "{dimension}");
            let mut found: Vec<&str> = rows.iter().map(|row| row[*dimension].as_str().unwrap()).collect();
            found.sort_unstable();
            assert_eq!(&found, names, "{dimension}");
        }
        assert_the_attempts_are_told(&bench, &books).await;
        let all = "tenant,key,user,group,model,channel,endpoint";
        assert_eq!(sums(&rows(&bench, &["--by", all]).await), expected);
        assert_the_forms_agree(&bench, expected).await;
        assert_the_filters_part_the_whole(&bench, expected).await;
    }
);

/// What the attempts at each channel cost, where channels are told apart.
async fn assert_the_attempts_are_told(bench: &Bench, books: &Books) {
    let attempts = |event: &usage_event::Model| event.attempts.as_array().unwrap().len() as i64;
    let expected = (
        books.events.iter().map(attempts).sum::<i64>(),
        books
            .events
            .iter()
            .map(|event| event.cost_nanos)
            .sum::<i64>(),
    );
    assert!(expected.1 > 0);
    for by in ["channel", "tenant,channel,model"] {
        let rows = rows(bench, &["--by", by]).await;
        let told = rows.iter().fold((0, 0), |(attempts, cost), row| {
            (
                attempts + row["attempts"].as_i64().unwrap(),
                cost + nanos(&row["attempts_cost_usd"]),
            )
        });
        assert_eq!(told, expected, "{by}");
    }
    let csv = usage(bench, &["--by", "channel", "--output", "csv"]).await;
    let head = csv.lines().next().unwrap();
    assert!(
        head.ends_with(",cost_usd,attempts,attempts_cost_usd"),
        "{head}"
    );
    for by in ["model", "channel,key"] {
        let rows = rows(bench, &["--by", by]).await;
        assert!(rows.iter().all(|row| row.get("attempts").is_none()), "{by}");
    }
}

/// Table and CSV against JSON.
async fn assert_the_forms_agree(bench: &Bench, expected: Sums) {
    let json = rows(bench, &["--by", "tenant,model"]).await;
    let names = [
        "tenant",
        "model",
        "requests",
        "errors",
        "input_tokens",
        "cached_tokens",
        "output_tokens",
        "cost_usd",
    ];
    let from_json: Vec<Vec<String>> = json
        .iter()
        .map(|row| {
            names
                .iter()
                .map(|name| {
                    row[*name]
                        .as_str()
                        .map_or_else(|| row[*name].to_string(), str::to_owned)
                })
                .collect()
        })
        .collect();
    let csv = usage(bench, &["--by", "tenant,model", "--output", "csv"]).await;
    let mut lines = csv
        .lines()
        .map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(lines.next().unwrap(), names);
    assert_eq!(lines.collect::<Vec<_>>(), from_json);
    let table = usage(bench, &["--by", "tenant,model", "--output", "table"]).await;
    let words: Vec<Vec<String>> = table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect();
    assert_eq!(words, from_json, "{table}");
    assert_eq!(sums(&json), expected);
}

/// Filters by name, and days of another zone.
async fn assert_the_filters_part_the_whole(bench: &Bench, expected: Sums) {
    let mut parts: BTreeMap<&str, Sums> = BTreeMap::new();
    for tenant in ["acme", "globex"] {
        parts.insert(
            tenant,
            sums(&rows(bench, &["--by", "model", "--tenant", tenant]).await),
        );
    }
    let whole = parts.values().fold([0; 6], |sum, part| {
        std::array::from_fn(|at| sum[at] + part[at])
    });
    assert_eq!(whole, expected);
    assert_eq!(parts["globex"][0], 4);

    let before = jiff::Timestamp::now();
    let days = rows(bench, &["--grain", "day", "--tz", "Asia/Shanghai"]).await;
    let day = |at: jiff::Timestamp| {
        at.to_zoned(jiff::tz::TimeZone::get("Asia/Shanghai").unwrap())
            .date()
            .to_string()
    };
    let labels: Vec<&str> = days
        .iter()
        .map(|row| row["time"].as_str().unwrap())
        .collect();
    // Midnight may have passed since the traffic.
    let today = day(before);
    assert_eq!(labels.last(), Some(&today.as_str()));
    assert!(labels.len() <= 2);
    assert_eq!(sums(&days), expected);
    let hours = rows(
        bench,
        &["--grain", "hour", "--tz", "Asia/Shanghai", "--by", "key"],
    )
    .await;
    assert!(
        hours
            .iter()
            .all(|row| row["time"].as_str().unwrap().ends_with(":00:00+08:00")),
        "{hours:?}"
    );
    assert_eq!(sums(&hours), expected);
    let yesterday = day(before - jiff::SignedDuration::from_hours(48));
    assert!(
        rows(bench, &["--by", "key", "--to", &yesterday])
            .await
            .is_empty()
    );
}

const FIRST: &str = "sk-first-bill-0123456789";
const SECOND: &str = "sk-second-bill-9876543210";

both_stores!(
    /// Each credential of a pool may be a bill of its own.
    each_credential_has_its_own_sums_and_operators_alone_are_told,
    |bench| {
        let pool = format!("[{{name: first, value: {FIRST}}}, {{name: second, value: {SECOND}}}]");
        bench.apply(&format!("channels: [{{name: vendor, credentials: {pool}}}]")).await;
        // The pool takes turns, so that one has a call more than the other.
        let calls = [
            (KEY, "/v1/chat/completions", "gpt-test", 200),
            (OTHER_KEY, "/v1/chat/completions", "gpt-test", 200),
            (KEY, "/v1/chat/completions", "gpt-same", 200),
            (KEY, "/v1/chat/completions", "gpt-test", 200),
            (OTHER_KEY, "/v1/chat/completions", "gpt-same", 200),
            (KEY, "/v1/chat/completions", "no-such-model", 404),
            (KEY, "/proxy/dedicated/v1/chat/completions", "house-model", 200),
        ];
        for (key, path, model, status) in calls {
            let call = bench.http.post(format!("{}{path}", bench.url)).bearer_auth(key);
            let answer = call.json(&hello(model)).send().await.unwrap();
            assert_eq!(answer.status(), status, "{path} {model}");
            answer.bytes().await.unwrap();
        }
        let books = bench.books().await;
        let known = credentials(&bench).await;
        let told = rows(&bench, &["--by", "credential"]).await;
        let mut names: Vec<&str> = told.iter().map(|row| row["credential"].as_str().unwrap()).collect();
        names.sort_unstable();
        assert_eq!(names, known.keys().collect::<Vec<_>>());
        assert_eq!(sums(&told), of_events(&books));
        for row in &told {
            let name = row["credential"].as_str().unwrap();
            let events = books.events.iter().filter(|event| event.credential_id == known[name]);
            let own = Books { events: events.cloned().collect(), rollups: Vec::new() };
            assert_eq!(sums(std::slice::from_ref(row)), of_events(&own), "{name}");
            let attempts = own.calls().count() as i64;
            let cost = own.events.iter().map(|event| event.cost_nanos).sum::<i64>();
            assert_eq!((row["attempts"].as_i64(), nanos(&row["attempts_cost_usd"])), (Some(attempts), cost), "{name}");
        }
        // The vendor sees it alike, and bills one for more than the other.
        let bill = bench.vendor.totals_by_credential();
        let mut requests = Vec::new();
        for (name, value) in [("first", FIRST), ("second", SECOND)] {
            let row = told.iter().find(|row| row["credential"] == name).unwrap();
            let tokens = [&row["input_tokens"], &row["output_tokens"]].map(Value::as_u64);
            assert_eq!(tokens, [bill[value].input, bill[value].output].map(Some), "{name}");
            requests.push(row["requests"].as_i64().unwrap());
            // By name and by id.
            let id = known[name].unwrap().to_string();
            for credential in [name, &id] {
                let of_it = rows(&bench, &["--by", "model", "--credential", credential]).await;
                assert_eq!(sums(&of_it), sums(std::slice::from_ref(row)), "{credential}");
            }
        }
        requests.sort_unstable();
        assert_eq!(requests, [2, 3]);
        assert_tenants_are_told_of_no_credential(&bench).await;
    }
);

/// Ids by what reports call credentials; what went out with none is called nothing.
async fn credentials(bench: &Bench) -> BTreeMap<String, Option<Uuid>> {
    let channels = bench.admin(Method::GET, "/channels").send().await.unwrap();
    let channels: Value = channels.json().await.unwrap();
    let channels = channels["data"].as_array().unwrap().iter();
    let pools = channels.flat_map(|channel| channel["credentials"].as_array().unwrap());
    let ids = pools.map(|credential| {
        let id = credential["id"].as_str().unwrap();
        let name = credential["name"].as_str().unwrap_or(id);
        (name.to_owned(), Some(id.parse::<Uuid>().unwrap()))
    });
    ids.chain([(String::new(), None)]).collect()
}

/// Not by asking for them, nor for what went out with one; and no operator sees more who views as a tenant.
async fn assert_tenants_are_told_of_no_credential(bench: &Bench) {
    let order = json!({"tenant": "acme", "name": "owner", "role": "owner"});
    let made = bench.admin(Method::POST, "/service-tokens").json(&order);
    let made: Value = made.send().await.unwrap().json().await.unwrap();
    let token = made["value"].as_str().unwrap();
    for (words, wanted) in [
        ("by=credential", 422),
        ("by=model,credential", 422),
        ("by=model&credential=first", 422),
        ("by=model&credential=nobodys", 422),
        ("by=model", 200),
    ] {
        let path = format!("/usage?{words}");
        let url = format!("{}/v1/admin{path}", bench.admin_url);
        let theirs = bench.http.get(url).bearer_auth(token);
        let seen = bench.admin(Method::GET, &path);
        for asked in [theirs, seen.header("x-weir-view-as", "acme")] {
            let answer = asked.send().await.unwrap();
            assert_eq!(answer.status(), wanted, "{words}");
            let answer: Value = answer.json().await.unwrap();
            if wanted == 422 {
                let error = json!({"path": "by", "message": "credentials are told apart for operators alone"});
                assert_eq!(answer["errors"], json!([error]), "{words}");
            }
        }
    }
}
