//! Tests of the dialect's parts together; what one file does alone is tested at its foot.

use bytes::Bytes;

use super::*;

mod asks;
mod edits;
mod observers;
mod sieves;

fn read_at(body: &str, endpoint: Endpoint) -> Result<Ask, Error> {
    Ask::read(&Bytes::copy_from_slice(body.as_bytes()), endpoint)
}

fn read(body: &str) -> Result<Ask, Error> {
    read_at(body, Endpoint::Chat)
}
