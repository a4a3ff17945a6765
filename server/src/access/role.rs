//! The roles that are built in, what they allow, and those that tenants make.

use weir_api_types::{manage::PlatformRole, resources::Role};

use super::{Permission, Permissions};
use crate::tenancy::{RoleId, TenantId};

/// A role of a tenant's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnRole {
    pub id: RoleId,
    pub tenant: TenantId,
    /// Unique in the tenant, and no [`is_built_in`].
    pub name: String,
    pub permissions: Permissions,
}

/// Whether a role of this name is there without anybody making it.
pub fn is_built_in(name: &str) -> bool {
    let mut tenants = Role::ALL.iter().map(|role| role.as_str());
    let mut platform = PlatformRole::ALL.iter().map(|role| role.as_str());
    tenants.any(|known| known == name) || platform.any(|known| known == name)
}

/// What a role in a tenant allows there.
pub fn of_role(role: Role) -> Permissions {
    use Permission as P;
    Permissions::that(|permission| {
        permission.is_for_tenants()
            && match role {
                Role::Owner | Role::Admin => true,
                Role::Finance => matches!(
                    permission,
                    P::TenantsRead
                        | P::UsersRead
                        | P::GroupsRead
                        | P::KeysRead
                        | P::ModelsRead
                        | P::LimitsRead
                        | P::BudgetsRead
                        | P::BudgetsWrite
                        | P::AlertsRead
                        | P::UsageRead
                        | P::AuditRead
                ),
                Role::Developer => matches!(
                    permission,
                    P::TenantsRead
                        | P::KeysRead
                        | P::OwnKeysWrite
                        | P::ChannelsRead
                        | P::ModelsRead
                        | P::LimitsRead
                        | P::BudgetsRead
                        | P::AlertsRead
                        | P::UsageRead
                        | P::RequestsRead
                ),
                Role::Viewer => {
                    permission.only_looks()
                        && !matches!(
                            permission,
                            P::BodiesRead
                                | P::ServiceTokensRead
                                | P::IdentityProvidersRead
                                | P::AuditRead
                        )
                }
            }
    })
}

/// What a role of the platform allows, in every tenant.
pub fn of_platform_role(role: PlatformRole) -> Permissions {
    Permissions::that(|permission| match role {
        PlatformRole::PlatformAdmin => true,
        PlatformRole::PlatformViewer => {
            let looks = permission.only_looks() && permission != Permission::BodiesRead;
            looks
                || matches!(
                    permission,
                    Permission::AuditVerify | Permission::TenantsView
                )
        }
    })
}
