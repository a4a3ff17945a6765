//! Models with their routes and prices, as they are written and listed.

use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _,
    sea_query::OnConflict,
};
use uuid::Uuid;
use weir_entity::{model, price, route};

use super::{Columns, Error, Listed, Page, Result, Scope, catalog, count, document};
use crate::{
    catalog::{Entry, Kind, Model},
    secrets::Sealer,
    tenancy::{ModelId, TenantId},
};

/// Makes a model, or brings its row, routes and prices up to date. A price that stays keeps its row.
pub async fn put(db: &impl ConnectionTrait, model: &Model, now_ms: i64) -> Result<()> {
    use model::Column;
    let changed = [
        Column::Name,
        Column::Capabilities,
        Column::ContextTokens,
        Column::MaxOutputTokens,
        Column::MaxImageTokens,
        Column::Tokenizer,
        Column::Enabled,
        Column::UpdatedMs,
    ];
    let known = OnConflict::column(Column::Id)
        .update_columns(changed)
        .to_owned();
    let insert = model::Entity::insert(row(model, now_ms)?).on_conflict(known);
    insert.exec_without_returning(db).await?;
    put_routes(db, model).await?;
    put_prices(db, model, now_ms).await
}

/// Deletes an owner's model with its routes and prices.
pub async fn delete(db: &impl ConnectionTrait, owner: Option<TenantId>, id: ModelId) -> Result<()> {
    let own = match owner {
        Some(tenant) => model::Column::TenantId.eq(tenant.0),
        None => model::Column::TenantId.is_null(),
    };
    model::Entity::delete_by_id(id.0)
        .filter(own)
        .exec(db)
        .await?;
    Ok(())
}

/// A page of the models of one tenant, or of all.
pub async fn list(
    db: &impl ConnectionTrait,
    scope: Scope,
    page: &Page,
    sealer: &Sealer,
) -> Result<Listed<Model>> {
    let mut query = model::Entity::find();
    if let Scope::Tenant(tenant) = scope {
        query = query.filter(model::Column::TenantId.eq(tenant.0));
    }
    let columns = Columns {
        id: model::Column::Id,
        name: model::Column::Name,
        created_ms: model::Column::CreatedMs,
        enabled: Some(model::Column::Enabled),
    };
    let rows = page.named(db, query, columns).await?;
    let ids = rows.map(|row| row.id);
    catalog::listed(db, Kind::Model, ids, sealer, |entry| match entry {
        Entry::Model(model) => Some((model.id.0, model)),
        _ => None,
    })
    .await
}

fn row(model: &Model, now_ms: i64) -> Result<model::ActiveModel> {
    Ok(model::ActiveModel {
        id: Set(model.id.0),
        tenant_id: Set(model.owner.map(|tenant| tenant.0)),
        name: Set(model.name.clone()),
        capabilities: Set(document(&model.capabilities)?),
        context_tokens: Set(tokens(model.context_tokens)?),
        max_output_tokens: Set(tokens(model.max_output_tokens)?),
        max_image_tokens: Set(tokens(model.max_image_tokens)?),
        tokenizer: Set(model.tokenizer.clone()),
        enabled: Set(model.enabled),
        created_ms: Set(now_ms),
        updated_ms: Set(now_ms),
    })
}

async fn put_routes(db: &impl ConnectionTrait, model: &Model) -> Result<()> {
    use route::{ActiveModel, Column, Entity};
    let kept = model.routes.iter().map(|route| route.id.0);
    Entity::delete_many()
        .filter(Column::ModelId.eq(model.id.0))
        .filter(Column::Id.is_not_in(kept))
        .exec(db)
        .await?;
    for (position, route) in model.routes.iter().enumerate() {
        let row = ActiveModel {
            id: Set(route.id.0),
            model_id: Set(model.id.0),
            channel_id: Set(route.channel.0),
            upstream_model: Set(route.upstream_model.clone()),
            weight: Set(count(route.weight)?),
            priority: Set(route.priority),
            max_rps: Set(route.max_rps.map(count).transpose()?),
            enabled: Set(route.enabled),
            position: Set(position as i32),
        };
        let changed = [
            Column::Weight,
            Column::Priority,
            Column::MaxRps,
            Column::Enabled,
            Column::Position,
        ];
        let known = OnConflict::column(Column::Id)
            .update_columns(changed)
            .to_owned();
        let insert = Entity::insert(row).on_conflict(known);
        insert.exec_without_returning(db).await?;
    }
    Ok(())
}

async fn put_prices(db: &impl ConnectionTrait, model: &Model, now_ms: i64) -> Result<()> {
    use price::{ActiveModel, Column, Entity};
    let kept = model.prices.iter().map(|price| price.effective_ms);
    Entity::delete_many()
        .filter(Column::ModelId.eq(model.id.0))
        .filter(Column::EffectiveMs.is_not_in(kept))
        .exec(db)
        .await?;
    for price in &model.prices {
        let row = ActiveModel {
            id: Set(Uuid::new_v4()),
            model_id: Set(model.id.0),
            effective_ms: Set(price.effective_ms),
            rates: Set(document(&price.rates)?),
            created_ms: Set(now_ms),
        };
        let known = OnConflict::columns([Column::ModelId, Column::EffectiveMs])
            .update_column(Column::Rates)
            .to_owned();
        let insert = Entity::insert(row).on_conflict(known);
        insert.exec_without_returning(db).await?;
    }
    Ok(())
}

fn tokens(count: Option<u64>) -> Result<Option<i64>> {
    let count = count.map(i64::try_from).transpose();
    count.map_err(|_| Error::other("a count of tokens is out of range"))
}
