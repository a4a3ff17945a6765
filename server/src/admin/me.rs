//! What everybody sees and changes of themselves.

use actix_web::{HttpResponse, http::StatusCode, web};
use sea_orm::ConnectionTrait;
use uuid::Uuid;
use weir_api_types::{
    manage::Page,
    people::{
        FactorCode, Features, Me, MePatch, MyPerson, MyTenant, PasswordChange, Proof,
        RecoveryCodes, Seed, SessionItem,
    },
    secret::Sensitive,
};

use super::{
    State, audit,
    body::Order,
    error::{ApiError, Code},
    list::{self, Latest},
    login,
    thing::{self, IfMatch},
};
use crate::{
    access::{Author, Caller, Permission, Reach, Subject},
    catalog::Kind,
    clock::now_ms,
    resources,
    store::{
        self, Change,
        names::{self, Named},
        roles::RoleNames,
        sessions,
        sign_ins::{self, SignIn},
    },
    tenancy::{Person, TenantId, UserId},
};

/// `GET /v1/admin/me`
pub async fn show(caller: Caller, state: web::Data<State>) -> Result<HttpResponse, ApiError> {
    let db = &state.stores.config.read;
    let (kind, id, name, person) = match &caller.subject {
        Subject::AdminToken => ("admin_token", None, String::new(), None),
        Subject::ServiceToken { id, name } => ("service_token", Some(*id), name.to_string(), None),
        Subject::User { id, email, .. } => {
            let person = my_person(&state, &caller, *id).await?;
            ("user", Some(id.0), email.to_string(), Some(person))
        }
    };
    let tenant = match caller.reach {
        Reach::Platform => None,
        Reach::Tenant(tenant) => {
            let names = names::of(db, Named::Tenant, &[tenant.0]).await?;
            names.get(&tenant.0).cloned()
        }
    };
    let catalog = state.catalog.load();
    let known = match caller.reach {
        Reach::Platform => None,
        Reach::Tenant(tenant) => catalog.tenant(tenant),
    };
    let policies = known.map(|known| known.policies).unwrap_or_default();
    let features = Features {
        mail: state.mail.is_some(),
        own_channels: known.is_none() || policies.own_channels,
        body_log: policies.log_bodies_days.is_some(),
    };
    let all = Permission::ALL.iter().filter(|one| caller.may(**one));
    let own = person
        .as_ref()
        .map(|person| own([&person.name, &person.department, &person.contact]));
    let me = Me {
        kind: kind.to_owned(),
        id,
        name,
        person,
        tenant,
        permissions: all.map(ToString::to_string).collect(),
        time_zone: time_zone(&state, known.map(|known| known.id)),
        public_url: state.public_url.clone(),
        features,
    };
    match own {
        Some(own) => thing::under_tag(StatusCode::OK, &own, me),
        None => Ok(HttpResponse::Ok().json(me)),
    }
}

/// What is theirs to change.
fn own([name, department, contact]: [&String; 3]) -> MePatch {
    MePatch {
        name: Some(name.clone()),
        department: Some(department.clone()),
        contact: Some(contact.clone()),
    }
}

fn time_zone(state: &State, tenant: Option<TenantId>) -> String {
    let catalog = state.catalog.load();
    let tenant = tenant.and_then(|tenant| catalog.tenant(tenant));
    tenant.map_or_else(|| "UTC".to_owned(), |tenant| tenant.time_zone.clone())
}

async fn my_person(state: &State, caller: &Caller, id: UserId) -> Result<MyPerson, ApiError> {
    let db = &state.stores.config.read;
    let person = store::users::one(db, id).await?;
    let person = person.ok_or(store::Error::NotFound)?;
    let kept = sign_ins::find(db, id).await?;
    let is_lent = matches!(caller.subject, Subject::User { is_lent: true, .. });
    let mut tenants = store::users::places(db, id).await?;
    tenants.retain(|(tenant, ..)| !is_lent || caller.reaches(Some(*tenant)));
    let role_names = RoleNames::of(db, tenants.iter().map(|(_, _, role)| *role)).await?;
    let tenants = tenants.into_iter().map(|(id, name, role)| MyTenant {
        id: id.0,
        name,
        time_zone: time_zone(state, Some(id)),
        role: role_names.name(role),
    });
    Ok(MyPerson {
        email: person.email,
        name: person.name,
        department: person.department,
        contact: person.contact,
        platform_role: person.platform_role.filter(|_| !is_lent),
        tenants: tenants.collect(),
        second_factor: kept.totp_on,
        recovery_codes: kept.recovery.len(),
    })
}

