//! The routes of management: what each needs, takes and answers. The one place that says so; the reference and the OpenAPI
//! document are made from it.

use actix_web::{Scope, http::Method, middleware::from_fn, web};
use weir_api_types::{
    apply::Applied,
    log::{Neighbours, RequestDetail, RequestFacets, RequestPage, RequestQuery},
    manage::{
        AlertItem, AuditItem, AuditVerdict, BudgetItem, ChannelItem, CreatedServiceToken,
        GroupItem, InstanceItem, KeyItem, LimitItem, ModelItem, NewServiceToken, Page,
        ServiceTokenItem, ServiceTokenPatch, TenantItem, UserItem,
    },
    orders::{
        self, BudgetPatch, ChannelDetail, CredentialCheck, CredentialPatch, Detail, KeyDetail,
        LimitPatch, MyKey, MyKeyPatch, NewBudget, NewCredential, NewLimit, Rotation,
    },
    people::{
        Acceptance, Access, CreatedInvitation, Credentials, FactorCode, InvitationItem, Me,
        MePatch, NewInvitation, OneTimeLink, PasswordChange, PasswordReset, Proof, RecoveryCodes,
        ResetRequest, Seed, SessionItem,
    },
    queries::{ApplyQuery, FacetQuery, ListQuery, MemberQuery, OrderQuery, PageQuery, WaitQuery},
    resources::{Channel, Model, Resources},
    security::{AdminKeyInfo, KeyCheck, KeyToCheck, NewAdminKey},
    settings::{RuntimeSettings, SettingsPatch},
    system::{ProviderItem, Stats, SystemStatus},
    usage::{UsageQuery, UsageRow},
};

use super::{
    access::{self, Needs},
    admin_key, audit, bounds,
    channels::{self, Channels},
    error,
    groups::{self, Groups},
    instances, invitations,
    keys::{self, Keys},
    limits, login, me,
    models::{self, Models},
    my_keys,
    openapi::{self, Body, Params, Wire},
    password_resets, requests, resources, service_tokens, settings, system,
    tenants::{self, Tenants},
    thing, usage, users,
};
use crate::access::Permission;

/// A route, and what there is to know of it from outside.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    pub method: &'static str,
    /// Below `/v1/admin`.
    pub path: &'static str,
    pub needs: Needs,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// What its query may say.
    pub query: &'static [Params],
    /// What it takes.
    pub order: Option<Body>,
    /// The status of its success.
    pub status: u16,
    /// What it answers then.
    pub answer: Option<Wire>,
}

macro_rules! needs {
    (Nothing) => {
        Needs::Nothing
    };
    (Caller) => {
        Needs::Caller
    };
    ($permission:ident) => {
        Needs::To(Permission::$permission)
    };
}

macro_rules! order {
    () => {
        None
    };
    (json $body:ty) => {
        Some(Body::json(Wire::of::<$body>()))
    };
    (yaml $body:ty) => {
        Some(Body::yaml(Wire::of::<$body>()))
    };
}

macro_rules! answer {
    () => {
        None
    };
    ($answer:ty) => {
        Some(Wire::of::<$answer>())
    };
}

macro_rules! routes {
    ($($path:literal { $(
        $method:ident $needs:ident => $handler:path, $summary:literal
            $(, ? $query:ty)* $(, $format:ident $body:ty)? => $status:literal $($answer:ty)?;
    )+ })+) => {
        /// All routes.
        pub const TABLE: &[Route] = &[$($(
            Route {
                method: stringify!($method),
                path: $path,
                needs: needs!($needs),
                summary: $summary,
                query: &[$(openapi::params::<$query>),*],
                order: order!($($format $body)?),
                status: $status,
                answer: answer!($($answer)?),
            },
        )+)+];

        /// Mounts them. A path says 405 to every method that it has no route for.
        pub fn mount(scope: Scope) -> Scope {
            scope$(.service(
                web::resource($path)
                    $(.route(web::method(Method::$method).to($handler).wrap(from_fn(
                        |request, next| access::needs(needs!($needs), request, next),
                    ))))+
                    .default_service(web::to(error::method_not_allowed)),
            ))+
        }
    };
}

