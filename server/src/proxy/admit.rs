//! Whether a call may go: the limits and budgets of everything that it is counted by.
//!
//! The address is counted at the door, before anybody is identified; everything else once it is known where the call may
//! go and what it may come to; a channel's own at each attempt. What bounds a call is decided here, what is left is known to
//! [`crate::limits`].

use std::net::IpAddr;

use actix_web::http::Method;
use weir_api_types::{
    channel::Kind,
    limit::{self as wire, Metric, Per},
};
use weir_dialect::openai::{Ask, Bound, BoundField};

use super::{
    Shared,
    account::Account,
    endpoint::Endpoint,
    error::{Limited, Refusal},
    identify::Caller,
    outbound::{OutBody, Outbound},
    path,
};
use crate::{
    billing::Rates,
    catalog::Catalog,
    limits::{
        Attempt, AttemptPermit, Claim, Most, Output, Permit, Rejected, Tightest, Who,
        claim::{self, Counted},
        name_of,
    },
    routing::{self, Candidate},
    tenancy::{GroupId, KeyId, Limit, LimitId, Scope, TenantId, UserId},
};

/// Output tokens that limits on tokens count for a call that bounds none, until its truth is known.
const USUAL_OUTPUT: u64 = 1_024;

/// A call that was let through, and what its attempts will ask for.
pub struct Admission {
    pub permit: Permit,
    pub left: Tightest,
    /// The most output tokens over all choices that hard budgets have room for.
    pub room: Option<u64>,
    /// The bound that Weir sets, for each choice, because a hard budget applies and the caller gave none.
    pub bound: Option<u32>,
    pub asking: Asking,
}

/// What each attempt of a call asks its channel for.
#[derive(Debug, Clone)]
pub struct Asking {
    tenant: TenantId,
    group: Option<GroupId>,
    user: Option<UserId>,
    key: KeyId,
    address: IpAddr,
    most: Most,
    estimated_tokens: u64,
    /// The most output tokens over all choices, where anything bounds them.
    output: Option<u64>,
}

/// Counts a request by its address, whoever calls.
pub async fn at_the_door(
    shared: &Shared,
    catalog: &Catalog,
    address: IpAddr,
    endpoint: Endpoint,
) -> Result<(), Refusal> {
    let counted = claim::at_the_door(catalog, address, endpoint.label());
    let admitted = shared.limits.at_the_door(&counted).await;
    admitted.map_err(|rejected| refusal(shared, catalog, rejected))
}

/// Lets a call through on the limits of everything, and reserves the most that it may come to.
pub async fn admit(
    shared: &Shared,
    catalog: &Catalog,
    caller: &Caller,
    account: &Account,
    candidates: &[Candidate],
    outbound: &Outbound,
) -> Result<Admission, Refusal> {
    let model = candidates
        .first()
        .and_then(|candidate| candidate.model.as_deref());
    let who = who(caller, model, outbound.endpoint);
    let mut claim = Claim::of(catalog, &who, account.id());
    claim.most = most(candidates, outbound);
    if claim.limits.iter().any(counts_tokens)
        || candidates
            .iter()
            .any(|candidate| has_limits(catalog, candidate))
    {
        claim.estimated_tokens =
            estimated(shared, model.map(|model| model.id), &claim.most, outbound);
    }
    let asking = Asking {
        tenant: who.tenant,
        group: who.group,
        user: who.user,
        key: who.key,
        address: who.address,
        estimated_tokens: claim.estimated_tokens,
        output: None,
        most: Most::default(),
    };
    let admitted = shared.limits.admit(&claim).await;
    let admitted = admitted.map_err(|rejected| refusal(shared, catalog, rejected))?;
    let bound = match (claim.most.output, admitted.output) {
        (Output::Open { choices, .. }, Some(all)) => {
            Some(u32::try_from(all / choices.max(1)).unwrap_or(u32::MAX))
        }
        _ => None,
    };
    let output = admitted.output.or(match claim.most.output {
        Output::None => Some(0),
        Output::Bounded(output) => Some(output),
        Output::Open { .. } | Output::Unbounded => None,
    });
    // Dropped while it waits, the permit gives everything back.
    let (permit, left) = (admitted.permit, admitted.left);
    if !admitted.wait.is_zero() {
        tokio::time::sleep(admitted.wait).await;
    }
    Ok(Admission {
        permit,
        left,
        room: admitted.output,
        bound,
        asking: Asking {
            output,
            most: claim.most,
            ..asking
        },
    })
}

