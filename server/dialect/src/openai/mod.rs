//! The dialect of OpenAI's Chat Completions, Completions and Embeddings, and of all vendors that speak it too.
//!
//! [`Ask`] reads a request and edits it in place; an [`Observer`] watches the answer; a [`Sieve`] sets the usage
//! chunk apart; [`Failure`] writes an error as OpenAI would. What vendors add or place elsewhere (DeepSeek, Groq,
//! Mistral, Moonshot, OpenRouter, xAI, ...) is read here as well: the differences are a few field names.
//!
//! Deliberately absent: translation from and to other dialects, and the Responses API, which is a dialect of its own.

mod ask;
mod chunk;
mod edit;
mod error;
mod input;
mod observe;
mod sieve;
mod skim;
mod usage;

#[cfg(test)]
mod tests;

pub use ask::{Ask, Endpoint, Error};
pub use edit::{Bound, BoundField, Edits};
pub use error::{Failure, quote, read_error};
pub use input::Input;
pub use observe::{Limits, Observer};
pub use sieve::{Piece, Sieve, Which, with_cost};
