//! How the installation is: this instance, the channels, what there is and what went through today.

use actix_web::{HttpRequest, HttpResponse, web};
use uuid::Uuid;
use weir_api_types::{
    manage::{ChannelItem, Page},
    system::{ProviderItem, Stats, SystemStatus},
    usage::{UsageQuery, UsageRow},
};

use super::{
    State, channels,
    error::ApiError,
    list::{self, ByName},
};
use crate::{
    access::{Caller, Permission, Reach},
    clock::now_ms,
    reports,
    resources::export::moment,
    store::{
        self, Scope,
        names::{self, Named},
    },
};

const HOUR_MS: i64 = 3_600_000;

/// `GET /v1/admin/status`, and `GET /health/detailed`
pub async fn status(_: Caller, state: web::Data<State>) -> web::Json<SystemStatus> {
    web::Json((state.system)().await)
}

/// `GET /v1/admin/providers`: the channels within reach, with what their last hour was like.
pub async fn providers(
    caller: Caller,
    ByName(asked): ByName,
    state: web::Data<State>,
) -> Result<web::Json<Page<ProviderItem>>, ApiError> {
    let db = &state.stores.config.read;
    let scope = asked.scope(&state, &caller).await?;
    let stored = store::channels::list(db, scope, &asked.page, &state.sealer).await?;
    let owners: Vec<Uuid> = stored
        .data
        .iter()
        .filter_map(|one| Some(one.owner?.0))
        .collect();
    let owners = names::of(db, Named::Tenant, &owners).await?;
    let now_ms = now_ms();
    let span = now_ms - HOUR_MS..now_ms;
    let rows = match caller.may(Permission::UsageRead) {
        true => Some(reports::usage::by_channel(&state.stores, scope, span).await?),
        false => None,
    };
    Ok(list::answer(stored.map(|channel| {
        let item = channels::item(&state, &channel, &owners);
        let row = rows.as_ref().map(|rows| rows.get(&item.id));
        let row = row.map(Option::<&UsageRow>::cloned);
        provider(
            item,
            (state.is_up)(&channel),
            row.map(Option::unwrap_or_default),
        )
    })))
}

/// A channel with the usage of its last hour, if that is the caller's to know.
fn provider(item: ChannelItem, up: bool, row: Option<UsageRow>) -> ProviderItem {
    let requests = row.as_ref().map(|row| row.requests);
    let errors = row.as_ref().map(|row| row.errors);
    let details = row.and_then(|row| row.details).unwrap_or_default();
    ProviderItem {
        id: item.id,
        tenant: item.tenant,
        name: item.name,
        kind: item.kind,
        enabled: item.enabled,
        up,
        credentials: item.credentials,
        requests,
        errors,
        success_rate: details.success_rate,
        total_ms: details.total_ms,
        first_byte_ms: details.first_byte_ms,
    }
}

/// `GET /v1/admin/stats`
pub async fn stats(
    caller: Caller,
    request: HttpRequest,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let mut words = list::words(&request)?;
    let tenant = words.remove("tenant");
    list::refuse_rest(&words)?;
    let scope = list::scope(&state, &caller, tenant.as_deref()).await?;
    let counts = store::counts::of(&state.stores.config.read, scope).await?;
    let midnight = reports::usage::today(&state.stores, scope, now_ms()).await?;
    let query = UsageQuery {
        from: Some(moment(midnight)),
        ..UsageQuery::default()
    };
    let now_ms = (midnight + 1).max(now_ms());
    let rows = reports::usage::usage(&state.stores, scope, &query, now_ms).await?;
    let today = rows.into_iter().next().unwrap_or_default();
    let is_operator = caller.reach == Reach::Platform;
    let instances = match scope {
        Scope::Platform => store::instances::living(&state.stores.config).await?.len() as u64,
        Scope::Tenant(_) => 0,
    };
    let in_flight = match is_operator {
        true => Some((state.system)().await.process.requests_in_flight),
        false => None,
    };
    Ok(HttpResponse::Ok().json(Stats {
        tenants: counts.tenants,
        users: counts.users,
        groups: counts.groups,
        keys: counts.keys,
        channels: counts.channels,
        models: counts.models,
        instances,
        requests_today: today.requests,
        errors_today: today.errors,
        input_tokens_today: today.input_tokens,
        output_tokens_today: today.output_tokens,
        cost_usd_today: match today.cost_usd.as_str() {
            "" => "0".to_owned(),
            cost => cost.to_owned(),
        },
        requests_in_flight: in_flight,
    }))
}
