//! The routes of management: what each needs, takes and answers. The one place that says so; the reference and the OpenAPI
//! document are made from it.

use actix_web::{Scope, http::Method, middleware::from_fn, web};
use weir_api_types::{
    apply::Applied,
    insight::{EffectiveBounds, Hit, Impact},
    log::{
        BodyLog, BodyLogPatch, KeptBodies, Neighbours, RequestDetail, RequestFacets, RequestPage,
        RequestQuery,
    },
    manage::{
        AlertItem, AuditItem, AuditVerdict, BudgetItem, ChannelItem, CreatedServiceToken, Granted,
        GroupItem, InstanceItem, KeyItem, LimitItem, ModelItem, NewServiceToken, Rights, RoleItem,
        ServiceTokenItem, ServiceTokenPatch, TenantItem, UserItem,
    },
    operators::{CreatedOperator, NewOperator, OperatorItem, OperatorPatch},
    orders::{
        self, BudgetPatch, ChannelDetail, CredentialCheck, CredentialPatch, KeyDetail, LimitPatch,
        MyKey, MyKeyPatch, NewBudget, NewCredential, NewLimit, Rotation,
    },
    people::{
        Acceptance, Access, CreatedInvitation, Credentials, FactorCode, InvitationItem, Me,
        MePatch, NewInvitation, OneTimeLink, PasswordChange, PasswordReset, Proof, RecoveryCodes,
        ResetRequest, Seed, SessionItem,
    },
    queries::{
        AlertQuery, ApplyQuery, AuditQuery, BoundQuery, CallbackQuery, FacetQuery, HeadQuery,
        ListQuery, MemberQuery, NamedQuery, OrderQuery, PageQuery, ReturnQuery, RoleQuery,
        SearchQuery, TenantQuery, WaitQuery, WhoseQuery,
    },
    resources::{Channel, Model, Resources},
    security::{AdminKeyInfo, KeyCheck, KeyToCheck, NewAdminKey},
    settings::{RuntimeSettings, SettingsPatch},
    sign_in::{
        GoTo, IdentityItem, IdentityProviderItem, IdentityProviderOrder, NewIdentity,
        SignInProvider,
    },
    system::{ProviderItem, Stats, SystemStatus},
    usage::{UsageQuery, UsageRow},
};

use super::{
    access::{self, Mark, Needs},
    admin_key, audit, bodies, bounds,
    channels::{self, Channels},
    error, granted,
    groups::{self, Groups},
    identities, identity_providers, insight, instances, invitations,
    keys::{self, Keys},
    limits, login, me,
    models::{self, Models},
    my_keys,
    openapi::{self, Body, Wire},
    operators, password_resets, requests, resources,
    roles::{self, Roles},
    route::{Route, answer, mark, needs, order, routes},
    search, service_tokens, settings, system,
    tenants::{self, Tenants},
    thing, usage, users,
};
use crate::access::Permission;

