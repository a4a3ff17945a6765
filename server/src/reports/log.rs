//! The request log: single requests, with the names that people know things by.

use std::{
    collections::{HashMap, HashSet},
    ops::RangeInclusive,
    time::Duration,
};

use uuid::Uuid;
use weir_api_types::log::{
    AttemptItem, Facet, FacetCount, FacetCounts, Neighbours, RequestDetail, RequestFacets,
    RequestItem, RequestPage, RequestQuery,
};
use weir_migration::usage::partition::first_id;

use super::{
    Error,
    question::{bad, ids_called, moment, zone},
};
use crate::{
    billing::Money,
    clock::now_ms,
    metering::{Attempt, UsageEvent},
    resources::export::moment as written,
    store::{
        self, Scope, Stores,
        names::{self, Named},
        usage::log::{self, Field, FieldValue, Found, Is, Search},
    },
    tenancy::{RequestId, TenantId},
};

/// How long a search goes on that finds less than a page.
const PATIENCE: Duration = Duration::from_secs(1);
const DAY_MS: i64 = 24 * 3_600_000;
/// Largest bound of a number: far beyond what there is.
const MOST: i64 = i64::MAX;

/// Which part of what is found is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// The last id of the page before.
    pub after: Option<Uuid>,
    pub rows: u64,
    pub newest_first: bool,
}

/// A page of what a scope has of the log.
pub async fn page(
    stores: &Stores,
    scope: Scope,
    query: &RequestQuery,
    part: Part,
    now_ms: i64,
) -> Result<RequestPage, Error> {
    let search = search(stores, scope, query, part.newest_first, now_ms).await?;
    let found = log::search(&stores.usage, &search, part.after, part.rows, PATIENCE).await?;
    let names = Names::of(stores, &found.events, scope == Scope::Platform).await?;
    Ok(RequestPage {
        next_cursor: found.next.map(|id| id.to_string()),
        looked_to: looked_to(&found),
        data: found.events.iter().map(|event| names.item(event)).collect(),
    })
}

/// One request, if the scope has it.
pub async fn one(stores: &Stores, scope: Scope, id: Uuid) -> Result<Option<RequestDetail>, Error> {
    let Some(event) = event(stores, scope, id).await? else {
        return Ok(None);
    };
    let is_operator = scope == Scope::Platform;
    let names = Names::of(stores, std::slice::from_ref(&event), is_operator).await?;
    let mut detail = names.detail(&event, is_operator)?;
    let kept = store::usage::bodies::one(&stores.usage, event.tenant, event.id, now_ms()).await?;
    if let Some(kept) = kept {
        detail.has_bodies = true;
        (detail.tools_offered, detail.tools_called) = (kept.tools.offered, kept.tools.called);
    }
    Ok(Some(detail))
}

/// Whose a request is, if the scope has it.
pub async fn owner(stores: &Stores, scope: Scope, id: Uuid) -> Result<Option<TenantId>, Error> {
    Ok(event(stores, scope, id).await?.map(|event| event.tenant))
}

/// What stands next to a request among those that are looked for; `None` where the scope has no such request.
pub async fn neighbours(
    stores: &Stores,
    scope: Scope,
    id: Uuid,
    query: &RequestQuery,
    now_ms: i64,
) -> Result<Option<Neighbours>, Error> {
    if event(stores, scope, id).await?.is_none() {
        return Ok(None);
    }
    let next = async |newest_first: bool| {
        let search = search(stores, scope, query, newest_first, now_ms).await?;
        let found = log::search(&stores.usage, &search, Some(id), 1, PATIENCE).await?;
        let one = found.events.first().map(|event| event.id.0);
        Ok::<_, Error>((one, looked_to(&found)))
    };
    let (newer, newer_looked_to) = next(false).await?;
    let (older, older_looked_to) = next(true).await?;
    Ok(Some(Neighbours {
        newer,
        older,
        newer_looked_to,
        older_looked_to,
    }))
}

