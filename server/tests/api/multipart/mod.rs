//! Images, audio, moderations, rerank, files and batches: relayed, with the model found wherever it stands (threats.md, B2,
//! H11).

mod refused;

use serde_json::{Value, json};
use weir_upstream::Behaviour;

use crate::{
    both_stores,
    support::{
        Bench, Raw, SOON, Setup,
        gateway::{KEY, OTHER_KEY},
        refused,
    },
};

const TRANSCRIBE: &str = "/v1/audio/transcriptions";

fn media() -> Setup {
    let models = r#"
  - {name: speech, prices: {input: "1", output: "2"}, routes: [{channel: vendor, model: tts-upstream}]}
  - {name: transcribe, prices: {input: "1", output: "2"}, routes: [{channel: vendor, model: gpt-4o-transcribe}]}
  - {name: picture, prices: {input: "1", output: "2"}, routes: [{channel: vendor, model: gpt-image-1}]}
  - {name: moderate, prices: {input: "0"}, routes: [{channel: vendor, model: omni-moderation}]}
  - {name: rank, prices: {input: "1"}, routes: [{channel: vendor, model: rerank-upstream}]}
tenants:"#;
    Setup {
        resources: Some(Bench::usual_resources().replacen("\ntenants:", models, 1)),
        ..Setup::default()
    }
}

/// A part of a form.
fn part(name: &str, content: &[u8]) -> Vec<u8> {
    let head = format!("--edge\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n");
    [head.as_bytes(), content, b"\r\n"].concat()
}

fn file(content: &[u8]) -> Vec<u8> {
    let head = "--edge\r\ncontent-disposition: form-data; name=\"file\"; filename=\"../../a.wav\"\r\ncontent-type: audio/wav\r\n\r\n";
    [head.as_bytes(), content, b"\r\n"].concat()
}

const END: &[u8] = b"--edge--\r\n";

async fn send(bench: &Bench, path: &str, body: Vec<u8>) -> reqwest::Response {
    let request = bench
        .post(path)
        .header("content-type", "multipart/form-data; boundary=edge");
    request.body(body).send().await.unwrap()
}

both_stores!(
    speech_streams_through_as_bytes_and_is_booked,
    media(),
    |bench| {
        bench
            .vendor
            .set_default(Behaviour::default().with_chunk_delay_ms(2));
        let asked = bench
            .post("/v1/audio/speech")
            .json(&json!({"model": "speech", "input": "hello there", "voice": "alloy"}));
        let answer = asked.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "audio/mpeg");
        let bytes = answer.bytes().await.unwrap();
        let expected: Vec<u8> = [0xff, 0xfb, 0x90, 0x00]
            .into_iter()
            .chain((4..4096).map(|at| (at * 7 % 256) as u8))
            .collect();
        assert_eq!(bytes, expected);
        assert_eq!(bench.vendor.requests()[0].json()["model"], "tts-upstream");
        let books = bench.books().await;
        let event = books.only();
        assert_eq!(
            (
                event.model.as_str(),
                event.outcome.as_str(),
                event.endpoint.as_str()
            ),
            ("speech", "ok", "/v1/audio")
        );
        assert_eq!(event.response_bytes, 4096);
    }
);

both_stores!(
    json_endpoints_are_relayed_with_the_routes_name,
    media(),
    |bench| {
        let asked = [
            (
                "/v1/images/generations",
                json!({"model": "picture", "prompt": "a river", "n": 1}),
                "gpt-image-1",
            ),
            (
                "/v1/moderations",
                json!({"model": "moderate", "input": "a river"}),
                "omni-moderation",
            ),
            (
                "/v1/rerank",
                json!({"model": "rank", "query": "river", "documents": ["a", "b"]}),
                "rerank-upstream",
            ),
        ];
        for (path, body, upstream) in &asked {
            let answer = bench.post(path).json(body).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{path}");
            let received = bench.vendor.requests().last().unwrap().clone();
            assert_eq!(
                (received.path.as_str(), &received.json()["model"]),
                (*path, &json!(upstream))
            );
            let mut sent = body.clone();
            sent["model"] = json!(upstream);
            assert_eq!(received.json(), sent);
        }
        let books = bench.books().await;
        for (line, event) in bench.vendor.bill().iter().zip(&books.events) {
            let tokens = (event.input_tokens as u64, event.output_tokens as u64);
            assert!(
                event.estimated || tokens == (line.tokens.input, line.tokens.output),
                "{line:?} {event:?}"
            );
        }
    }
);