routes! {
    "/openapi.json" {
        GET Nothing => openapi::document, "This document." => 200;
    }
    "/sign-in" {
        POST Nothing secret => login::sign_in, "Sign in with address and password; the refresh token comes in a cookie.",
            json Credentials => 200 one Access;
    }
    "/sign-in/refresh" {
        POST Nothing => login::refresh, "Another access token for the refresh token in the cookie, which is replaced."
            => 200 one Access;
    }
    "/sign-in/providers" {
        GET Nothing => login::providers, "The identity providers that one may sign in with.", ? TenantQuery
            => 200 list SignInProvider;
    }
    "/sign-in/with/{id}" {
        GET Nothing => login::start, "To an identity provider; for browsers.", ? ReturnQuery => 303;
    }
    "/sign-in/callback" {
        GET Nothing => login::callback, "Back from an identity provider; the refresh token comes in a cookie.",
            ? CallbackQuery => 303;
    }
    "/sign-out" {
        POST Nothing => login::sign_out, "End the session of the cookie." => 204;
    }
    "/password-resets" {
        POST Nothing secret => password_resets::take, "Set another password with a link that works once.",
            json PasswordReset => 204;
    }
    "/password-resets/request" {
        POST Nothing => password_resets::request, "Mail a link to another password to whoever has this address.",
            json ResetRequest => 202;
    }
    "/invitations/accept" {
        POST Nothing secret => invitations::accept, "Take an invitation.", json Acceptance => 204;
    }
    "/me" {
        GET Caller => me::show, "Who calls, and what they may do." => 200 one Me;
        PATCH Caller => me::change, "Change one's own name, department or contact.", json MePatch => 200 one Me;
    }
    "/me/password" {
        POST Caller secret => me::change_password, "Another password for oneself; all other sessions end.",
            json PasswordChange => 204;
    }
    "/me/proof" {
        POST Caller secret => me::prove_again, "Show once more who one is: some things are for a session alone in which that was lately.",
            json Proof => 204;
    }
    "/me/second-factor" {
        POST Caller secret => me::begin_factor, "A seed for a second factor, in force once it is confirmed.",
            json Proof => 200 one Seed;
    }
    "/me/second-factor/confirm" {
        POST Caller secret => me::confirm_factor, "Put the second factor in force; the recovery codes are shown this once.",
            json FactorCode => 200 one RecoveryCodes;
    }
    "/me/second-factor/remove" {
        POST Caller secret => me::remove_factor, "Be asked for no second factor any longer.", json Proof => 204;
    }
    "/me/sessions" {
        GET Caller => me::list_sessions, "One's own sessions, the latest used first.", ? PageQuery => 200 page SessionItem;
        DELETE Caller => me::end_all_sessions, "Sign out everywhere." => 204;
    }
    "/me/sessions/{id}" {
        DELETE Caller => me::end_session, "End one of one's own sessions." => 204;
    }
    "/me/identities" {
        GET Caller => identities::list, "How identity providers know one, the latest first.", ? PageQuery => 200 page IdentityItem;
        POST Caller fresh => identities::add, "Sign in with an identity provider from now on: go there, and come back.",
            json NewIdentity => 200 one GoTo;
    }
    "/me/identities/{id}" {
        DELETE Caller => identities::remove, "Sign in with an identity provider no longer." => 204;
    }
    "/resources" {
        GET ResourcesRead fresh => resources::export, "The whole configuration, as `weir apply` takes it." => 200 one Resources;
    }
    "/resources/apply" {
        POST ResourcesWrite fresh => resources::apply, "Make the platform match a file.",
            ? ApplyQuery, yaml Resources => 200 one Applied;
    }
    "/tenants" {
        GET TenantsRead => tenants::list, "List tenants.", ? NamedQuery => 200 page TenantItem;
        POST TenantsWrite => thing::create::<Tenants>, "Make a tenant.",
            json orders::Tenant => 201 detail orders::Tenant;
    }
    "/tenants/{id}" {
        GET TenantsRead => thing::show::<Tenants>, "Show a tenant." => 200 detail orders::Tenant;
        PATCH TenantsWrite => thing::change::<Tenants>, "Change a tenant.",
            json orders::Tenant => 200 detail orders::Tenant;
        DELETE TenantsWrite fresh => thing::delete::<Tenants>, "Delete a tenant with all that is its; its usage stays." => 204;
    }
    "/tenants/{id}/impact" {
        GET TenantsRead => insight::impact, "What would go, or be missed, with a tenant." => 200 one Impact;
    }
    "/permissions" {
        GET Caller => roles::rights, "The permissions there are, and the roles that are built in." => 200 one Rights;
    }
    "/roles" {
        GET RolesRead => roles::list, "List the roles that tenants have made.", ? NamedQuery => 200 page RoleItem;
        POST RolesWrite => thing::create::<Roles>, "Make a role for a tenant.",
            json orders::OwnRole => 201 detail orders::OwnRole;
    }
    "/roles/{id}" {
        GET RolesRead => thing::show::<Roles>, "Show a role." => 200 detail orders::OwnRole;
        PATCH RolesWrite => roles::change, "Change a role; it counts with the next call of whoever has it.",
            json orders::OwnRole => 200 detail orders::OwnRole;
        DELETE RolesWrite => roles::delete, "Delete a role that nobody has." => 204;
    }
    "/roles/{id}/impact" {
        GET RolesRead => insight::impact, "Who has a role, and keeps it from going." => 200 one Impact;
    }
    "/groups" {
        GET GroupsRead => groups::list, "List groups.", ? NamedQuery => 200 page GroupItem;
        POST GroupsWrite => thing::create::<Groups>, "Make a group.",
            json orders::Group => 201 detail orders::Group;
    }
    "/groups/{id}" {
        GET GroupsRead => thing::show::<Groups>, "Show a group." => 200 detail orders::Group;
        PATCH GroupsWrite => thing::change::<Groups>, "Change a group.",
            json orders::Group => 200 detail orders::Group;
        DELETE GroupsWrite => thing::delete::<Groups>, "Delete a group with its keys." => 204;
    }
    "/groups/{id}/impact" {
        GET GroupsRead => insight::impact, "What would go, or be missed, with a group." => 200 one Impact;
    }
    "/users" {
        GET UsersRead => users::list, "List users with their places in tenants.", ? NamedQuery, ? RoleQuery => 200 page UserItem;
        POST UsersCreate fresh => users::create, "Put somebody into a tenant without asking them.",
            json orders::User => 201 detail orders::User;
    }
    "/users/{id}" {
        GET UsersRead => users::show, "Show somebody as a member of a tenant.", ? MemberQuery => 200 detail orders::User;
        PATCH UsersWrite => users::change, "Change somebody as a member of a tenant.",
            ? MemberQuery, json orders::User => 200 detail orders::User;
        DELETE UsersWrite => users::delete, "Take somebody out of a tenant, with their keys.", ? MemberQuery => 204;
    }
    "/users/{id}/impact" {
        GET UsersRead => insight::impact, "What would go, or be missed, with somebody: in all tenants, or in the caller's." => 200 one Impact;
    }
    "/users/{id}/reset-link" {
        POST UsersReset fresh => password_resets::create, "A link that works once, with which somebody sets a password."
            => 201 one OneTimeLink;
    }
    "/users/{id}/second-factor" {
        DELETE UsersReset fresh => password_resets::forget_factor, "Have sign-in ask somebody for no second factor any longer, and sign them out."
            => 204;
    }
    "/users/{id}/sessions" {
        DELETE UsersReset => password_resets::sign_out, "Sign somebody out everywhere." => 204;
    }
    "/operators" {
        GET OperatorsRead => operators::list, "List the platform's own people.", ? NamedQuery => 200 page OperatorItem;
        POST OperatorsWrite fresh => operators::create, "Make somebody an operator of the platform; the link to a password is shown this once.",
            json NewOperator => 201 one CreatedOperator;
    }
    "/operators/{id}" {
        GET OperatorsRead => operators::show, "Show an operator." => 200 one OperatorItem;
        PATCH OperatorsWrite fresh => operators::change, "Change an operator.", json OperatorPatch => 200 one OperatorItem;
        DELETE OperatorsWrite fresh => operators::delete, "Make somebody no operator any more; whoever is in no tenant goes." => 204;
    }
    "/invitations" {
        GET UsersRead => invitations::list, "List invitations that wait.", ? NamedQuery => 200 page InvitationItem;
        POST UsersWrite => invitations::create, "Invite somebody into a tenant; the link is shown this once.",
            json NewInvitation => 201 one CreatedInvitation;
    }
    "/invitations/{id}" {
        DELETE UsersWrite => invitations::delete, "Take an invitation back." => 204;
    }
    "/me/keys" {
        GET OwnKeysWrite => my_keys::list, "One's own proxy keys.", ? NamedQuery => 200 page KeyItem;
        POST OwnKeysWrite => my_keys::create, "Make a proxy key for oneself; its value is shown this once.",
            json MyKey => 201 detail KeyDetail;
    }
    "/me/keys/{id}" {
        PATCH OwnKeysWrite => my_keys::change, "Rename a key of one's own, or switch it off.",
            json MyKeyPatch => 200 detail KeyDetail;
        DELETE OwnKeysWrite => my_keys::delete, "Delete a key of one's own." => 204;
    }
    "/me/keys/{id}/rotate" {
        POST OwnKeysWrite => my_keys::rotate, "Give a key of one's own another value; the one before stays valid for a while.",
            json Rotation => 200 detail KeyDetail;
    }
    "/models" {
        GET ModelsRead => models::list, "List models with routes and prices.", ? NamedQuery => 200 page ModelItem;
        POST ModelsWrite => thing::create::<Models>, "Make a model.", json Model => 201 detail Model;
    }
    "/models/{id}" {
        GET ModelsRead => thing::show::<Models>, "Show a model." => 200 detail Model;
        PATCH ModelsWrite => thing::change::<Models>, "Change a model.", json Model => 200 detail Model;
        DELETE ModelsWrite => thing::delete::<Models>, "Delete a model." => 204;
    }
    "/models/{id}/impact" {
        GET ModelsRead => insight::impact, "What would go, or be missed, with a model." => 200 one Impact;
    }
    "/granted" {
        GET ModelsRead => granted::show, "What the platform grants a tenant: models with what they cost, and channels by name.",
            ? TenantQuery => 200 one Granted;
    }
    "/settings" {
        GET SettingsRead => settings::show, "The run-time settings in force." => 200 one RuntimeSettings;
        PATCH SettingsWrite => settings::change, "Change run-time settings, on every instance at once.",
            json SettingsPatch => 200 one RuntimeSettings;
    }
    "/status" {
        GET SystemRead => system::status, "How the asked instance is, with all that it leans on." => 200 one SystemStatus;
    }
    "/providers" {
        GET ChannelsRead => system::providers, "Channels, and what their last hour was like.", ? NamedQuery => 200 page ProviderItem;
    }
    "/stats" {
        GET UsageRead => system::stats, "What there is, and what went through today.", ? TenantQuery => 200 one Stats;
    }
    "/security/key-info" {
        GET SecurityRead => admin_key::info, "The admin token, masked." => 200 one AdminKeyInfo;
    }
    "/security/rotate-admin-key" {
        POST SecurityWrite fresh => admin_key::rotate, "Another admin token, shown this once; the one before ends at once."
            => 200 one NewAdminKey;
    }
    "/security/validate-key" {
        POST SecurityWrite secret => admin_key::validate, "Whether a value lets anybody in, and as what.",
            json KeyToCheck => 200 one KeyCheck;
    }
    "/instances" {
        GET InstancesRead => instances::list, "The living instances.", ? PageQuery => 200 page InstanceItem;
    }
    "/limits" {
        GET LimitsRead => limits::limits, "List limits with what they have left.", ? ListQuery, ? BoundQuery => 200 page LimitItem;
        POST LimitsWrite => bounds::set_limit, "Set a limit on something.", json NewLimit => 201 one LimitItem;
    }
    "/limits/{id}" {
        GET LimitsRead => bounds::show_limit, "Show a limit." => 200 one LimitItem;
        PATCH LimitsWrite => bounds::change_limit, "Change a limit; what it has counted stays.",
            json LimitPatch => 200 one LimitItem;
        DELETE LimitsWrite => bounds::delete_limit, "Delete a limit." => 204;
    }
    "/budgets" {
        GET BudgetsRead => limits::budgets, "List budgets with what is spent of them.", ? ListQuery, ? BoundQuery => 200 page BudgetItem;
        POST BudgetsWrite => bounds::set_budget, "Set a budget on something.", json NewBudget => 201 one BudgetItem;
    }
    "/budgets/{id}" {
        GET BudgetsRead => bounds::show_budget, "Show a budget." => 200 one BudgetItem;
        PATCH BudgetsWrite => bounds::change_budget, "Change a budget; what is spent stays spent.",
            json BudgetPatch => 200 one BudgetItem;
        DELETE BudgetsWrite => bounds::delete_budget, "Delete a budget." => 204;
    }
    "/alerts" {
        GET AlertsRead => limits::alerts, "List what budgets told.", ? ListQuery, ? AlertQuery => 200 page AlertItem;
    }
    "/channels" {
        GET ChannelsRead => channels::list, "List channels with the state of their credentials.",
            ? NamedQuery => 200 page ChannelItem;
        POST ChannelsWrite => thing::create::<Channels>, "Make a channel.",
            json Channel => 201 detail ChannelDetail;
    }
    "/channels/{id}" {
        GET ChannelsRead => thing::show::<Channels>, "Show a channel." => 200 detail ChannelDetail;
        PATCH ChannelsWrite => thing::change::<Channels>, "Change a channel.", json Channel => 200 detail ChannelDetail;
        DELETE ChannelsWrite => thing::delete::<Channels>, "Delete a channel with its credentials." => 204;
    }
    "/channels/{id}/impact" {
        GET ChannelsRead => insight::impact, "What would go, or be missed, with a channel." => 200 one Impact;
    }
    "/channels/{id}/credentials" {
        POST ChannelsWrite => channels::add_credential, "Add a secret to a channel's pool; it is never shown again.",
            json NewCredential => 200 detail ChannelDetail;
    }
    "/channels/{id}/credentials/{credential}" {
        PATCH ChannelsWrite => channels::change_credential, "Rename a credential, or switch it off or on.",
            json CredentialPatch => 200 detail ChannelDetail;
        DELETE ChannelsWrite => channels::delete_credential, "Delete a credential." => 200 detail ChannelDetail;
    }
    "/channels/{id}/credentials/{credential}/validate" {
        POST ChannelsWrite secret => channels::validate_credential, "Call the vendor with a credential, and tell what came back."
            => 200 one CredentialCheck;
    }
    "/keys" {
        GET KeysRead => keys::list, "List proxy keys.", ? NamedQuery, ? WhoseQuery => 200 page KeyItem;
        POST KeysWrite => keys::create, "Make a proxy key; a value that was made is shown this once.",
            json orders::Key => 201 detail KeyDetail;
    }
    "/keys/{id}" {
        GET KeysRead => thing::show::<Keys>, "Show a proxy key." => 200 detail KeyDetail;
        PATCH KeysWrite => thing::change::<Keys>, "Change a proxy key.", json orders::Key => 200 detail KeyDetail;
        DELETE KeysWrite => thing::delete::<Keys>, "Delete a proxy key; its usage stays." => 204;
    }
    "/keys/{id}/impact" {
        GET KeysRead => insight::impact, "What would go, or be missed, with a key." => 200 one Impact;
    }
    "/keys/{id}/bounds" {
        GET LimitsRead => insight::bounds, "All limits and budgets that a key's calls have to pass, and which binds."
            => 200 one EffectiveBounds;
    }
    "/keys/{id}/rotate" {
        POST KeysWrite => keys::rotate, "Give a key another value, shown this once; the one before stays valid for a while.",
            json Rotation => 200 detail KeyDetail;
    }
    "/service-tokens" {
        GET ServiceTokensRead => service_tokens::list, "List service tokens.", ? NamedQuery => 200 page ServiceTokenItem;
        POST ServiceTokensWrite fresh => service_tokens::create, "Make a service token; its value is shown this once.",
            json NewServiceToken => 201 one CreatedServiceToken;
    }
    "/service-tokens/{id}" {
        GET ServiceTokensRead => service_tokens::show, "Show a service token." => 200 one ServiceTokenItem;
        PATCH ServiceTokensWrite => service_tokens::change, "Switch a service token off or on.",
            json ServiceTokenPatch => 200 one ServiceTokenItem;
        DELETE ServiceTokensWrite => service_tokens::delete, "Delete a service token." => 204;
    }
    "/identity-providers" {
        GET IdentityProvidersRead => identity_providers::list, "List identity providers.",
            ? NamedQuery => 200 page IdentityProviderItem;
        POST IdentityProvidersWrite fresh => identity_providers::create, "Let people sign in with an identity provider.",
            json IdentityProviderOrder => 201 one IdentityProviderItem;
    }
    "/identity-providers/{id}" {
        GET IdentityProvidersRead => identity_providers::show, "Show an identity provider." => 200 one IdentityProviderItem;
        PATCH IdentityProvidersWrite fresh => identity_providers::change, "Change an identity provider.",
            json IdentityProviderOrder => 200 one IdentityProviderItem;
        DELETE IdentityProvidersWrite => identity_providers::delete,
            "Delete an identity provider; the sessions that it began end." => 204;
    }
    "/audit-log" {
        GET AuditRead => audit::list, "What was changed, the latest first.", ? ListQuery, ? AuditQuery => 200 page AuditItem;
    }
    "/audit-log/verify" {
        GET AuditVerify => audit::verify, "Whether the audit log's chain is whole.", ? HeadQuery => 200 one AuditVerdict;
    }
    "/search" {
        GET Caller => search::search, "Whatever within reach has this in its name, or this id.",
            ? SearchQuery => 200 page Hit;
    }
    "/usage" {
        GET UsageRead => usage::ask, "Sums of usage.", ? UsageQuery, ? WaitQuery => 200 list UsageRow;
    }
    "/requests" {
        GET RequestsRead => requests::list, "Single requests, the newest first.",
            ? RequestQuery, ? OrderQuery, ? PageQuery, ? WaitQuery => 200 one RequestPage;
    }
    "/requests/facets" {
        GET RequestsRead => requests::facets, "How many of the requests that are looked for have which value.",
            ? RequestQuery, ? FacetQuery => 200 one RequestFacets;
    }
    "/requests/{id}" {
        GET RequestsRead => requests::show, "All there is about one request.", ? WaitQuery => 200 one RequestDetail;
    }
    "/requests/{id}/bodies" {
        GET BodiesRead => bodies::read, "What was said in a call, where the tenant has that kept; the audit log notes the reading."
            => 200 one KeptBodies;
    }
    "/body-log" {
        GET BodiesRead => bodies::show, "Whether what is said in a tenant's calls is kept.", ? TenantQuery => 200 one BodyLog;
        PATCH BodiesWrite => bodies::change, "Have what is said in a tenant's calls kept, or no longer.",
            json BodyLogPatch => 200 one BodyLog;
        DELETE BodiesWrite => bodies::forget, "Forget what was said in a tenant's calls so far.", ? TenantQuery => 204;
    }
    "/requests/{id}/neighbours" {
        GET RequestsRead => requests::neighbours, "What stands next to a request among those that are looked for.",
            ? RequestQuery => 200 one Neighbours;
    }
}