routes! {
    "/openapi.json" {
        GET Nothing => openapi::document, "This document." => 200;
    }
    "/sign-in" {
        POST Nothing => login::sign_in, "Sign in with address and password; the refresh token comes in a cookie.",
            json Credentials => 200 Access;
    }
    "/sign-in/refresh" {
        POST Nothing => login::refresh, "Another access token for the refresh token in the cookie, which is replaced."
            => 200 Access;
    }
    "/sign-out" {
        POST Nothing => login::sign_out, "End the session of the cookie." => 204;
    }
    "/password-resets" {
        POST Nothing => password_resets::take, "Set another password with a link that works once.",
            json PasswordReset => 204;
    }
    "/password-resets/request" {
        POST Nothing => password_resets::request, "Mail a link to another password to whoever has this address.",
            json ResetRequest => 202;
    }
    "/invitations/accept" {
        POST Nothing => invitations::accept, "Take an invitation.", json Acceptance => 204;
    }
    "/me" {
        GET Caller => me::show, "Who calls, and what they may do." => 200 Me;
        PATCH Caller => me::change, "Change one's own name, department or contact.", json MePatch => 200 Me;
    }
    "/me/password" {
        POST Caller => me::change_password, "Another password for oneself; all other sessions end.",
            json PasswordChange => 204;
    }
    "/me/second-factor" {
        POST Caller => me::begin_factor, "A seed for a second factor, in force once it is confirmed.",
            json Proof => 200 Seed;
    }
    "/me/second-factor/confirm" {
        POST Caller => me::confirm_factor, "Put the second factor in force; the recovery codes are shown this once.",
            json FactorCode => 200 RecoveryCodes;
    }
    "/me/second-factor/remove" {
        POST Caller => me::remove_factor, "Be asked for no second factor any longer.", json Proof => 204;
    }
    "/me/sessions" {
        GET Caller => me::list_sessions, "One's own sessions." => 200 Page<SessionItem>;
        DELETE Caller => me::end_all_sessions, "Sign out everywhere." => 204;
    }
    "/me/sessions/{id}" {
        DELETE Caller => me::end_session, "End one of one's own sessions." => 204;
    }
    "/resources" {
        GET ResourcesRead => resources::export, "The whole configuration, as `weir apply` takes it." => 200 Resources;
    }
    "/resources/apply" {
        POST ResourcesWrite => resources::apply, "Make the platform match a file.",
            ? ApplyQuery, yaml Resources => 200 Applied;
    }
    "/tenants" {
        GET TenantsRead => tenants::list, "List tenants.", ? ListQuery => 200 Page<TenantItem>;
        POST TenantsWrite => thing::create::<Tenants>, "Make a tenant.",
            json orders::Tenant => 201 Detail<orders::Tenant>;
    }
    "/tenants/{id}" {
        GET TenantsRead => thing::show::<Tenants>, "Show a tenant." => 200 Detail<orders::Tenant>;
        PATCH TenantsWrite => thing::change::<Tenants>, "Change a tenant.",
            json orders::Tenant => 200 Detail<orders::Tenant>;
        DELETE TenantsWrite => thing::delete::<Tenants>, "Delete a tenant with all that is its; its usage stays." => 204;
    }
    "/groups" {
        GET GroupsRead => groups::list, "List groups.", ? ListQuery => 200 Page<GroupItem>;
        POST GroupsWrite => thing::create::<Groups>, "Make a group.",
            json orders::Group => 201 Detail<orders::Group>;
    }
    "/groups/{id}" {
        GET GroupsRead => thing::show::<Groups>, "Show a group." => 200 Detail<orders::Group>;
        PATCH GroupsWrite => thing::change::<Groups>, "Change a group.",
            json orders::Group => 200 Detail<orders::Group>;
        DELETE GroupsWrite => thing::delete::<Groups>, "Delete a group with its keys." => 204;
    }
    "/users" {
        GET UsersRead => users::list, "List users with their places in tenants.", ? ListQuery => 200 Page<UserItem>;
        POST UsersCreate => users::create, "Put somebody into a tenant without asking them.",
            json orders::User => 201 Detail<orders::User>;
    }
    "/users/{id}" {
        GET UsersRead => users::show, "Show somebody as a member of a tenant.", ? MemberQuery => 200 Detail<orders::User>;
        PATCH UsersWrite => users::change, "Change somebody as a member of a tenant.",
            ? MemberQuery, json orders::User => 200 Detail<orders::User>;
        DELETE UsersWrite => users::delete, "Take somebody out of a tenant, with their keys.", ? MemberQuery => 204;
    }
    "/users/{id}/reset-link" {
        POST UsersReset => password_resets::create, "A link that works once, with which somebody sets a password."
            => 201 OneTimeLink;
    }
    "/invitations" {
        GET UsersRead => invitations::list, "List invitations that wait.", ? ListQuery => 200 Page<InvitationItem>;
        POST UsersWrite => invitations::create, "Invite somebody into a tenant; the link is shown this once.",
            json NewInvitation => 201 CreatedInvitation;
    }
    "/invitations/{id}" {
        DELETE UsersWrite => invitations::delete, "Take an invitation back." => 204;
    }
    "/me/keys" {
        GET OwnKeysWrite => my_keys::list, "One's own proxy keys." => 200 Page<KeyItem>;
        POST OwnKeysWrite => my_keys::create, "Make a proxy key for oneself; its value is shown this once.",
            json MyKey => 201 Detail<KeyDetail>;
    }
    "/me/keys/{id}" {
        PATCH OwnKeysWrite => my_keys::change, "Rename a key of one's own, or switch it off.",
            json MyKeyPatch => 200 Detail<KeyDetail>;
        DELETE OwnKeysWrite => my_keys::delete, "Delete a key of one's own." => 204;
    }
    "/me/keys/{id}/rotate" {
        POST OwnKeysWrite => my_keys::rotate, "Give a key of one's own another value; the one before stays valid for a while.",
            json Rotation => 200 Detail<KeyDetail>;
    }
    "/models" {
        GET ModelsRead => models::list, "List models with routes and prices.", ? ListQuery => 200 Page<ModelItem>;
        POST ModelsWrite => thing::create::<Models>, "Make a model.", json Model => 201 Detail<Model>;
    }
    "/models/{id}" {
        GET ModelsRead => thing::show::<Models>, "Show a model." => 200 Detail<Model>;
        PATCH ModelsWrite => thing::change::<Models>, "Change a model.", json Model => 200 Detail<Model>;
        DELETE ModelsWrite => thing::delete::<Models>, "Delete a model." => 204;
    }
    "/settings" {
        GET SettingsRead => settings::show, "The run-time settings in force." => 200 RuntimeSettings;
        PATCH SettingsWrite => settings::change, "Change run-time settings, on every instance at once.",
            json SettingsPatch => 200 RuntimeSettings;
    }
    "/status" {
        GET SystemRead => system::status, "How the asked instance is, with all that it leans on." => 200 SystemStatus;
    }
    "/providers" {
        GET ChannelsRead => system::providers, "Channels, and what their last hour was like." => 200 Vec<ProviderItem>;
    }
    "/stats" {
        GET UsageRead => system::stats, "What there is, and what went through today." => 200 Stats;
    }
    "/security/key-info" {
        GET SecurityRead => admin_key::info, "The admin token, masked." => 200 AdminKeyInfo;
    }
    "/security/rotate-admin-key" {
        POST SecurityWrite => admin_key::rotate, "Another admin token, shown this once; the one before ends at once."
            => 200 NewAdminKey;
    }
    "/security/validate-key" {
        POST SecurityWrite => admin_key::validate, "Whether a value lets anybody in, and as what.",
            json KeyToCheck => 200 KeyCheck;
    }
    "/instances" {
        GET InstancesRead => instances::list, "The living instances." => 200 Page<InstanceItem>;
    }
    "/limits" {
        GET LimitsRead => limits::limits, "List limits with what they have left.", ? ListQuery => 200 Page<LimitItem>;
        POST LimitsWrite => bounds::set_limit, "Set a limit on something.", json NewLimit => 201 LimitItem;
    }
    "/limits/{id}" {
        GET LimitsRead => bounds::show_limit, "Show a limit." => 200 LimitItem;
        PATCH LimitsWrite => bounds::change_limit, "Change a limit; what it has counted stays.",
            json LimitPatch => 200 LimitItem;
        DELETE LimitsWrite => bounds::delete_limit, "Delete a limit." => 204;
    }
    "/budgets" {
        GET BudgetsRead => limits::budgets, "List budgets with what is spent of them.", ? ListQuery => 200 Page<BudgetItem>;
        POST BudgetsWrite => bounds::set_budget, "Set a budget on something.", json NewBudget => 201 BudgetItem;
    }
    "/budgets/{id}" {
        GET BudgetsRead => bounds::show_budget, "Show a budget." => 200 BudgetItem;
        PATCH BudgetsWrite => bounds::change_budget, "Change a budget; what is spent stays spent.",
            json BudgetPatch => 200 BudgetItem;
        DELETE BudgetsWrite => bounds::delete_budget, "Delete a budget." => 204;
    }
    "/alerts" {
        GET AlertsRead => limits::alerts, "List what budgets told.", ? ListQuery => 200 Page<AlertItem>;
    }
    "/channels" {
        GET ChannelsRead => channels::list, "List channels with the state of their credentials.",
            ? ListQuery => 200 Page<ChannelItem>;
        POST ChannelsWrite => thing::create::<Channels>, "Make a channel.",
            json Channel => 201 Detail<ChannelDetail>;
    }
    "/channels/{id}" {
        GET ChannelsRead => thing::show::<Channels>, "Show a channel." => 200 Detail<ChannelDetail>;
        PATCH ChannelsWrite => thing::change::<Channels>, "Change a channel.", json Channel => 200 Detail<ChannelDetail>;
        DELETE ChannelsWrite => thing::delete::<Channels>, "Delete a channel with its credentials." => 204;
    }
    "/channels/{id}/credentials" {
        POST ChannelsWrite => channels::add_credential, "Add a secret to a channel's pool; it is never shown again.",
            json NewCredential => 200 Detail<ChannelDetail>;
    }
    "/channels/{id}/credentials/{credential}" {
        PATCH ChannelsWrite => channels::change_credential, "Rename a credential, or switch it off or on.",
            json CredentialPatch => 200 Detail<ChannelDetail>;
        DELETE ChannelsWrite => channels::delete_credential, "Delete a credential." => 200 Detail<ChannelDetail>;
    }
    "/channels/{id}/credentials/{credential}/validate" {
        POST ChannelsWrite => channels::validate_credential, "Call the vendor with a credential, and tell what came back."
            => 200 CredentialCheck;
    }
    "/keys" {
        GET KeysRead => keys::list, "List proxy keys.", ? ListQuery => 200 Page<KeyItem>;
        POST KeysWrite => keys::create, "Make a proxy key; a value that was made is shown this once.",
            json orders::Key => 201 Detail<KeyDetail>;
    }
    "/keys/{id}" {
        GET KeysRead => thing::show::<Keys>, "Show a proxy key." => 200 Detail<KeyDetail>;
        PATCH KeysWrite => thing::change::<Keys>, "Change a proxy key.", json orders::Key => 200 Detail<KeyDetail>;
        DELETE KeysWrite => thing::delete::<Keys>, "Delete a proxy key; its usage stays." => 204;
    }
    "/keys/{id}/rotate" {
        POST KeysWrite => keys::rotate, "Give a key another value, shown this once; the one before stays valid for a while.",
            json Rotation => 200 Detail<KeyDetail>;
    }
    "/service-tokens" {
        GET ServiceTokensRead => service_tokens::list, "List service tokens.", ? ListQuery => 200 Page<ServiceTokenItem>;
        POST ServiceTokensWrite => service_tokens::create, "Make a service token; its value is shown this once.",
            json NewServiceToken => 201 CreatedServiceToken;
    }
    "/service-tokens/{id}" {
        GET ServiceTokensRead => service_tokens::show, "Show a service token." => 200 ServiceTokenItem;
        PATCH ServiceTokensWrite => service_tokens::change, "Switch a service token off or on.",
            json ServiceTokenPatch => 200 ServiceTokenItem;
        DELETE ServiceTokensWrite => service_tokens::delete, "Delete a service token." => 204;
    }
    "/audit-log" {
        GET AuditRead => audit::list, "What was changed, the latest first.", ? ListQuery => 200 Page<AuditItem>;
    }
    "/audit-log/verify" {
        GET AuditVerify => audit::verify, "Whether the audit log's chain is whole." => 200 AuditVerdict;
    }
    "/usage" {
        GET UsageRead => usage::ask, "Sums of usage.", ? UsageQuery, ? WaitQuery => 200 Vec<UsageRow>;
    }
    "/requests" {
        GET RequestsRead => requests::list, "Single requests, the newest first.",
            ? RequestQuery, ? OrderQuery, ? PageQuery, ? WaitQuery => 200 RequestPage;
    }
    "/requests/facets" {
        GET RequestsRead => requests::facets, "How many of the requests that are looked for have which value.",
            ? RequestQuery, ? FacetQuery => 200 RequestFacets;
    }
    "/requests/{id}" {
        GET RequestsRead => requests::show, "All there is about one request.", ? WaitQuery => 200 RequestDetail;
    }
    "/requests/{id}/neighbours" {
        GET RequestsRead => requests::neighbours, "What stands next to a request among those that are looked for.",
            ? RequestQuery => 200 Neighbours;
    }
}
