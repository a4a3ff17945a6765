//! Single things: shown, made, changed and deleted, all in the same way.
//!
//! Each kind says in [`Thing`] what is its own about that. An order is laid over what is stored as a file of one would be, so that
//! whatever holds for `weir apply` holds here. A thing's `ETag` is a digest of what only orders change of it; `If-Match` asks for
//! it before anything is written, while nobody else can write.

mod shown;

use std::marker::PhantomData;

use actix_web::{HttpResponse, http::StatusCode, web};
use sea_orm::ConnectionTrait;
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;
use weir_api_types::resources::Resources;

pub use shown::{IfMatch, answer, as_known, as_seen, tag, tagged, under_tag};

use super::{
    State, audit,
    body::Order as Body,
    error::{ApiError, Code},
    owners, users,
};
use crate::{
    access::{Author, Caller, Permission},
    catalog::Kind,
    resources::{self, Edit, Picture},
    store::{
        self, Change,
        catalog::{Slice, Times},
    },
    tenancy::{Person, TenantId, UserId, name},
};

/// A kind of thing, and what is its own about it.
pub trait Thing {
    /// What it is made and changed with, and what is stored of it in the same words.
    type Order: DeserializeOwned + Serialize + 'static;
    /// What an answer shows of it.
    type Shown: Serialize;

    const KIND: Kind;
    /// Where it stands in a file of one.
    const PLACE: &'static str;

    /// The tenant that a new one is for, as the order names it. `None`: the order says nothing.
    fn tenant(order: &Self::Order) -> Option<&str>;

    /// The name that the order gives it.
    fn name(order: &Self::Order) -> Option<&str>;

    /// The stored form of a name.
    fn normal(name: &str) -> Result<String, ApiError>;

    /// Whether the caller may order this, of a stored thing or of a new one, which has no id yet.
    fn allow(
        _caller: &Caller,
        _picture: &Picture,
        _owner: Option<TenantId>,
        _order: &Self::Order,
        _id: Option<Uuid>,
    ) -> Result<(), ApiError> {
        Ok(())
    }

    /// Whether the caller may delete a stored one.
    fn allow_delete(_caller: &Caller, _picture: &Picture, _id: Uuid) -> Result<(), ApiError> {
        Ok(())
    }

    /// Whether the order sets limits, and whether it sets budgets: each is a permission of its own.
    fn bounds(_order: &Self::Order) -> (bool, bool) {
        (false, false)
    }

    /// What has to be read for it.
    async fn slice(
        _db: &impl ConnectionTrait,
        owner: Option<TenantId>,
        _id: Option<Uuid>,
        _order: Option<&Self::Order>,
    ) -> Result<Slice, ApiError> {
        Ok(Slice {
            owner,
            ..Slice::default()
        })
    }

    /// The one of a name.
    fn find(picture: &Picture, owner: Option<TenantId>, name: &str) -> Option<Uuid>;

    /// Its name, to be read and changed.
    fn name_in(picture: &mut Picture, id: Uuid) -> Option<&mut String>;

    /// The order as a file. The name is the one that the picture has; `tenant` is the owner's.
    fn file(order: Self::Order, tenant: Option<String>, name: String) -> Resources;

    /// What is stored of it.
    fn stored(picture: &Picture, id: Uuid) -> Option<Self::Order>;

    /// What an answer shows.
    async fn shown(
        state: &State,
        picture: &Picture,
        id: Uuid,
        stored: Self::Order,
    ) -> Result<Self::Shown, ApiError>;

    /// What would be left without something it cannot do without.
    async fn needed(_db: &impl ConnectionTrait, _id: Uuid) -> Result<Option<String>, ApiError> {
        Ok(None)
    }

    /// People who go along with it.
    async fn people(_: &impl ConnectionTrait, _: Uuid) -> store::Result<Vec<Person>> {
        Ok(Vec::new())
    }

    /// What is to be seen to once it is gone; the hourly pruning does what fails here.
    async fn gone(_: &State, _: Uuid) {}

    /// Deletes its row.
    async fn delete(
        db: &impl ConnectionTrait,
        owner: Option<TenantId>,
        id: Uuid,
    ) -> store::Result<()>;
}

/// `GET …/{id}`
pub async fn show<T: Thing>(
    caller: Caller,
    id: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let id = self::id(T::KIND, &id)?;
    let row = state.row(&caller, T::KIND, id).await?;
    let snapshot = state.stores.config.begin_snapshot().await?;
    let slice = T::slice(&snapshot, row.owner, Some(id), None).await?;
    let picture = resources::read_slice(&snapshot, &slice, &state.sealer).await?;
    snapshot.rollback().await.map_err(store::Error::from)?;
    answer::<T>(
        &state,
        &caller,
        StatusCode::OK,
        &picture,
        id,
        row.times,
        |_| {},
    )
    .await
}

