//! Run-time settings: one document, which is part of the catalog.

use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait as _, sea_query::OnConflict};
use uuid::Uuid;
use weir_api_types::settings::RuntimeSettings;
use weir_entity::runtime_setting::{ActiveModel, Column, Entity};

use super::{Error, Result, document};

/// The one row.
pub const ID: Uuid = Uuid::from_u128(1);

/// What is set; the defaults where nobody set anything.
pub async fn get(db: &impl ConnectionTrait) -> Result<RuntimeSettings> {
    let row = Entity::find_by_id(ID).one(db).await?;
    let settings = row.map(|row| serde_json::from_value(row.settings));
    let settings = settings.transpose();
    let settings = settings.map_err(|error| Error::other(format!("runtime_settings: {error}")))?;
    Ok(settings.unwrap_or_default())
}

/// Keeps them.
pub async fn put(db: &impl ConnectionTrait, settings: &RuntimeSettings, now_ms: i64) -> Result<()> {
    let row = ActiveModel {
        id: Set(ID),
        settings: Set(document(settings)?),
        created_ms: Set(now_ms),
        updated_ms: Set(now_ms),
    };
    let known = OnConflict::column(Column::Id)
        .update_columns([Column::Settings, Column::UpdatedMs])
        .to_owned();
    let insert = Entity::insert(row).on_conflict(known);
    insert.exec_without_returning(db).await?;
    Ok(())
}
