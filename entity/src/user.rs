//! `users`: the people who sign in.

use sea_orm::entity::prelude::*;

/// A person. What they may do in a tenant is said by their membership of it.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "users")]
pub struct Model {
    /// The user.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Their address, in lower case; unique. They sign in with it.
    #[sea_orm(column_type = "Text", unique)]
    pub email: String,
    /// Their name as they write it.
    #[sea_orm(column_type = "Text")]
    pub name: String,
    /// Where they work; for reports. Empty if nobody said.
    #[sea_orm(column_type = "Text")]
    pub department: String,
    /// How else to reach them, such as a telephone number. Empty if nobody said.
    #[sea_orm(column_type = "Text")]
    pub contact: String,
    /// Off: they cannot sign in, and their keys are refused.
    pub enabled: bool,
    /// `platform_admin` or `platform_viewer`. None: they are nobody on the platform itself.
    #[sea_orm(column_type = "Text", nullable)]
    pub platform_role: Option<String>,
    /// Whether the address is known to be theirs: they had a link sent to it, or an operator said so. If not, no other tenant takes
    /// them for the one it invites.
    pub email_proven: bool,
    /// When the row was made, Unix milliseconds.
    pub created_ms: i64,
    /// When the row was last changed, Unix milliseconds.
    pub updated_ms: i64,

    /// The tenants they belong to.
    #[sea_orm(has_many)]
    pub memberships: HasMany<super::membership::Entity>,
    /// The keys that are theirs.
    #[sea_orm(has_many)]
    pub proxy_keys: HasMany<super::proxy_key::Entity>,
    /// The groups they are in; see `group_member` for their order.
    #[sea_orm(has_many, via = "group_member")]
    pub groups: HasMany<super::group::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
