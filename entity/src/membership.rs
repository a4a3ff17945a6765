//! `memberships`: which user belongs to which tenant.

use sea_orm::entity::prelude::*;

/// A user's place in a tenant. There is at most one for the two.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "memberships")]
pub struct Model {
    /// The membership.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The tenant.
    #[sea_orm(unique_key = "tenant_and_user")]
    pub tenant_id: Uuid,
    /// The user.
    #[sea_orm(unique_key = "tenant_and_user")]
    pub user_id: Uuid,
    /// `owner`, `admin`, `finance`, `developer` or `viewer`.
    #[sea_orm(column_type = "Text")]
    pub role: String,
    /// A role of the tenant's own, instead of `role`, which then says `viewer`.
    pub role_id: Option<Uuid>,

    /// The tenant.
    #[sea_orm(belongs_to, from = "tenant_id", to = "id")]
    pub tenant: BelongsTo<super::tenant::Entity>,
    /// The user.
    #[sea_orm(belongs_to, from = "user_id", to = "id")]
    pub user: BelongsTo<super::user::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