/// What [`create`] made, before it is shown.
pub struct Made {
    pub picture: Picture,
    pub id: Uuid,
    pub times: Times,
    /// Of a key that was made without a value.
    pub value: Option<String>,
}

/// Makes a new one.
pub async fn make<T: Thing>(
    state: &web::Data<State>,
    caller: &Caller,
    author: &Author,
    order: T::Order,
    owner: Option<TenantId>,
) -> Result<Made, ApiError> {
    let wanted = T::name(&order).ok_or_else(|| ApiError::field("name", "is needed"))?;
    let name = T::normal(wanted)?;
    let edit = Edit::begin(&state.stores, &state.sealer, author).await?;
    let slice = T::slice(edit.db(), owner, None, Some(&order)).await?;
    let before = edit.read(&slice).await?;
    may_bound(caller, T::bounds(&order))?;
    T::allow(caller, &before, owner, &order, None)?;
    if T::find(&before, owner, &name).is_some() {
        let detail = format!("The {} name is taken.", T::KIND.as_str());
        return Err(ApiError::taken("name", detail));
    }
    let tenant = before.tenant_name(owner).map(str::to_owned);
    let file = T::file(order, tenant, name.clone());
    let laid = edit.lay(&before, &before, &file, T::PLACE).await?;
    state.catch_up(laid.version).await;
    owners::tell(state, T::KIND, owner, author);
    let id = T::find(&laid.picture, owner, &name);
    let id = id.ok_or_else(|| ApiError::not_found(T::KIND.as_str()))?;
    let row = store::catalog::row(&state.stores.config.read, T::KIND, id).await?;
    Ok(Made {
        picture: laid.picture,
        id,
        times: row.times,
        value: laid.generated.and_then(|key| key.value),
    })
}

/// `POST …`
pub async fn create<T: Thing>(
    caller: Caller,
    author: Author,
    order: Body<T::Order>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let owner = match T::tenant(&order.0) {
        None if caller.reaches(None) => None,
        named => Some(state.tenant_of(&caller, named).await?),
    };
    let made = make::<T>(&state, &caller, &author, order.0, owner).await?;
    let status = StatusCode::CREATED;
    answer::<T>(
        &state,
        &caller,
        status,
        &made.picture,
        made.id,
        made.times,
        |_| {},
    )
    .await
}

/// `PATCH …/{id}`
pub async fn change<T: Thing>(
    caller: Caller,
    author: Author,
    id: web::Path<String>,
    if_match: IfMatch,
    order: Body<T::Order>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let id = self::id(T::KIND, &id)?;
    let owner = state.row(&caller, T::KIND, id).await?.owner;
    let change = Changing::<T>::begin(&state, &caller, &author, id, owner, Some(&order.0)).await?;
    change.lay(if_match, |_| Ok(order.0)).await
}

/// A change of one stored thing under way.
pub struct Changing<'a, T: Thing> {
    state: &'a web::Data<State>,
    caller: &'a Caller,
    author: &'a Author,
    edit: Edit<'a>,
    before: Picture,
    id: Uuid,
    owner: Option<TenantId>,
    kind: PhantomData<T>,
}

impl<'a, T: Thing> Changing<'a, T> {
    /// Reads what the order, if it is known yet, is about.
    pub async fn begin(
        state: &'a web::Data<State>,
        caller: &'a Caller,
        author: &'a Author,
        id: Uuid,
        owner: Option<TenantId>,
        order: Option<&T::Order>,
    ) -> Result<Self, ApiError> {
        let edit = Edit::begin(&state.stores, &state.sealer, author).await?;
        let slice = T::slice(edit.db(), owner, Some(id), order).await?;
        Ok(Self {
            before: edit.read(&slice).await?,
            state,
            caller,
            author,
            edit,
            id,
            owner,
            kind: PhantomData,
        })
    }

