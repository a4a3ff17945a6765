//! The permissions there are.

use std::{fmt, str::FromStr};

/// Where a permission can hold.
enum Holds {
    InTenants,
    OnPlatform,
}

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
                    $(Self::$name => matches!(Holds::$reach, Holds::InTenants),)*
                }
            }
        }
    };
}

permissions! {
    InTenants TenantsRead = "tenants:read", "See tenants.";
    OnPlatform TenantsWrite = "tenants:write", "Make, change, suspend and delete tenants, with the limits and budgets that stand on them.";
    OnPlatform TenantsView = "tenants:view", "See what a tenant's owner sees, as far as one may see it anyway; the tenant's audit log says so.";
    InTenants UsersRead = "users:read", "See users, their roles and groups.";
    InTenants UsersWrite = "users:write", "Change users and take them out of a tenant; nobody gives a role that allows more than their own.";
    OnPlatform UsersCreate = "users:create", "Put people into tenants without asking them.";
    OnPlatform UsersReset = "users:reset", "Make links with which people set another password, take a lost second factor away, sign people out.";
    OnPlatform OperatorsRead = "operators:read", "See who has a role on the platform.";
    OnPlatform OperatorsWrite = "operators:write", "Give, change and take roles on the platform.";
    InTenants RolesRead = "roles:read", "See the roles that a tenant has made.";
    InTenants RolesWrite = "roles:write", "Make, change and delete roles that allow nothing beyond one's own.";
    InTenants GroupsRead = "groups:read", "See groups.";
    InTenants GroupsWrite = "groups:write", "Make, change and delete groups.";
    InTenants KeysRead = "keys:read", "See proxy keys, without their values.";
    InTenants KeysWrite = "keys:write", "Make, change and delete proxy keys.";
    InTenants OwnKeysWrite = "own_keys:write", "Make, rotate, switch off and delete proxy keys of one's own.";
    InTenants ChannelsRead = "channels:read", "See channels and how their credentials are.";
    InTenants ChannelsWrite = "channels:write", "Make, change and delete channels and their credentials; a tenant's own only where the platform lets it have any.";
    InTenants ModelsRead = "models:read", "See models, their routes and prices.";
    InTenants ModelsWrite = "models:write", "Make, change and delete models, their routes and prices; a tenant's own lead to its own channels alone.";
    InTenants LimitsRead = "limits:read", "See limits and what is left of them.";
    InTenants LimitsWrite = "limits:write", "Set, change and delete limits on what is in one's reach; on tenants and the platform, the platform's people alone.";
    InTenants BudgetsRead = "budgets:read", "See budgets and what is spent of them.";
    InTenants BudgetsWrite = "budgets:write", "Set, change and delete budgets, as limits.";
    InTenants AlertsRead = "alerts:read", "See what budgets have told.";
    InTenants UsageRead = "usage:read", "Ask for usage and cost.";
    InTenants RequestsRead = "requests:read", "See single requests in the log, without what was said in them.";
    InTenants BodiesRead = "bodies:read", "Read what was said in calls, where that is kept; each reading is in the audit log.";
    InTenants BodiesWrite = "bodies:write", "Have what is said in a tenant's calls kept, or forgotten.";
    InTenants ServiceTokensRead = "service_tokens:read", "See service tokens, without their values.";
    InTenants ServiceTokensWrite = "service_tokens:write", "Make, change and delete service tokens that may do no more than oneself.";
    InTenants IdentityProvidersRead = "identity_providers:read", "See through whom people sign in.";
    InTenants IdentityProvidersWrite = "identity_providers:write", "Make, change and delete the providers that say who people are; which role their groups have is for those who may do all that an owner may.";
    InTenants AuditRead = "audit:read", "See what was changed, by whom: all values as they were and became, also of what one may not see otherwise.";
    OnPlatform AuditVerify = "audit:verify", "Have the audit log's chain checked.";
    OnPlatform ResourcesRead = "resources:read", "Export the whole configuration.";
    OnPlatform ResourcesWrite = "resources:write", "Apply a configuration file.";
    OnPlatform SettingsRead = "settings:read", "See the run-time settings.";
    OnPlatform SettingsWrite = "settings:write", "Change the run-time settings.";
    OnPlatform SecurityRead = "security:read", "See how the admin token is, masked.";
    OnPlatform SecurityWrite = "security:write", "Rotate the admin token, and try what lets somebody in.";
    OnPlatform SystemRead = "system:read", "See how instances are, and what they have.";
    OnPlatform MetricsRead = "metrics:read", "Scrape `/metrics` from anywhere.";
    OnPlatform InstancesRead = "instances:read", "See the living instances.";
}

impl Permission {
    /// Whether it allows nothing but to look.
    pub fn only_looks(self) -> bool {
        self.as_str().ends_with(":read")
    }
}

impl FromStr for Permission {
    type Err = Unknown;

    fn from_str(word: &str) -> Result<Self, Unknown> {
        let mut all = Self::ALL.iter().copied();
        let found = all.find(|permission| permission.as_str() == word);
        found.ok_or(Unknown)
    }
}

/// A word that is no permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no permission")]
pub struct Unknown;

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

    /// The words of those that it has, in the order of the reference.
    pub fn words(self) -> Vec<String> {
        let all = Permission::ALL.iter();
        all.filter(|permission| self.has(**permission))
            .map(ToString::to_string)
            .collect()
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