/// How many of the requests that are looked for have which value.
pub async fn facets(
    stores: &Stores,
    scope: Scope,
    query: &RequestQuery,
    by: &[Facet],
    now_ms: i64,
) -> Result<RequestFacets, Error> {
    let search = search(stores, scope, query, true, now_ms).await?;
    let fields: Vec<Field> = by.iter().map(|facet| of_facet(*facet).0).collect();
    let (counted, edge) = log::count_by(&stores.usage, &search, &fields).await?;
    let mut facets = Vec::with_capacity(by.len());
    for (facet, counts) in by.iter().zip(counted) {
        let (_, named) = of_facet(*facet);
        let ids = counts.iter().filter_map(|(value, _)| match value {
            FieldValue::Id(id) => *id,
            FieldValue::Word(_) => None,
        });
        let ids: Vec<Uuid> = ids.collect();
        let names = match named {
            Some(named) => names::of(&stores.config.read, named, &ids).await?,
            None => HashMap::new(),
        };
        let counts = counts.into_iter().map(|(value, requests)| {
            let value = match value {
                FieldValue::Id(id) => id.map(|id| id.to_string()).unwrap_or_default(),
                FieldValue::Word(word) => word,
            };
            let id = value.parse::<Uuid>().ok();
            let name = id.and_then(|id| names.get(&id).cloned());
            FacetCount {
                name: name.unwrap_or_else(|| value.clone()),
                value,
                requests,
            }
        });
        facets.push(FacetCounts {
            facet: *facet,
            values: counts.collect(),
        });
    }
    Ok(RequestFacets {
        facets,
        looked_to: edge.map(|edge| written(RequestId(edge).at_ms())),
    })
}

async fn event(stores: &Stores, scope: Scope, id: Uuid) -> Result<Option<UsageEvent>, Error> {
    let search = Search {
        scope,
        ids: id..Uuid::from_u128(id.as_u128().saturating_add(1)),
        conditions: vec![(Field::Id, Is::AnyOf(vec![id]))],
        newest_first: true,
    };
    let found = log::search(&stores.usage, &search, None, 1, PATIENCE).await?;
    Ok(found.events.into_iter().next())
}

fn looked_to(found: &Found) -> Option<String> {
    let edge = found.next.filter(|_| found.ran_out)?;
    Some(written(RequestId(edge).at_ms()))
}

fn of_facet(facet: Facet) -> (Field, Option<Named>) {
    match facet {
        Facet::Key => (Field::Key, Some(Named::Key)),
        Facet::User => (Field::User, Some(Named::User)),
        Facet::Group => (Field::Group, Some(Named::Group)),
        Facet::Model => (Field::Model, None),
        Facet::Channel => (Field::Channel, Some(Named::Channel)),
        Facet::Endpoint => (Field::Endpoint, None),
        Facet::Outcome => (Field::Outcome, None),
        Facet::Status => (Field::Status, None),
        Facet::Error => (Field::Error, None),
    }
}

/// The search that a query is, as far as the scope allows.
async fn search(
    stores: &Stores,
    scope: Scope,
    query: &RequestQuery,
    newest_first: bool,
    now_ms: i64,
) -> Result<Search, Error> {
    if query.credential.is_some() && scope != Scope::Platform {
        let reason = "is told apart for operators alone";
        return Err(bad("credential", reason));
    }
    // As sums of usage have it: the caller's, whatever tenant is asked for.
    let zone = zone(&query.time_zone, stores, scope).await?;
    let scope = match (&query.tenant, scope) {
        (None, scope) => scope,
        (Some(name), _) => {
            let ids = ids_called(stores, scope, "tenant", Named::Tenant, name).await?;
            let own = |id: &Uuid| match scope {
                Scope::Platform => true,
                Scope::Tenant(own) => own.0 == *id,
            };
            let found = ids.into_iter().find(own);
            // Nothing has this id: so nothing is found, as in a tenant that is not there.
            Scope::Tenant(found.unwrap_or_default().into())
        }
    };
    let to_ms = match &query.to {
        Some(text) => moment("to", text, &zone)?,
        // An id may be of this very millisecond.
        None => now_ms + 1,
    };
    let from_ms = match &query.from {
        Some(text) => moment("from", text, &zone)?,
        None => to_ms - 30 * DAY_MS,
    };
    if from_ms >= to_ms {
        return Err(bad("from", "must be before to"));
    }
    let mut ids = first_id(from_ms)..first_id(to_ms);
    let mut conditions = Vec::new();
    if let Some(id) = &query.id {
        let id = Uuid::parse_str(id).map_err(|_| bad("id", "is no request id"))?;
        ids = id..Uuid::from_u128(id.as_u128().saturating_add(1));
        conditions.push((Field::Id, Is::AnyOf(vec![id])));
    }
    let named = [
        ("key", &query.key, Field::Key, Named::Key),
        ("user", &query.user, Field::User, Named::User),
        ("group", &query.group, Field::Group, Named::Group),
        ("channel", &query.channel, Field::Channel, Named::Channel),
        (
            "credential",
            &query.credential,
            Field::Credential,
            Named::Credential,
        ),
    ];
    for (word, text, field, named) in named {
        if let Some(text) = text {
            let ids = ids_called(stores, scope, word, named, text).await?;
            conditions.push((field, Is::AnyOf(ids)));
        }
    }
    let words = [
        (&query.model, Field::Model),
        (&query.endpoint, Field::Endpoint),
        (&query.source, Field::Source),
        (&query.outcome, Field::Outcome),
        (&query.error, Field::Error),
        (&query.client_request_id, Field::ClientRequestId),
        (&query.upstream_request_id, Field::UpstreamRequestId),
        (&query.end_user, Field::EndUser),
    ];
    for (word, field) in words {
        if let Some(word) = word {
            conditions.push((field, Is::Word(word.clone())));
        }
    }
    conditions.extend(numbers(query)?);
    Ok(Search {
        scope,
        ids,
        conditions,
        newest_first,
    })
}

