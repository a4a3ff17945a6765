//! Public models: what callers name, what they cost, and the routes they take.

use crate::{
    billing::{DatedPrice, Rates, price},
    tenancy::{ChannelId, ModelId, RouteId, TenantId},
};

/// A public model with its routes and prices.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Model {
    pub id: ModelId,
    /// `None`: the platform's.
    pub owner: Option<TenantId>,
    /// Unique among its owner's models; matched exactly, case included.
    pub name: String,
    pub enabled: bool,
    /// Unix milliseconds.
    pub created_ms: i64,
    /// Words such as `vision` or `tools`, for lists.
    pub capabilities: Vec<String>,
    /// Tokens of context, input and output together.
    pub context_tokens: Option<u64>,
    /// The most that one answer may have.
    pub max_output_tokens: Option<u64>,
    /// The most that one image is read as; `None`: nobody says, and no hard budget lets one through.
    pub max_image_tokens: Option<u64>,
    /// The tokenizer for estimates; `None` is o200k.
    pub tokenizer: Option<String>,
    pub routes: Vec<Route>,
    pub prices: Vec<DatedPrice>,
}

/// A way from a model to a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    pub id: RouteId,
    pub channel: ChannelId,
    /// The model's name there.
    pub upstream_model: String,
    /// Share among routes of the same priority; 0 is used only when nothing else is left.
    pub weight: u32,
    /// Higher goes first.
    pub priority: i32,
    /// The most requests a second that go this way.
    pub max_rps: Option<u32>,
    pub enabled: bool,
}

impl Model {
    /// The rates in force at a moment; `None` is an unpriced model.
    pub fn rates(&self, at_ms: i64) -> Option<&Rates> {
        price::in_force(&self.prices, at_ms).filter(|rates| !rates.is_empty())
    }
}
