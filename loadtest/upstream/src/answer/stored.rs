//! What stays at the vendor: files and batches, kept by name only.

use serde_json::{Value, json};

use super::{Answer, Request};
use crate::state::State;

/// Objects kept of each kind; the oldest go first.
const MOST: usize = 1_000;

/// `/files`, `/files/{id}`, `/files/{id}/content`
pub(super) fn files(request: &Request<'_>, path: &str, state: &State, answer: &mut Answer) {
    let mut drawer = state.drawer.lock();
    if request.head.method == "POST" {
        let (name, bytes) = request
            .ask
            .file
            .clone()
            .unwrap_or_else(|| ("file".into(), 0));
        let file = json!({
            "id": format!("file-{:024x}", request.serial),
            "object": "file",
            "bytes": bytes,
            "created_at": state.clock.now_s(),
            "filename": name,
            "purpose": request.ask.purpose.as_deref().unwrap_or("user_data"),
            "status": "processed",
        });
        answer.json(&file);
        return keep(&mut drawer.files, file);
    }
    shelf(request, path, "/files", &mut drawer.files, answer);
}

/// `/batches`, `/batches/{id}`, `/batches/{id}/cancel`
pub(super) fn batches(request: &Request<'_>, path: &str, state: &State, answer: &mut Answer) {
    let mut drawer = state.drawer.lock();
    if request.head.method == "POST" && path.ends_with("/batches") {
        let batch = json!({
            "id": format!("batch_{:024x}", request.serial),
            "object": "batch",
            "endpoint": request.ask.endpoint,
            "input_file_id": request.ask.input_file,
            "completion_window": "24h",
            "status": "validating",
            "created_at": state.clock.now_s(),
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
        });
        answer.json(&batch);
        return keep(&mut drawer.batches, batch);
    }
    if let Some(path) = path.strip_suffix("/cancel") {
        let id = path.rsplit('/').next().unwrap_or_default();
        if let Some(batch) = drawer.batches.iter_mut().find(|batch| batch["id"] == id) {
            batch["status"] = json!("cancelling");
        }
        return shelf(request, path, "/batches", &mut drawer.batches, answer);
    }
    shelf(request, path, "/batches", &mut drawer.batches, answer);
}

/// Lists, shows or deletes.
fn shelf(
    request: &Request<'_>,
    path: &str,
    root: &str,
    shelf: &mut Vec<Value>,
    answer: &mut Answer,
) {
    let id = path.rsplit_once(&format!("{root}/")).map(|(_, rest)| rest);
    let Some(id) = id.map(|rest| rest.split('/').next().unwrap_or_default()) else {
        return answer.json(&json!({"object": "list", "data": shelf, "has_more": false}));
    };
    let Some(at) = shelf.iter().position(|object| object["id"] == id) else {
        return answer.error(404, Some(&format!("No such object: {id}")));
    };
    if request.head.method == "DELETE" {
        shelf.remove(at);
        answer.json(&json!({"id": id, "object": "file", "deleted": true}));
    } else if path.ends_with("/content") {
        answer.content_type = "application/octet-stream".into();
        answer
            .body
            .extend_from_slice(b"the stand-in keeps names, not contents\n");
    } else {
        answer.json(&shelf[at]);
    }
}

fn keep(shelf: &mut Vec<Value>, object: Value) {
    if shelf.len() >= MOST {
        shelf.remove(0);
    }
    shelf.push(object);
}