/// `PATCH /v1/admin/me`
pub async fn change(
    caller: Caller,
    author: Author,
    if_match: IfMatch,
    order: Order<MePatch>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let (me, _) = person(&caller)?;
    let MePatch {
        name,
        department,
        contact,
    } = order.0;
    let mut change = Change::begin(&state.stores).await?;
    let db = change.transaction();
    let stored = store::users::one(db, me).await?;
    let before = stored.ok_or(store::Error::NotFound)?;
    let own = |person: &Person| own([&person.name, &person.department, &person.contact]);
    if_match.check(&own(&before))?;
    let mut after = before.clone();
    for (field, given, kept) in [
        ("name", name, &mut after.name),
        ("department", department, &mut after.department),
        ("contact", contact, &mut after.contact),
    ] {
        if let Some(text) = given {
            *kept = resources::line(&text).map_err(|error| ApiError::field(field, error))?;
        }
    }
    let (old, new) = (own(&before), own(&after));
    let done = audit::differs("user", None, &before.email, Some(&old), Some(&new))?;
    if !done.is_empty() {
        store::users::put(db, &after, now_ms()).await?;
        store::audit::append(db, &state.sealer, &author, &done).await?;
        change.changed(Kind::User, me.0);
    }
    state.catch_up(change.commit().await?).await;
    show(caller, state).await
}

/// `POST /v1/admin/me/password`: another password. All other sessions end.
pub async fn change_password(
    caller: Caller,
    author: Author,
    order: Order<PasswordChange>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let (me, session) = person(&caller)?;
    let PasswordChange { current, new } = order.0;
    let proven = prove(&state, &author, me, session, &current, "current").await?;
    let hashed = state.login.passwords.hash("new", &new).await?;
    let transaction = state.stores.config.begin_write().await?;
    still(&transaction, me, session, &proven).await?;
    let stored = store::users::one(&transaction, me).await?;
    let stored = stored.ok_or(store::Error::NotFound)?;
    sign_ins::put_password(&transaction, me, hashed, now_ms()).await?;
    let (kept, reason) = (Some(session), "the password was changed");
    login::end_sessions_in(&transaction, &state, &author, &stored, kept, reason).await?;
    transaction.commit().await.map_err(store::Error::from)?;
    state.tell(
        &stored.email,
        "The password of your account on Weir was changed.",
    );
    Ok(HttpResponse::NoContent().finish())
}

/// `POST /v1/admin/me/proof`: some routes are open for a while.
pub async fn prove_again(
    caller: Caller,
    author: Author,
    order: Order<Proof>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let (me, session) = person(&caller)?;
    prove(&state, &author, me, session, &order.0.password, "password").await?;
    Ok(HttpResponse::NoContent().finish())
}

/// `POST /v1/admin/me/second-factor`: a seed for an app. In force once a code of it was confirmed.
pub async fn begin_factor(
    caller: Caller,
    author: Author,
    order: Order<Proof>,
    state: web::Data<State>,
) -> Result<web::Json<Seed>, ApiError> {
    let (me, session) = person(&caller)?;
    let password = &order.0.password;
    let proven = prove(&state, &author, me, session, password, "password").await?;
    let (sealed, seed) = login::seed(&state.sealer, me, email(&caller))?;
    let transaction = state.stores.config.begin_write().await?;
    if still(&transaction, me, session, &proven).await?.totp_on {
        let detail = "There is a second factor: take that away first.";
        return Err(ApiError::new(Code::InUse, detail));
    }
    sign_ins::put_seed(&transaction, me, sealed, now_ms()).await?;
    transaction.commit().await.map_err(store::Error::from)?;
    Ok(web::Json(seed))
}

/// `POST /v1/admin/me/second-factor/confirm`: from now on sign-in asks for it. The answer has the recovery codes, this once.
pub async fn confirm_factor(
    caller: Caller,
    author: Author,
    order: Order<FactorCode>,
    state: web::Data<State>,
) -> Result<web::Json<RecoveryCodes>, ApiError> {
    let (me, session) = person(&caller)?;
    let kept = sign_ins::find(&state.stores.config.read, me).await?;
    let in_force = || ApiError::new(Code::InUse, "It is in force already.");
    if kept.totp_on {
        return Err(in_force());
    }
    let code = order.0.code;
    let taken = login::take(
        &state.stores,
        &state.sealer,
        me,
        &kept,
        code.expose(),
        false,
    );
    if !taken.await? {
        let message = "is wrong: is the clock of your device right?";
        return Err(ApiError::field("code", message));
    }
    let (codes, digests) = login::recovery_codes();
    let on = serde_json::json!({"second_factor": true});
    let done = audit::differs("user", None, email(&caller), Some(&off()), Some(&on))?;
    let transaction = state.stores.config.begin_write().await?;
    let held = still(&transaction, me, session, &kept.password).await?;
    if held.totp_on || held.totp != kept.totp {
        return Err(in_force());
    }
    sign_ins::switch_on(&transaction, me, &digests, now_ms()).await?;
    store::audit::append(&transaction, &state.sealer, &author, &done).await?;
    transaction.commit().await.map_err(store::Error::from)?;
    state.tell(
        email(&caller),
        "Your account on Weir asks for a second factor from now on.",
    );
    Ok(web::Json(RecoveryCodes { codes }))
}

