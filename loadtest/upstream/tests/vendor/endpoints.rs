//! Everything that is not chat.

use serde_json::json;
use weir_upstream::Vendor;

use crate::client::{Client, Reply};

async fn form(client: &mut Client, path: &str, fields: &[(&str, &str)], file: usize) -> Reply {
    let mut body = String::new();
    for (name, value) in fields {
        body +=
            &format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    }
    let content = "x".repeat(file);
    body += &format!(
        "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n{content}\r\n--b--\r\n"
    );
    let length = body.len();
    client
        .send(format!("POST {path} HTTP/1.1\r\nx-api-key: k\r\ncontent-type: multipart/form-data; boundary=b\r\ncontent-length: {length}\r\n\r\n{body}"))
        .await;
    client.reply().await
}

#[tokio::test]
async fn text_completions_stream_too() {
    let vendor = Vendor::spawn();
    let mut client = Client::connect(&vendor).await;
    let mut ask = json!({"model": "m", "prompt": "a b c", "max_tokens": 2});
    let json = client.ask("/v1/completions", &ask).await.json();
    assert_eq!(json["choices"][0]["text"], "the river");
    assert_eq!(json["usage"]["prompt_tokens"], 3);
    ask["stream"] = json!(true);
    let events = client.ask("/v1/completions", &ask).await.events();
    assert_eq!(events[1]["choices"][0]["text"], " river");
    assert_eq!(vendor.bill()[0].tokens, vendor.bill()[1].tokens);
}

#[tokio::test]
async fn embeddings_have_their_dimensions() {
    let vendor = Vendor::spawn();
    let mut client = Client::connect(&vendor).await;
    let mut ask = json!({"model": "m", "input": ["a b", "c"], "dimensions": 3});
    let json = client.ask("/v1/embeddings", &ask).await.json();
    assert_eq!(json["data"][1]["embedding"].as_array().unwrap().len(), 3);
    assert_eq!(
        json["usage"],
        json!({"prompt_tokens": 3, "total_tokens": 3})
    );
    ask["encoding_format"] = json!("base64");
    let json = client.ask("/v1/embeddings", &ask).await.json();
    assert_eq!(json["data"][0]["embedding"].as_str().unwrap().len(), 16);
    assert_eq!(vendor.bill()[1].tokens.input, 3);
}

#[tokio::test]
async fn media_are_answered_in_their_own_types() {
    let vendor = Vendor::spawn();
    let mut client = Client::connect(&vendor).await;
    let ask = json!({"model": "gpt-image-1", "prompt": "a red boat", "n": 2});
    let json = client.ask("/v1/images/generations", &ask).await.json();
    assert_eq!(json["data"].as_array().unwrap().len(), 2);
    assert_eq!(
        json["usage"]["output_tokens"],
        vendor.bill()[0].tokens.output
    );

    let reply = client
        .ask(
            "/v1/audio/speech",
            &json!({"model": "tts-1", "input": "hello"}),
        )
        .await;
    assert_eq!(reply.header("content-type"), Some("audio/mpeg"));
    assert_eq!((reply.body.len(), reply.chunks.len()), (4_096, 8));

    let path = "/v1/audio/transcriptions";
    let json = form(&mut client, path, &[("model", "whisper-1")], 64_000)
        .await
        .json();
    assert_eq!(json["usage"], json!({"type": "duration", "seconds": 2}));
    let json = form(&mut client, path, &[("model", "gpt-4o-transcribe")], 64_000)
        .await
        .json();
    assert_eq!(json["usage"]["input_tokens"], 20);
    assert_eq!(
        vendor.bill()[3].tokens.output,
        json["usage"]["output_tokens"]
    );
    assert_eq!(vendor.bill()[3].model.as_deref(), Some("gpt-4o-transcribe"));
}

#[tokio::test]
async fn small_endpoints_answer() {
    let vendor = Vendor::spawn();
    let mut client = Client::connect(&vendor).await;
    let json = client
        .ask("/v1/moderations", &json!({"input": ["a", "b"]}))
        .await
        .json();
    assert_eq!(json["results"][1]["flagged"], false);
    let ask = json!({"model": "r", "query": "q", "documents": ["a b", "c"]});
    let json = client.ask("/v1/rerank", &ask).await.json();
    assert_eq!(
        (&json["results"][1]["index"], &json["usage"]["total_tokens"]),
        (&json!(1), &json!(4))
    );
    assert_eq!(client.get("/v1/models").await.json()["object"], "list");
    assert_eq!(client.get("/v1/models/gpt-4o").await.json()["id"], "gpt-4o");
    assert_eq!(client.get("/v1/models/none").await.status, 404);
    let json = client
        .ask("/any/thing?x=1", &json!({"model": "m"}))
        .await
        .json();
    assert_eq!(
        json,
        json!({"object": "echo", "method": "POST", "path": "/any/thing", "model": "m"})
    );
}

#[tokio::test]
async fn files_and_batches_stay_with_the_vendor() {
    let vendor = Vendor::spawn();
    let mut client = Client::connect(&vendor).await;
    let file = form(&mut client, "/v1/files", &[("purpose", "batch")], 10)
        .await
        .json();
    assert_eq!(
        (&file["filename"], &file["bytes"]),
        (&json!("a.wav"), &json!(10))
    );
    let id = file["id"].as_str().unwrap();
    assert_eq!(client.get("/v1/files").await.json()["data"][0]["id"], id);
    assert_eq!(
        client.get(&format!("/v1/files/{id}")).await.json()["purpose"],
        "batch"
    );
    let ask = json!({"input_file_id": id, "endpoint": "/v1/chat/completions"});
    let batch = client.ask("/v1/batches", &ask).await.json();
    assert_eq!(batch["input_file_id"], id);
    let cancel = format!("/v1/batches/{}/cancel", batch["id"].as_str().unwrap());
    assert_eq!(
        client.ask(&cancel, &json!({})).await.json()["status"],
        "cancelling"
    );
    client
        .send(format!("DELETE /v1/files/{id} HTTP/1.1\r\n\r\n"))
        .await;
    assert_eq!(client.reply().await.json()["deleted"], true);
    assert_eq!(client.get(&format!("/v1/files/{id}")).await.status, 404);
}