/// Counts a call that Weir answers itself: it spends nothing.
pub async fn admit_here(
    shared: &Shared,
    catalog: &Catalog,
    caller: &Caller,
    account: &Account,
) -> Result<(Permit, Tightest), Refusal> {
    let who = who(caller, None, account.endpoint());
    let mut claim = Claim::of(catalog, &who, account.id());
    claim.budgets.clear();
    claim.limits.retain(|counted| !counts_tokens(counted));
    let admitted = shared.limits.admit(&claim).await;
    let admitted = admitted.map_err(|rejected| refusal(shared, catalog, rejected))?;
    Ok((admitted.permit, admitted.left))
}

/// Lets one attempt through on its channel's limits and budgets, and on its route's rate.
pub async fn attempt(
    shared: &Shared,
    asking: &Asking,
    account: &Account,
    candidate: &Candidate,
    is_last: bool,
) -> Result<AttemptPermit, Refusal> {
    let catalog = shared.catalog.load();
    let who = Who {
        tenant: asking.tenant,
        group: asking.group,
        user: asking.user,
        key: asking.key,
        address: asking.address,
        model: candidate.model.as_deref(),
        endpoint: account.endpoint().label(),
    };
    let channel = candidate.channel.id;
    let scope = Scope::Channel(channel);
    let route = candidate.max_rps.map(|(route, rps)| Limit {
        id: LimitId(route.0),
        scope,
        rule: wire::Limit::new(Metric::Requests, Some(Per::Second), u64::from(rps)),
        position: 0,
    });
    let mut limits = claim::of_channel(&catalog, &who, scope);
    limits.extend(route.as_ref().map(|limit| Counted {
        limit,
        value: claim::Value::All,
    }));
    let budgets = claim::watched(&catalog, scope, account.id().at_ms());
    let attempt = Attempt {
        id: account.id(),
        channel,
        limits,
        budgets,
        estimated_tokens: asking.estimated_tokens,
        most: &asking.most,
        output: asking.output,
    };
    let let_through = shared.limits.attempt(&attempt, is_last).await;
    let_through.map_err(|rejected| refusal(shared, &catalog, rejected))
}

/// The output bound for a candidate's body, where Weir sets one. OpenAI's newer models refuse the older field; others may
/// not know the newer one.
pub fn bound_for(candidate: &Candidate, endpoint: Endpoint, tokens: u32) -> Bound {
    let channel = &candidate.channel;
    let is_openai = match channel.kind {
        Kind::Openai => &*channel.base.host == "api.openai.com",
        Kind::AzureOpenai => true,
        Kind::Anthropic | Kind::Gemini | Kind::Dashscope | Kind::Custom => false,
    };
    let is_chat = matches!(
        endpoint,
        Endpoint::Chat | Endpoint::SessionChat | Endpoint::ChannelChat
    );
    let field = if is_openai && is_chat {
        BoundField::MaxCompletionTokens
    } else {
        BoundField::MaxTokens
    };
    Bound { field, tokens }
}

fn who<'a>(
    caller: &Caller,
    model: Option<&'a crate::catalog::Model>,
    endpoint: Endpoint,
) -> Who<'a> {
    Who {
        tenant: caller.tenant.id,
        group: caller.group,
        user: caller.user,
        key: caller.key.id,
        address: caller.address,
        model,
        endpoint: endpoint.label(),
    }
}

fn counts_tokens(counted: &Counted<'_>) -> bool {
    counted.limit.rule.metric == Metric::Tokens
}

fn has_limits(catalog: &Catalog, candidate: &Candidate) -> bool {
    !catalog
        .limits(Scope::Channel(candidate.channel.id))
        .is_empty()
}

