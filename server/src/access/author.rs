//! Who made a change, as the audit log keeps it.

use std::net::IpAddr;

use uuid::Uuid;

/// Whose doing a change is.
#[derive(Debug, Clone)]
pub struct Author {
    /// `admin_token`, `service_token`, `user` or `process`.
    pub kind: &'static str,
    pub id: Option<Uuid>,
    pub name: String,
    pub address: Option<IpAddr>,
    /// The management request.
    pub request: String,
}

impl Author {
    /// This process itself, by what it does.
    pub fn process(doing: &str) -> Self {
        Self {
            kind: "process",
            id: None,
            name: doing.to_owned(),
            address: None,
            request: String::new(),
        }
    }
}
