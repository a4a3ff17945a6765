//! The routes of management, and what each needs: the one place that says so.

use actix_web::{Scope, http::Method, middleware::from_fn, web};

use super::{
    access::{self, Needs},
    audit, bounds,
    channels::{self, Channels},
    error,
    groups::{self, Groups},
    instances, invitations,
    keys::{self, Keys},
    limits, login, me,
    models::{self, Models},
    my_keys, password_resets, resources, service_tokens,
    tenants::{self, Tenants},
    thing, usage, users,
};
use crate::access::Permission;

/// A route, and what its caller needs to get in.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    pub method: &'static str,
    /// Below `/v1/admin`.
    pub path: &'static str,
    pub needs: Needs,
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

macro_rules! routes {
    ($($path:literal { $($method:ident $needs:ident => $handler:path;)+ })+) => {
        /// All routes.
        pub const TABLE: &[Route] = &[$($(
            Route { method: stringify!($method), path: $path, needs: needs!($needs) },
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
    "/sign-in" { POST Nothing => login::sign_in; }
    "/sign-in/refresh" { POST Nothing => login::refresh; }
    "/sign-out" { POST Nothing => login::sign_out; }
    "/password-resets" { POST Nothing => password_resets::take; }
    "/invitations/accept" { POST Nothing => invitations::accept; }
    "/me" {
        GET Caller => me::show;
        PATCH Caller => me::change;
    }
    "/me/password" { POST Caller => me::change_password; }
    "/me/second-factor" { POST Caller => me::begin_factor; }
    "/me/second-factor/confirm" { POST Caller => me::confirm_factor; }
    "/me/second-factor/remove" { POST Caller => me::remove_factor; }
    "/me/sessions" {
        GET Caller => me::list_sessions;
        DELETE Caller => me::end_all_sessions;
    }
    "/me/sessions/{id}" { DELETE Caller => me::end_session; }
    "/resources" { GET ResourcesRead => resources::export; }
    "/resources/apply" { POST ResourcesWrite => resources::apply; }
    "/tenants" {
        GET TenantsRead => tenants::list;
        POST TenantsWrite => thing::create::<Tenants>;
    }
    "/tenants/{id}" {
        GET TenantsRead => thing::show::<Tenants>;
        PATCH TenantsWrite => thing::change::<Tenants>;
        DELETE TenantsWrite => thing::delete::<Tenants>;
    }
    "/groups" {
        GET GroupsRead => groups::list;
        POST GroupsWrite => thing::create::<Groups>;
    }
    "/groups/{id}" {
        GET GroupsRead => thing::show::<Groups>;
        PATCH GroupsWrite => thing::change::<Groups>;
        DELETE GroupsWrite => thing::delete::<Groups>;
    }
    "/users" {
        GET UsersRead => users::list;
        POST UsersCreate => users::create;
    }
    "/users/{id}" {
        GET UsersRead => users::show;
        PATCH UsersWrite => users::change;
        DELETE UsersWrite => users::delete;
    }
    "/users/{id}/reset-link" { POST UsersReset => password_resets::create; }
    "/invitations" {
        GET UsersRead => invitations::list;
        POST UsersWrite => invitations::create;
    }
    "/invitations/{id}" { DELETE UsersWrite => invitations::delete; }
    "/me/keys" {
        GET OwnKeysWrite => my_keys::list;
        POST OwnKeysWrite => my_keys::create;
    }
    "/me/keys/{id}" {
        PATCH OwnKeysWrite => my_keys::change;
        DELETE OwnKeysWrite => my_keys::delete;
    }
    "/me/keys/{id}/rotate" { POST OwnKeysWrite => my_keys::rotate; }
    "/models" {
        GET ModelsRead => models::list;
        POST ModelsWrite => thing::create::<Models>;
    }
    "/models/{id}" {
        GET ModelsRead => thing::show::<Models>;
        PATCH ModelsWrite => thing::change::<Models>;
        DELETE ModelsWrite => thing::delete::<Models>;
    }
    "/instances" { GET InstancesRead => instances::list; }
    "/limits" {
        GET LimitsRead => limits::limits;
        POST LimitsWrite => bounds::set_limit;
    }
    "/limits/{id}" {
        GET LimitsRead => bounds::show_limit;
        PATCH LimitsWrite => bounds::change_limit;
        DELETE LimitsWrite => bounds::delete_limit;
    }
    "/budgets" {
        GET BudgetsRead => limits::budgets;
        POST BudgetsWrite => bounds::set_budget;
    }
    "/budgets/{id}" {
        GET BudgetsRead => bounds::show_budget;
        PATCH BudgetsWrite => bounds::change_budget;
        DELETE BudgetsWrite => bounds::delete_budget;
    }
    "/alerts" { GET AlertsRead => limits::alerts; }
    "/channels" {
        GET ChannelsRead => channels::list;
        POST ChannelsWrite => thing::create::<Channels>;
    }
    "/channels/{id}" {
        GET ChannelsRead => thing::show::<Channels>;
        PATCH ChannelsWrite => thing::change::<Channels>;
        DELETE ChannelsWrite => thing::delete::<Channels>;
    }
    "/channels/{id}/credentials" { POST ChannelsWrite => channels::add_credential; }
    "/channels/{id}/credentials/{credential}" {
        PATCH ChannelsWrite => channels::change_credential;
        DELETE ChannelsWrite => channels::delete_credential;
    }
    "/keys" {
        GET KeysRead => keys::list;
        POST KeysWrite => keys::create;
    }
    "/keys/{id}" {
        GET KeysRead => thing::show::<Keys>;
        PATCH KeysWrite => thing::change::<Keys>;
        DELETE KeysWrite => thing::delete::<Keys>;
    }
    "/keys/{id}/rotate" { POST KeysWrite => keys::rotate; }
    "/service-tokens" {
        GET ServiceTokensRead => service_tokens::list;
        POST ServiceTokensWrite => service_tokens::create;
    }
    "/service-tokens/{id}" {
        GET ServiceTokensRead => service_tokens::show;
        PATCH ServiceTokensWrite => service_tokens::change;
        DELETE ServiceTokensWrite => service_tokens::delete;
    }
    "/audit-log" { GET AuditRead => audit::list; }
    "/audit-log/verify" { GET AuditVerify => audit::verify; }
    "/usage" { GET UsageRead => usage::ask; }
}