    /// Does what is ordered of the thing as it is stored, and shows it.
    pub async fn lay(
        self,
        if_match: IfMatch,
        order: impl FnOnce(&T::Order) -> Result<T::Order, ApiError>,
    ) -> Result<HttpResponse, ApiError> {
        let (before, id, owner) = (self.before, self.id, self.owner);
        let absent = || ApiError::not_found(T::KIND.as_str());
        let stored = T::stored(&before, id).ok_or_else(absent)?;
        if_match.check(&as_known(self.caller, &stored)?)?;
        let order = order(&stored)?;
        may_bound(self.caller, T::bounds(&order))?;
        T::allow(self.caller, &before, owner, &order, Some(id))?;
        stays::<T>(&before, owner, &order)?;
        let mut renamed = before.clone();
        if let Some(name) = T::name(&order) {
            let name = T::normal(name)?;
            if T::find(&before, owner, &name).is_some_and(|other| other != id) {
                let detail = format!("The {} name is taken.", T::KIND.as_str());
                return Err(ApiError::taken("name", detail));
            }
            *T::name_in(&mut renamed, id).ok_or_else(absent)? = name;
        }
        let name = T::name_in(&mut renamed, id).cloned().ok_or_else(absent)?;
        let tenant = renamed.tenant_name(owner).map(str::to_owned);
        let file = T::file(order, tenant, name);
        let laid = self.edit.lay(&before, &renamed, &file, T::PLACE).await?;
        self.state.catch_up(laid.version).await;
        if laid.is_changed {
            owners::tell(self.state, T::KIND, owner, self.author);
        }
        let db = &self.state.stores.config.read;
        let row = store::catalog::row(db, T::KIND, id).await?;
        answer::<T>(
            self.state,
            self.caller,
            StatusCode::OK,
            &laid.picture,
            id,
            row.times,
            |_| {},
        )
        .await
    }
}

/// `DELETE …/{id}`: with all that belongs to it. Its usage stays.
pub async fn delete<T: Thing>(
    caller: Caller,
    author: Author,
    id: web::Path<String>,
    if_match: IfMatch,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let id = self::id(T::KIND, &id)?;
    let owner = state.row(&caller, T::KIND, id).await?.owner;
    let edit = Edit::begin(&state.stores, &state.sealer, &author).await?;
    let slice = T::slice(edit.db(), owner, Some(id), None).await?;
    let before = edit.read(&slice).await?;
    let stored = T::stored(&before, id);
    let stored = stored.ok_or_else(|| ApiError::not_found(T::KIND.as_str()))?;
    if_match.check(&as_known(&caller, &stored)?)?;
    T::allow_delete(&caller, &before, id)?;
    if let Some(what) = T::needed(edit.db(), id).await? {
        let detail = format!("The {what} needs it.");
        return Err(ApiError::new(Code::InUse, detail));
    }
    let name = T::name(&stored).unwrap_or_default();
    let people = T::people(edit.db(), id).await?;
    let mut done = audit::differs(T::KIND.as_str(), owner, name, Some(&stored), None)?;
    for person in &people {
        let told = users::shown_of(person);
        done.extend(audit::differs(
            "user",
            owner,
            &person.email,
            Some(&told),
            None,
        )?);
    }
    let deleted = async |change: &mut Change| {
        let people: Vec<UserId> = people.iter().map(|person| person.id).collect();
        store::users::delete(change, &people).await?;
        change.deletes(T::KIND, id).await?;
        T::delete(change.transaction(), owner, id).await
    };
    let version = edit.delete::<store::Error>(&done, deleted).await?;
    state.catch_up(version).await;
    owners::tell(&state, T::KIND, owner, &author);
    T::gone(&state, id).await;
    Ok(HttpResponse::NoContent().finish())
}

/// Whether the caller may set limits and budgets, as far as the order does.
pub fn may_bound(caller: &Caller, (limits, budgets): (bool, bool)) -> Result<(), ApiError> {
    for (sets, permission) in [
        (limits, Permission::LimitsWrite),
        (budgets, Permission::BudgetsWrite),
    ] {
        if sets && !caller.may(permission) {
            let detail = format!("This needs {permission}.");
            return Err(ApiError::new(Code::Forbidden, detail));
        }
    }
    Ok(())
}

/// A thing does not change hands.
fn stays<T: Thing>(
    picture: &Picture,
    owner: Option<TenantId>,
    order: &T::Order,
) -> Result<(), ApiError> {
    match T::tenant(order) {
        Some(tenant) if Some(tenant) != picture.tenant_name(owner) => {
            Err(ApiError::field("tenant", "never changes"))
        }
        _ => Ok(()),
    }
}

/// The id in a path. What is no id is as absent as an id that nothing has.
pub fn id(kind: Kind, text: &str) -> Result<Uuid, ApiError> {
    Uuid::parse_str(text).map_err(|_| ApiError::not_found(kind.as_str()))
}

/// The stored form of a name.
pub fn normal_name(name: &str) -> Result<String, ApiError> {
    name::normal(name).map_err(|error| ApiError::field("name", error))
}
