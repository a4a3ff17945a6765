//! Calls that can be found again: in the books by their label, at the vendor by their trace.

use std::collections::HashMap;

use weir_entity::usage_event;
use weir_upstream::{Line, Vendor};

use super::Books;

/// A call's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mark(pub u64);

impl Mark {
    /// What the caller names the call: the event keeps it.
    pub fn label(self) -> String {
        format!("call-{}", self.0)
    }

    /// A trace that is passed on to the vendor.
    pub fn traceparent(self) -> String {
        format!("00-{:032x}-{:016x}-01", self.0 + 1, self.0 + 1)
    }

    /// Both, as headers of a raw request.
    pub fn headers(self) -> String {
        format!(
            "x-request-id: {}\r\ntraceparent: {}\r\n",
            self.label(),
            self.traceparent()
        )
    }

    pub fn put_on(self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        request
            .header("x-request-id", self.label())
            .header("traceparent", self.traceparent())
    }
}

/// What the vendor billed for each call, in order.
pub fn billed(vendor: &Vendor) -> HashMap<Mark, Vec<Line>> {
    let lines: HashMap<u64, Line> = vendor
        .bill()
        .into_iter()
        .map(|line| (line.serial, line))
        .collect();
    let mut billed: HashMap<Mark, Vec<Line>> = HashMap::new();
    for request in vendor.requests() {
        let Some(trace) = request.header("traceparent") else {
            continue;
        };
        let number = u64::from_str_radix(&trace[19..35], 16).unwrap() - 1;
        billed
            .entry(Mark(number))
            .or_default()
            .push(lines[&request.serial].clone());
    }
    billed
}

/// The events by their calls. Fails if a call has two.
pub fn booked(books: &Books) -> HashMap<Mark, &usage_event::Model> {
    let mut booked = HashMap::new();
    for event in &books.events {
        let label = event.client_request_id.as_deref().unwrap_or_default();
        let Some(number) = label.strip_prefix("call-") else {
            continue;
        };
        let mark = Mark(number.parse().unwrap());
        if let Some(other) = booked.insert(mark, event) {
            panic!("{mark:?} is booked twice: {other:#?} and {event:#?}");
        }
    }
    booked
}
