//! The permissions there are.

use std::fmt;

macro_rules! permissions {
    ($($reach:ident $name:ident = $word:literal, $doc:literal;)*) => {
        /// What somebody may do, as `resource:action`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Permission {
            $(#[doc = $doc] $name,)*
        }

        impl Permission {
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word that roles, errors and documents use.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }

            /// What it allows, in words.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => $doc,)*
                }
            }

            /// Whether it can hold in one tenant; if not, only the platform's people can have it.
            pub fn is_for_tenants(self) -> bool {
                match self {
                    $(Self::$name => stringify!($reach).len() == "tenant".len(),)*
                }
            }
        }
    };
}

permissions! {
    tenant TenantsRead = "tenants:read", "See tenants.";
    tenant UsersRead = "users:read", "See users, their roles and groups.";
    tenant KeysRead = "keys:read", "See proxy keys, without their values.";
    tenant KeysWrite = "keys:write", "Make, change and delete proxy keys.";
    tenant ChannelsRead = "channels:read", "See channels and how their credentials are.";
    tenant ModelsRead = "models:read", "See models, their routes and prices.";
    tenant LimitsRead = "limits:read", "See limits and what is left of them.";
    tenant BudgetsRead = "budgets:read", "See budgets and what is spent of them.";
    tenant AlertsRead = "alerts:read", "See what budgets have told.";
    tenant UsageRead = "usage:read", "Ask for usage and cost.";
    tenant ServiceTokensRead = "service_tokens:read", "See service tokens, without their values.";
    tenant ServiceTokensWrite = "service_tokens:write", "Make, change and delete service tokens that may do no more than oneself.";
    tenant AuditRead = "audit:read", "See what was changed, by whom.";
    platform AuditVerify = "audit:verify", "Have the audit log's chain checked.";
    platform ResourcesRead = "resources:read", "Export the whole configuration.";
    platform ResourcesWrite = "resources:write", "Apply a configuration file.";
    platform InstancesRead = "instances:read", "See the living instances.";
}

impl Permission {
    /// Whether it allows nothing but to look.
    pub fn only_looks(self) -> bool {
        self.as_str().ends_with(":read")
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A set of permissions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Permissions(u64);

impl Permissions {
    /// All that a rule holds for.
    pub fn that(rule: impl Fn(Permission) -> bool) -> Self {
        let all = Permission::ALL.iter().copied();
        all.filter(|permission| rule(*permission)).collect()
    }

    pub fn has(self, permission: Permission) -> bool {
        self.0 & (1 << permission as u32) != 0
    }

    /// Whether everything that the other allows is allowed here.
    pub fn covers(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        let bits = permissions
            .into_iter()
            .map(|permission| 1 << permission as u32);
        Self(bits.fold(0, |all, bit: u64| all | bit))
    }
}