both_stores!(
    /// Threats: B8.
    whatever_a_body_says_it_is_its_model_is_read,
    media(),
    |bench| {
        // Vendors that do not look at the content type would serve what Weir had not seen.
        let paths = [
            "/v1/images/generations",
            "/v1/audio/speech",
            "/v1/moderations",
            "/v1/rerank",
            "/v1/chat/completions",
            "/proxy/vendor/v1/chat/completions",
            "/proxy/vendor/v1/images/generations",
        ];
        for path in paths {
            for kind in [
                "text/plain",
                "application/octet-stream",
                "application/x-www-form-urlencoded",
                "application/json; charset=utf-16",
                "image/png",
                "x",
                "",
            ] {
                let mut request = bench.post(path);
                if !kind.is_empty() {
                    request = request.header("content-type", kind);
                }
                let body =
                    json!({"model": "not-granted", "input": "a", "prompt": "a", "messages": []})
                        .to_string();
                refused(
                    request.body(body).send().await.unwrap(),
                    404,
                    "model_not_found",
                )
                .await;
            }
            let not_json = bench
                .post(path)
                .header("content-type", "text/plain")
                .body("model=not-granted");
            refused(not_json.send().await.unwrap(), 400, "invalid_json").await;
        }
        assert!(bench.vendor.requests().is_empty());
    }
);

both_stores!(
    a_forms_model_is_found_first_or_last_and_renamed_in_place,
    media(),
    |bench| {
        let wav = vec![7u8; 40_000];
        let model = part("model", b"transcribe");
        let forms = [
            [model.clone(), file(&wav), part("language", b"en")],
            [file(&wav), part("language", b"en"), model.clone()],
            [part("language", b"en"), model.clone(), file(&wav)],
        ];
        for form in forms {
            let body = [form.concat(), END.to_vec()].concat();
            let answer = send(&bench, TRANSCRIBE, body.clone()).await;
            assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
            let received = bench.vendor.requests().last().unwrap().clone();
            let text = String::from_utf8_lossy(&body)
                .replace("\r\n\r\ntranscribe\r\n", "\r\n\r\ngpt-4o-transcribe\r\n");
            assert_eq!(String::from_utf8_lossy(&received.body), text);
            assert_eq!(
                received.header("content-type"),
                Some("multipart/form-data; boundary=edge")
            );
        }
        let books = bench.books().await;
        assert_eq!(books.events.len(), 3);
        for (line, event) in bench.vendor.bill().iter().zip(&books.events) {
            assert_eq!(line.model.as_deref(), event.upstream_model.as_deref());
            assert_eq!(
                (event.input_tokens as u64, event.output_tokens as u64),
                (line.tokens.input, line.tokens.output)
            );
            assert!(!event.estimated && event.charge_nanos > 0);
        }
    }
);

/// How many files this process holds that have no name any more, as temporary ones do.
fn nameless_files() -> usize {
    let links = std::fs::read_dir("/proc/self/fd").unwrap();
    links
        .filter_map(|link| std::fs::read_link(link.ok()?.path()).ok())
        .filter(|path| {
            let path = path.to_string_lossy();
            path.contains(" (deleted)")
                && path.starts_with(&*std::env::temp_dir().to_string_lossy())
        })
        .count()
}