fn numbers(query: &RequestQuery) -> Result<Vec<(Field, Is)>, Error> {
    let mut numbers = Vec::new();
    if let Some(text) = &query.status {
        numbers.push((Field::Status, Is::Within(status(text)?)));
    }
    let money = |field: &'static str, text: &Option<String>| {
        let money = text.as_ref().map(|text| text.parse::<Money>());
        let money = money.transpose();
        money
            .map(|money| money.map(Money::nanos))
            .map_err(|_| bad(field, "is no amount of US dollars such as 0.05"))
    };
    let least = money("min_cost_usd", &query.min_cost_usd)?;
    let most = money("max_cost_usd", &query.max_cost_usd)?;
    if least.is_some() || most.is_some() {
        let range = least.unwrap_or(0)..=most.unwrap_or(MOST);
        numbers.push((Field::Charge, Is::Within(range)));
    }
    let us = |field: &'static str, text: &Option<String>| {
        let ms = text.as_ref().map(|text| text.parse::<u32>()).transpose();
        let ms = ms.map_err(|_| bad(field, "is no whole number of milliseconds"))?;
        Ok::<_, Error>(ms.map(|ms| i64::from(ms) * 1_000))
    };
    let (least, most) = (us("min_ms", &query.min_ms)?, us("max_ms", &query.max_ms)?);
    if least.is_some() || most.is_some() {
        let range = least.unwrap_or(0)..=most.unwrap_or(MOST);
        numbers.push((Field::Total, Is::Within(range)));
    }
    Ok(numbers)
}

/// `429`, or all of `4xx`.
fn status(text: &str) -> Result<RangeInclusive<i64>, Error> {
    let reason = "is neither a status such as 429 nor a class such as 5xx";
    let class = text.strip_suffix("xx").map(str::parse::<i64>);
    match (class, text.parse::<i64>()) {
        (Some(Ok(class @ 1..=5)), _) => Ok(class * 100..=class * 100 + 99),
        (None, Ok(status @ 0..=999)) => Ok(status..=status),
        _ => Err(bad("status", reason)),
    }
}

/// What the ids in events are called.
struct Names {
    tenants: HashMap<Uuid, String>,
    keys: HashMap<Uuid, String>,
    users: HashMap<Uuid, String>,
    groups: HashMap<Uuid, String>,
    channels: HashMap<Uuid, String>,
    credentials: HashMap<Uuid, String>,
}

