//! The small JSON endpoints: embeddings, moderations, rerank, models.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Answer, Request};

/// Numbers in a vector when nothing else is asked: enough to see, not enough to matter.
const USUAL_DIMENSIONS: usize = 8;
const MOST_DIMENSIONS: usize = 4_096;

/// The models that `/models` lists.
const MODELS: [&str; 6] = [
    "gpt-4o",
    "gpt-4o-mini",
    "o4-mini",
    "text-embedding-3-small",
    "gpt-image-1",
    "whisper-1",
];

/// `POST /embeddings`
pub(super) fn embeddings(request: &Request<'_>, answer: &mut Answer) {
    answer.input = request.input();
    let dimensions = request
        .ask
        .dimensions
        .unwrap_or(USUAL_DIMENSIONS)
        .min(MOST_DIMENSIONS);
    let data: Vec<Value> = (0..request.ask.items.max(1))
        .map(|index| {
            let vector: Vec<f32> = (0..dimensions).map(|at| number(index, at)).collect();
            let embedding = if request.ask.base64 {
                let bytes: Vec<u8> = vector.iter().flat_map(|n| n.to_le_bytes()).collect();
                json!(STANDARD.encode(bytes))
            } else {
                json!(vector)
            };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    let input = answer.input.input;
    let body = json!({
        "object": "list",
        "data": data,
        "model": request.model("text-embedding-3-small"),
    });
    with_usage(
        request,
        answer,
        body,
        json!({"prompt_tokens": input, "total_tokens": input}),
    );
}

/// A number between -1 and 1 that depends on its place only.
fn number(index: usize, at: usize) -> f32 {
    let mixed = (index * 31 + at + 1).wrapping_mul(0x9e37_79b9) % 2_000;
    mixed as f32 / 1_000.0 - 1.0
}

/// `POST /moderations`, which is free.
pub(super) fn moderations(request: &Request<'_>, answer: &mut Answer) {
    let names = [
        "harassment",
        "hate",
        "illicit",
        "self-harm",
        "sexual",
        "violence",
    ];
    let all = |value: Value| -> Value {
        names
            .iter()
            .map(|name| ((*name).to_owned(), value.clone()))
            .collect()
    };
    let result = json!({
        "flagged": false,
        "categories": all(json!(false)),
        "category_scores": all(json!(0.0001)),
    });
    answer.json(&json!({
        "id": format!("modr-{:024x}", request.serial),
        "model": request.model("omni-moderation-latest"),
        "results": vec![result; request.ask.items.max(1)],
    }));
}

/// `POST /rerank`: the documents in their order.
pub(super) fn rerank(request: &Request<'_>, answer: &mut Answer) {
    answer.input = request.input();
    let results: Vec<Value> = (0..request.ask.items)
        .map(|index| json!({"index": index, "relevance_score": 1.0 / (index + 1) as f64}))
        .collect();
    let body = json!({
        "id": format!("rerank-{:024x}", request.serial),
        "model": request.model("rerank-v1"),
        "results": results,
    });
    let total = answer.input.input;
    with_usage(request, answer, body, json!({"total_tokens": total}));
}

/// `GET /models` and `GET /models/{id}`
pub(super) fn models(path: &str, answer: &mut Answer) {
    let model = |id: &str| json!({"id": id, "object": "model", "created": 1_700_000_000, "owned_by": "stand-in"});
    match path.rsplit_once("/models/") {
        Some((_, id)) if MODELS.contains(&id) => answer.json(&model(id)),
        Some((_, id)) => {
            answer.error(404, Some(&format!("The model '{id}' does not exist")));
        }
        None => {
            let data: Vec<Value> = MODELS.iter().map(|id| model(id)).collect();
            answer.json(&json!({"object": "list", "data": data}));
        }
    }
}

/// Writes a body with what stands for its usage.
pub(super) fn with_usage(
    request: &Request<'_>,
    answer: &mut Answer,
    mut body: Value,
    truth: Value,
) {
    let (usage, honest) = request.usage(truth);
    if let Some(usage) = usage {
        body["usage"] = usage;
    }
    answer.json(&body);
    answer.earn(0, honest);
}