both_stores!(
    /// Threats: H11.
    a_model_behind_a_large_file_is_found_and_nothing_stays_on_disk,
    media(),
    |bench| {
        let wav: Vec<u8> = (0..3 << 20).map(|at: u32| (at % 251) as u8).collect();
        let body = [file(&wav), part("model", b"transcribe"), END.to_vec()].concat();
        let answer = send(&bench, TRANSCRIBE, body.clone()).await;
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
        let received = bench.vendor.requests()[0].clone();
        assert_eq!(
            received.body_bytes as usize,
            body.len() + "gpt-4o-transcribe".len() - "transcribe".len()
        );
        let found = received
            .body
            .windows(21)
            .any(|window| window == b"\r\n\r\ngpt-4o-transcribe");
        assert!(found, "renamed");
        let start = received
            .body
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .unwrap()
            + 4;
        assert!(
            received.body[start..start + wav.len()] == wav[..],
            "the file is untouched"
        );
        assert_eq!(bench.books().await.only().outcome, "ok");
        // Unlinked from the start: no name ever shows, and the space is free once the call is over.
        let now = std::fs::read_dir(std::env::temp_dir()).unwrap();
        let named: Vec<_> = now
            .filter_map(Result::ok)
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(".tmp"))
            .filter(|entry| entry.metadata().is_ok_and(|data| data.is_file()))
            .collect();
        assert!(named.is_empty(), "{named:?}");
        let deadline = tokio::time::Instant::now() + SOON;
        while nameless_files() > 0 {
            assert!(
                tokio::time::Instant::now() < deadline,
                "a temporary file is still open"
            );
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
);

both_stores!(
    /// Threats: B2.
    a_second_model_in_what_is_already_streaming_breaks_the_call_off,
    media(),
    |bench| {
        // More than the memory for a form: what comes first is on its way when the second model is met.
        let body = [
            part("model", b"transcribe"),
            file(&vec![7; 3 << 20]),
            part("model", b"gpt-test"),
            END.to_vec(),
        ]
        .concat();
        let answer = send(&bench, TRANSCRIBE, body).await;
        refused(answer, 400, "invalid_multipart").await;
        let books = bench.books().await;
        let event = books.only();
        assert_eq!((event.status, event.outcome.as_str()), (400, "refused"));
        // The vendor never had a whole request to answer.
        assert!(
            bench
                .vendor
                .bill()
                .iter()
                .all(|line| line.tokens.input == 0),
            "{:?}",
            bench.vendor.bill()
        );
    }
);

both_stores!(
    what_stays_at_the_vendor_needs_a_channel_of_ones_own,
    media(),
    |bench| {
        let jsonl = [
            part("purpose", b"batch"),
            file(b"{\"custom_id\":\"1\"}\n"),
            END.to_vec(),
        ]
        .concat();
        let as_globex = |method: reqwest::Method, path: &str| {
            bench
                .http
                .request(method, format!("{}{path}", bench.url))
                .bearer_auth(OTHER_KEY)
        };
        for path in [
            "/v1/files",
            "/v1/files/file-1",
            "/v1/files/file-1/content",
            "/v1/batches",
            "/v1/batches/b",
        ] {
            let asked = as_globex(reqwest::Method::GET, path);
            refused(asked.send().await.unwrap(), 404, "not_on_shared_channel").await;
        }
        let upload = as_globex(reqwest::Method::POST, "/v1/files")
            .header("content-type", "multipart/form-data; boundary=edge");
        refused(
            upload.body(jsonl.clone()).send().await.unwrap(),
            404,
            "not_on_shared_channel",
        )
        .await;
        let batch = as_globex(reqwest::Method::POST, "/v1/batches")
            .json(&json!({"input_file_id": "file-1"}));
        refused(batch.send().await.unwrap(), 404, "not_on_shared_channel").await;
        for path in [
            "/v1/files",
            "/v1/batches",
            "/v1/responses",
            "/v1/responses/r",
            "/v1/fine_tuning/jobs",
            "/v1/organization/users",
        ] {
            for channel in ["vendor", "dedicated"] {
                let asked = as_globex(reqwest::Method::GET, &format!("/proxy/{channel}{path}"));
                let code = if channel == "vendor" {
                    "not_on_shared_channel"
                } else {
                    "channel_not_found"
                };
                refused(asked.send().await.unwrap(), 404, code).await;
            }
        }
        assert!(bench.vendor.requests().is_empty(), "nothing went upstream");

        // acme has a channel of its own.
        let uploaded: Value = send(&bench, "/v1/files", jsonl.clone())
            .await
            .json()
            .await
            .unwrap();
        let id = uploaded["id"].as_str().unwrap();
        assert_eq!(bench.vendor.requests()[0].body, jsonl, "byte for byte");
        assert_eq!(
            bench.vendor.requests()[0].header("authorization"),
            Some("Bearer sk-dedicated-credential-3333")
        );
        let get = async |path: String| {
            bench
                .http
                .get(format!("{}{path}", bench.url))
                .bearer_auth(KEY)
                .send()
                .await
                .unwrap()
        };
        let list: Value = get("/v1/files".to_owned()).await.json().await.unwrap();
        assert_eq!(list["data"][0]["id"], id);
        assert_eq!(get(format!("/v1/files/{id}/content")).await.status(), 200);
        let batch = bench.post("/v1/batches").json(&json!({"input_file_id": id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}));
        let batch: Value = batch.send().await.unwrap().json().await.unwrap();
        let cancel = bench.post(&format!(
            "/v1/batches/{}/cancel",
            batch["id"].as_str().unwrap()
        ));
        assert_eq!(cancel.send().await.unwrap().status(), 200);
        let delete = bench
            .http
            .delete(format!("{}/v1/files/{id}", bench.url))
            .bearer_auth(KEY);
        assert_eq!(delete.send().await.unwrap().status(), 200);
        assert_eq!(get(format!("/v1/files/{id}")).await.status(), 404);
        let received = bench.vendor.requests();
        assert!(
            received
                .iter()
                .all(|request| request.header("authorization")
                    == Some("Bearer sk-dedicated-credential-3333"))
        );
        let books = bench.books().await;
        assert_eq!(books.calls().count(), received.len());
    }
);

both_stores!(
    an_upload_larger_than_memory_is_streamed_to_its_end,
    media(),
    |bench| {
        let jsonl = [
            part("purpose", b"batch"),
            file(&vec![b'x'; 5 << 20]),
            END.to_vec(),
        ]
        .concat();
        let answer = send(&bench, "/v1/files", jsonl.clone()).await;
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
        assert_eq!(answer.json::<Value>().await.unwrap()["bytes"], 5 << 20);
        assert_eq!(bench.vendor.requests()[0].body_bytes as usize, jsonl.len());

        // One that is cut off in the middle is told to the vendor as such, and booked.
        let mut raw = Raw::connect(&bench.url).await;
        let head = format!(
            "POST /v1/files HTTP/1.1\r\nhost: weir\r\nx-api-key: {KEY}\r\ncontent-type: multipart/form-data; boundary=edge\r\ncontent-length: {}\r\n\r\n",
            jsonl.len()
        );
        raw.send([head.as_bytes(), &jsonl[..3 << 20]].concat())
            .await;
        raw.leave().await;
        let books = bench.books_when(|books| books.events.len() == 2).await;
        assert_ne!(books.events[1].outcome, "ok");
    }
);
