//! `/_control/...`: the same steering from another process as tests have from within.
//!
//! - `POST /_control/behaviours`: [`Orders`] as JSON.
//! - `GET /_control/bill`: counters, totals and the lines.
//! - `GET /_control/requests`: the requests as received.
//! - `DELETE /_control` (or anything below): forget behaviours, bill and stored objects.

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

use crate::answer::Answer;
use crate::behaviour::Behaviour;
use crate::request::Head;
use crate::state::{ConnectionPolicy, State};

/// What to do from now on; what is absent stays as it is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Orders {
    /// For the next requests, one each, in this order.
    pub push: Vec<Behaviour>,
    /// For all others.
    pub default: Option<Behaviour>,
    /// For requests of these models.
    pub models: BTreeMap<String, Behaviour>,
    /// How connections are treated between requests.
    pub connections: Option<ConnectionPolicy>,
}

impl Orders {
    pub(crate) fn apply(self, state: &State) -> anyhow::Result<()> {
        if let Some(default) = self.default {
            state.set_default(default)?;
        }
        for (model, behaviour) in self.models {
            state.on_model(model, behaviour)?;
        }
        for behaviour in self.push {
            state.push(behaviour)?;
        }
        if let Some(policy) = self.connections {
            *state.policy.write() = policy;
        }
        Ok(())
    }
}

/// Answers a request under `/_control`.
pub(crate) fn answer(head: &Head, body: &[u8], state: &State, answer: &mut Answer) {
    match steer(head, body, state) {
        Ok(Some(value)) => answer.json(&value),
        Ok(None) => answer.error(404, Some("no such control")),
        Err(error) => answer.error(400, Some(&format!("{error:#}"))),
    }
}

fn steer(head: &Head, body: &[u8], state: &State) -> anyhow::Result<Option<Value>> {
    let value = match (head.method.as_str(), head.route()) {
        ("POST", "/_control/behaviours") => {
            let orders: Orders = serde_json::from_slice(body).context("not understood")?;
            orders.apply(state)?;
            json!({"ok": true})
        }
        ("GET", "/_control/bill") => json!({
            "counters": state.book.counters(),
            "by_credential": state.book.totals(|line| line.credential.as_deref()),
            "by_model": state.book.totals(|line| line.model.as_deref()),
            "lines": state.book.lines(),
        }),
        ("GET", "/_control/requests") => {
            let requests = state.book.requests().into_iter().map(|request| {
                json!({
                    "serial": request.serial,
                    "connection": request.connection,
                    "method": request.method,
                    "path": request.path,
                    "headers": request.headers,
                    "body": String::from_utf8_lossy(&request.body),
                    "body_bytes": request.body_bytes,
                })
            });
            Value::from_iter(requests)
        }
        ("DELETE", _) => {
            state.reset()?;
            json!({"ok": true})
        }
        _ => return Ok(None),
    };
    Ok(Some(value))
}