/// `POST /v1/admin/me/second-factor/remove`: sign-in asks for it no longer.
pub async fn remove_factor(
    caller: Caller,
    author: Author,
    order: Order<Proof>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let (me, session) = person(&caller)?;
    let password = &order.0.password;
    let proven = prove(&state, &author, me, session, password, "password").await?;
    let on = serde_json::json!({"second_factor": true});
    let done = audit::differs("user", None, email(&caller), Some(&on), Some(&off()))?;
    let transaction = state.stores.config.begin_write().await?;
    still(&transaction, me, session, &proven).await?;
    sign_ins::forget_factor(&transaction, me, now_ms()).await?;
    store::audit::append(&transaction, &state.sealer, &author, &done).await?;
    transaction.commit().await.map_err(store::Error::from)?;
    state.tell(
        email(&caller),
        "Your account on Weir asks for no second factor any longer.",
    );
    Ok(HttpResponse::NoContent().finish())
}

/// `GET /v1/admin/me/sessions`
pub async fn list_sessions(
    caller: Caller,
    Latest(page): Latest,
    state: web::Data<State>,
) -> Result<web::Json<Page<SessionItem>>, ApiError> {
    let (me, session) = person(&caller)?;
    let db = &state.stores.config.read;
    let listed = sessions::list(db, me, Some(session), &page, now_ms()).await?;
    Ok(list::answer(listed))
}

/// `DELETE /v1/admin/me/sessions/{id}`
pub async fn end_session(
    caller: Caller,
    author: Author,
    id: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let (me, _) = person(&caller)?;
    let absent = || ApiError::not_found("session");
    let id = Uuid::parse_str(&id).map_err(|_| absent())?;
    let stored = store::users::one(&state.stores.config.read, me).await?;
    let stored = stored.ok_or(store::Error::NotFound)?;
    match login::end_session(&state, &author, &stored, id, "ended by its owner").await? {
        true => Ok(HttpResponse::NoContent().finish()),
        false => Err(absent()),
    }
}

/// `DELETE /v1/admin/me/sessions`: sign out everywhere, here too.
pub async fn end_all_sessions(
    caller: Caller,
    author: Author,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let (me, _) = person(&caller)?;
    let stored = store::users::one(&state.stores.config.read, me).await?;
    let stored = stored.ok_or(store::Error::NotFound)?;
    login::end_sessions(&state, &author, &stored, None, "signed out everywhere").await?;
    Ok(HttpResponse::NoContent().finish())
}

/// The person who calls, and in which session. Tokens are nobody, and what a tenant's identity provider says is no word of the person's.
pub fn person(caller: &Caller) -> Result<(UserId, Uuid), ApiError> {
    match &caller.subject {
        Subject::User { is_lent: true, .. } => {
            let detail = "A tenant's identity provider vouches for you: sign in with your password for this.";
            Err(ApiError::new(Code::Forbidden, detail))
        }
        Subject::User { id, session, .. } => Ok((*id, *session)),
        Subject::AdminToken | Subject::ServiceToken { .. } => {
            let detail = "This is for people who are signed in.";
            Err(ApiError::new(Code::Forbidden, detail))
        }
    }
}

fn email(caller: &Caller) -> &str {
    match &caller.subject {
        Subject::User { email, .. } => email,
        Subject::AdminToken | Subject::ServiceToken { .. } => "",
    }
}

fn off() -> serde_json::Value {
    serde_json::json!({"second_factor": false})
}

/// What is kept of whoever calls, until the transaction is over, if it is what they have proven and their session lives: hashing takes its
/// time, in which an operator's link may have set another password and ended all sessions (threats.md, A5).
async fn still(
    transaction: &impl ConnectionTrait,
    me: UserId,
    session: Uuid,
    proven: &Option<String>,
) -> Result<SignIn, ApiError> {
    let held = sign_ins::find_held(transaction, me).await?;
    let living = sessions::living(transaction, session, now_ms()).await?;
    match held.password == *proven && living.is_some() {
        true => Ok(held),
        false => Err(ApiError::new(Code::SessionOver, "Sign in again.")),
    }
}

/// That it is still them: a session may be hours old, and its screen unlocked. Wrong ones wait as at sign-in. Gives the password as it
/// is kept.
async fn prove(
    state: &State,
    author: &Author,
    me: UserId,
    session: Uuid,
    password: &Sensitive,
    field: &str,
) -> Result<Option<String>, ApiError> {
    let kept = sign_ins::find(&state.stores.config.read, me).await?;
    let tried = login::Proof::new(me);
    let begun = tried.begin(&state.stores, now_ms()).await?;
    begun.map_err(|wait_ms| ApiError::wait(wait_ms, "There were too many tries."))?;
    let hashed = kept.password.clone();
    if !state.login.passwords.is(password, kept.password).await? {
        let told = serde_json::json!({"wrong": "password"});
        let done = store::audit::one("failed_proof", None, &author.name, &told);
        store::audit::note(&state.stores, &state.sealer, author, &[done]).await?;
        return Err(ApiError::field(field, "is wrong"));
    }
    tried.succeeded(&state.stores).await?;
    sessions::prove(&state.stores.config.write, session, now_ms()).await?;
    Ok(hashed)
}