impl Names {
    async fn of(stores: &Stores, events: &[UsageEvent], is_operator: bool) -> store::Result<Self> {
        let called = async |named: Named, ids: HashSet<Uuid>| {
            let ids: Vec<Uuid> = ids.into_iter().collect();
            names::of(&stores.config.read, named, &ids).await
        };
        let attempts = || events.iter().flat_map(|event| &event.attempts);
        let credentials = attempts().filter_map(|attempt| attempt.credential);
        let credentials = credentials.filter(|_| is_operator).map(|id| id.0).collect();
        let users = events.iter().filter_map(|event| event.user);
        let groups = events.iter().filter_map(|event| event.group);
        Ok(Self {
            tenants: called(
                Named::Tenant,
                events.iter().map(|one| one.tenant.0).collect(),
            )
            .await?,
            keys: called(Named::Key, events.iter().map(|event| event.key.0).collect()).await?,
            users: called(Named::User, users.map(|id| id.0).collect()).await?,
            groups: called(Named::Group, groups.map(|id| id.0).collect()).await?,
            channels: called(
                Named::Channel,
                attempts().map(|one| one.channel.0).collect(),
            )
            .await?,
            credentials: called(Named::Credential, credentials).await?,
        })
    }

    fn item(&self, event: &UsageEvent) -> RequestItem {
        let usage = &event.usage;
        let channel = event.attempts.last().map(|attempt| attempt.channel.0);
        RequestItem {
            id: event.id.0,
            at: written(event.started_ms),
            tenant: called(&self.tenants, event.tenant.0),
            key: called(&self.keys, event.key.0),
            key_id: event.key.0,
            user: event.user.map(|id| called(&self.users, id.0)),
            group: event.group.map(|id| called(&self.groups, id.0)),
            source: event.source.as_str().to_owned(),
            endpoint: event.endpoint.clone(),
            dialect: event.dialect.clone(),
            model: event.model.clone(),
            channel: channel.map(|id| called(&self.channels, id)),
            outcome: event.outcome.as_str().to_owned(),
            status: event.status,
            error: event.error_code.clone(),
            streamed: event.streamed,
            count: event.count,
            input_tokens: usage.input,
            cached_tokens: usage.cached_read,
            output_tokens: usage.output,
            estimated: event.estimated,
            unpriced: event.unpriced,
            cost_usd: event.charge.to_string(),
            first_byte_ms: event.first_byte_us.map(ms),
            total_ms: ms(event.total_us),
            client_request_id: event.client_request_id.clone(),
            end_user: event.end_user.clone(),
        }
    }

    fn detail(&self, event: &UsageEvent, is_operator: bool) -> Result<RequestDetail, Error> {
        let usage = &event.usage;
        let last = event.attempts.last();
        let prices = event.rates.as_ref().map(serde_json::to_value).transpose();
        let prices = prices.map_err(|error| store::Error::other(format!("prices: {error}")))?;
        let attempts = event.attempts.iter();
        Ok(RequestDetail {
            item: self.item(event),
            upstream_model: last.map(|attempt| attempt.upstream_model.clone()),
            upstream_request_id: event.upstream_request_id.clone(),
            cache_write_tokens: usage.cached_write,
            reasoning_tokens: usage.reasoning,
            audio_input_tokens: usage.audio_input,
            audio_output_tokens: usage.audio_output,
            image_input_tokens: usage.image_input,
            image_output_tokens: usage.image_output,
            prices,
            overhead_ms: ms(event.overhead_us),
            request_bytes: event.request_bytes,
            response_bytes: event.response_bytes,
            instance: is_operator.then(|| event.instance.clone()),
            attempts: attempts.map(|one| self.attempt(one, is_operator)).collect(),
            tools_offered: Vec::new(),
            tools_called: Vec::new(),
            has_bodies: false,
        })
    }

    fn attempt(&self, attempt: &Attempt, is_operator: bool) -> AttemptItem {
        let credential = attempt.credential.filter(|_| is_operator);
        AttemptItem {
            channel: called(&self.channels, attempt.channel.0),
            credential: credential.map(|id| called(&self.credentials, id.0)),
            upstream_model: attempt.upstream_model.clone(),
            started_ms: ms(attempt.started_us),
            took_ms: ms(attempt.took_us),
            status: attempt.status,
            failure: attempt.failure.clone(),
            input_tokens: attempt.usage.input,
            output_tokens: attempt.usage.output,
            estimated: attempt.estimated,
            cost_usd: is_operator.then(|| attempt.cost.to_string()),
        }
    }
}

fn called(names: &HashMap<Uuid, String>, id: Uuid) -> String {
    names.get(&id).cloned().unwrap_or_else(|| id.to_string())
}

fn ms(us: u64) -> f64 {
    us as f64 / 1_000.0
}

#[cfg(test)]
mod tests;