/// The most that a call may come to.
fn most(candidates: &[Candidate], outbound: &Outbound) -> Most {
    let first = candidates.first();
    let model = first.and_then(|candidate| candidate.model.as_deref());
    let ceiling = model.and_then(|model| model.max_output_tokens);
    if generates_nothing(first, outbound) {
        return Most {
            input: Some(0),
            output: Output::None,
            rates: Some(Rates::default()),
        };
    }
    let ask = outbound.ask.as_ref();
    let is_whole = matches!(outbound.body, OutBody::Whole(_));
    let per_image = model.and_then(|model| model.max_image_tokens);
    let input = ask
        .filter(|_| is_whole)
        .and_then(|ask| most_input(ask, per_image));
    let choices = ask.map_or(1, Ask::choices);
    let said = ask.and_then(Ask::output_bound);
    let stated = ceiling.map(|ceiling| Output::Bounded(ceiling.saturating_mul(choices)));
    let output = match (outbound.endpoint, said) {
        (
            Endpoint::Embeddings
            | Endpoint::SessionEmbeddings
            | Endpoint::Moderations
            | Endpoint::Rerank,
            _,
        ) => Output::None,
        (endpoint, Some(said)) if endpoint != Endpoint::Batches => Output::Bounded(said),
        (endpoint, None) if endpoint.finishes() && ask.is_some() => {
            Output::Open { ceiling, choices }
        }
        (Endpoint::Batches, _) => Output::Unbounded,
        // Nothing is set in these bodies: what the model states is all there is.
        _ => stated.unwrap_or(Output::Unbounded),
    };
    Most {
        input,
        output,
        rates: first.and_then(|candidate| candidate.rates.clone()),
    }
}

/// The most tokens that a call's input is read as: one for each byte of text, and what the model states for an image. Nothing
/// is stated for audio and files.
fn most_input(ask: &Ask, per_image: Option<u64>) -> Option<u64> {
    let input = &ask.input;
    if input.audios > 0 || input.files > 0 {
        return None;
    }
    let images = match input.images {
        0 => 0,
        images => per_image?.saturating_mul(u64::from(images)),
    };
    Some(input.text_bytes.saturating_add(images))
}

/// Whether no model works on it: looking something up, taking something away, keeping a file.
fn generates_nothing(candidate: Option<&Candidate>, outbound: &Outbound) -> bool {
    let only_looks = matches!(outbound.method, Method::GET | Method::HEAD | Method::DELETE);
    match outbound.endpoint {
        Endpoint::Files => true,
        Endpoint::Proxy => {
            let infers = |candidate: &Candidate| {
                routing::proxied::is_inference(
                    candidate.channel.kind,
                    &path::decoded(&outbound.path),
                )
            };
            only_looks && !candidate.is_some_and(infers)
        }
        _ => only_looks,
    }
}

/// What limits on tokens count until the truth is known: the estimated input, and the output that may come.
fn estimated(
    shared: &Shared,
    model: Option<crate::tenancy::ModelId>,
    most: &Most,
    outbound: &Outbound,
) -> u64 {
    let input = outbound.ask.as_ref().map_or(0, |ask| {
        let corrections = shared.recorder.corrections();
        corrections.estimate_input(model, ask.input.text_bytes, u64::from(ask.input.images))
    });
    let output = match most.output {
        Output::None => 0,
        Output::Bounded(output) => output,
        Output::Open { ceiling, choices } => {
            ceiling.unwrap_or(USUAL_OUTPUT).min(USUAL_OUTPUT) * choices
        }
        Output::Unbounded => USUAL_OUTPUT,
    };
    input.saturating_add(output)
}

fn refusal(shared: &Shared, catalog: &Catalog, rejected: Rejected) -> Refusal {
    shared
        .metrics
        .limit_refusal(rejected.scope().word(), rejected.metric());
    Refusal::Limited(Box::new(Limited {
        name: name_of(catalog, rejected.scope()),
        exceeded_status: shared.budget_exceeded_status,
        rejected,
    }))
}
