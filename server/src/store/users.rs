//! Users with their memberships and groups, as they are read for management, written and listed.

use std::collections::{HashMap, HashSet};

use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, Condition, ConnectionTrait, EntityTrait as _,
    PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, QueryTrait as _,
    Select, Statement, sea_query::OnConflict,
};
use uuid::Uuid;
use weir_api_types::{
    manage::{MembershipItem, PlatformRole, UserItem},
    resources::Role,
};
use weir_entity::{group, group_member, membership, role, tenant, user};

use super::{
    Change, Columns, Error, IDS_PER_QUERY, Listed, Page, Result, Scope,
    names::{self, Named},
    page::contains,
    roles::{self, RoleNames},
};
use crate::catalog::Kind;
use crate::tenancy::{MemberRole, Membership, Person, TenantId, UserId};

/// Everybody.
pub async fn all(db: &impl ConnectionTrait) -> Result<Vec<Person>> {
    let users = user::Entity::find().all(db).await?;
    let memberships = membership::Entity::find().all(db).await?;
    let members = group_member::Entity::find().all(db).await?;
    let groups = group::Entity::find().all(db).await?;
    assemble(users, memberships, members, &groups)
}

/// These people, with all that is stored of each.
pub async fn some(db: &impl ConnectionTrait, ids: &[UserId]) -> Result<Vec<Person>> {
    let mut people = Vec::with_capacity(ids.len());
    for ids in ids.chunks(IDS_PER_QUERY) {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let users = user::Entity::find().filter(user::Column::Id.is_in(ids.clone()));
        let places = membership::Column::UserId.is_in(ids.clone());
        let memberships = membership::Entity::find().filter(places).all(db).await?;
        let members = group_member::Column::UserId.is_in(ids);
        let members = group_member::Entity::find().filter(members).all(db).await?;
        let of: HashSet<Uuid> = members.iter().map(|row| row.group_id).collect();
        let of: Vec<Uuid> = of.into_iter().collect();
        let mut groups = Vec::with_capacity(of.len());
        for of in of.chunks(IDS_PER_QUERY) {
            let these = group::Column::Id.is_in(of.iter().copied());
            groups.extend(group::Entity::find().filter(these).all(db).await?);
        }
        people.extend(assemble(
            users.all(db).await?,
            memberships,
            members,
            &groups,
        )?);
    }
    Ok(people)
}

/// One person, with all that is stored of them.
pub async fn one(db: &impl ConnectionTrait, id: UserId) -> Result<Option<Person>> {
    Ok(some(db, &[id]).await?.pop())
}

/// The person of an address in its stored form.
pub async fn of_email(db: &impl ConnectionTrait, email: &str) -> Result<Option<UserId>> {
    let row = user::Entity::find_by_email(email).one(db).await?;
    Ok(row.map(|row| row.id.into()))
}

/// The people of a tenant who own it and can sign in.
pub async fn owners(db: &impl ConnectionTrait, tenant: TenantId) -> Result<u64> {
    Ok(owning(tenant).count(db).await?)
}

/// Where the people are reached who own a tenant and can sign in, as far as the address is known to be theirs.
pub async fn addresses_of_owners(
    db: &impl ConnectionTrait,
    tenant: TenantId,
) -> Result<Vec<String>> {
    let query = owning(tenant)
        .filter(user::Column::EmailProven.eq(true))
        .select_only()
        .column(user::Column::Email)
        .order_by_asc(user::Column::Email);
    Ok(query.into_tuple().all(db).await?)
}

fn owning(tenant: TenantId) -> Select<membership::Entity> {
    membership::Entity::find()
        .inner_join(user::Entity)
        .filter(membership::Column::TenantId.eq(tenant.0))
        .filter(membership::Column::Role.eq(Role::Owner.as_str()))
        .filter(user::Column::Enabled.eq(true))
}

/// What is somebody's in one tenant: their keys, and the limits and budgets that stand on them there.
pub async fn theirs(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: UserId,
) -> Result<Vec<(Kind, Uuid)>> {
    let mut found = Vec::new();
    for (kind, table) in [
        (Kind::Key, "proxy_keys"),
        (Kind::Limit, "limits"),
        (Kind::Budget, "budgets"),
    ] {
        let sql = format!("SELECT id FROM {table} WHERE tenant_id = $1 AND user_id = $2");
        let values = [tenant.0.into(), id.0.into()];
        let rows = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
        for row in db.query_all_raw(rows).await? {
            found.push((kind, row.try_get("", "id")?));
        }
    }
    Ok(found)
}

/// How many things of which kind are [`theirs`] in one tenant.
pub async fn count_theirs(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: UserId,
) -> Result<Vec<(Kind, u64)>> {
    let theirs = theirs(db, tenant, id).await?;
    let count = |kind: Kind| theirs.iter().filter(|(other, _)| *other == kind).count() as u64;
    let counts = [Kind::Key, Kind::Limit, Kind::Budget].map(|kind| (kind, count(kind)));
    Ok(counts.into_iter().filter(|(_, count)| *count > 0).collect())
}

/// Takes somebody out of a tenant, with all that is [`theirs`] there.
pub async fn leave(db: &impl ConnectionTrait, tenant: TenantId, id: UserId) -> Result<()> {
    for sql in [
        "DELETE FROM proxy_keys WHERE tenant_id = $1 AND user_id = $2",
        "DELETE FROM limits WHERE tenant_id = $1 AND user_id = $2",
        "DELETE FROM budgets WHERE tenant_id = $1 AND user_id = $2",
        "DELETE FROM group_members WHERE user_id = $2 AND group_id IN (SELECT id FROM groups WHERE tenant_id = $1)",
        "DELETE FROM memberships WHERE tenant_id = $1 AND user_id = $2",
    ] {
        let values = [tenant.0.into(), id.0.into()];
        let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
        db.execute_raw(statement).await?;
    }
    Ok(())
}

/// The tenants that somebody can act in, by name, with their role there.
pub async fn places(
    db: &impl ConnectionTrait,
    id: UserId,
) -> Result<Vec<(TenantId, String, MemberRole)>> {
    let rows: Vec<(Uuid, String, String, Option<Uuid>)> = membership::Entity::find()
        .inner_join(tenant::Entity)
        .select_only()
        .column(tenant::Column::Id)
        .column(tenant::Column::Name)
        .column(membership::Column::Role)
        .column(membership::Column::RoleId)
        .filter(membership::Column::UserId.eq(id.0))
        .filter(tenant::Column::Enabled.eq(true))
        .order_by_asc(tenant::Column::Name)
        .into_tuple()
        .all(db)
        .await?;
    let places = rows.into_iter().map(|(id, name, word, own)| {
        let role = roles::of_columns(&word, own)?;
        Ok((id.into(), name, role))
    });
    places.collect()
}

/// Whether somebody may act anywhere: on the platform, or in a tenant that is not suspended. `only`: what counts of one tenant's word.
pub async fn is_somewhere(
    db: &impl ConnectionTrait,
    person: &Person,
    only: Option<TenantId>,
) -> Result<bool> {
    if only.is_none() && person.platform_role.is_some() {
        return Ok(true);
    }
    let places = places(db, person.id).await?;
    let mut places = places.iter().map(|(tenant, ..)| *tenant);
    Ok(places.any(|tenant| only.is_none_or(|only| only == tenant)))
}

/// Whom the question is about who would be nowhere without a tenant: in no other one, and without a role on the platform.
const ONLY_IN: &str = "FROM memberships JOIN users ON users.id = memberships.user_id \
    WHERE memberships.tenant_id = $1 AND users.platform_role IS NULL AND NOT EXISTS \
    (SELECT 1 FROM memberships AS others WHERE others.user_id = memberships.user_id AND others.tenant_id <> $1)";

/// Who would be nowhere without a tenant.
pub async fn only_in(db: &impl ConnectionTrait, tenant: TenantId) -> Result<Vec<Person>> {
    let sql = format!("SELECT memberships.user_id AS id {ONLY_IN}");
    let rows = Statement::from_sql_and_values(db.get_database_backend(), sql, [tenant.0.into()]);
    let mut ids = Vec::new();
    for row in db.query_all_raw(rows).await? {
        ids.push(UserId(row.try_get("", "id")?));
    }
    some(db, &ids).await
}

/// How many would be nowhere without a tenant.
pub async fn count_only_in(db: &impl ConnectionTrait, tenant: TenantId) -> Result<u64> {
    let sql = format!("SELECT COUNT(*) AS count {ONLY_IN}");
    let row = Statement::from_sql_and_values(db.get_database_backend(), sql, [tenant.0.into()]);
    let row = db.query_one_raw(row).await?.ok_or(Error::NotFound)?;
    Ok(row.try_get::<i64>("", "count")?.unsigned_abs())
}

/// Makes a person, or brings all rows of theirs up to date.
pub async fn put(db: &impl ConnectionTrait, person: &Person, now_ms: i64) -> Result<()> {
    let role = person.platform_role.map(PlatformRole::as_str);
    let row = user::ActiveModel {
        id: Set(person.id.0),
        email: Set(person.email.clone()),
        name: Set(person.name.clone()),
        department: Set(person.department.clone()),
        contact: Set(person.contact.clone()),
        enabled: Set(person.enabled),
        platform_role: Set(role.map(str::to_owned)),
        email_proven: Set(person.email_proven),
        created_ms: Set(now_ms),
        updated_ms: Set(now_ms),
    };
    let changed = [
        user::Column::Email,
        user::Column::Name,
        user::Column::Department,
        user::Column::Contact,
        user::Column::Enabled,
        user::Column::PlatformRole,
        user::Column::EmailProven,
        user::Column::UpdatedMs,
    ];
    let known = OnConflict::column(user::Column::Id)
        .update_columns(changed)
        .to_owned();
    let insert = user::Entity::insert(row).on_conflict(known);
    insert.exec_without_returning(db).await?;
    put_memberships(db, person).await?;
    put_groups(db, person).await
}

/// Deletes people, and with them their memberships and keys, and names all that goes.
pub async fn delete(change: &mut Change, ids: &[UserId]) -> Result<()> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    change.deletes_all(Kind::User, &ids).await?;
    for ids in ids.chunks(IDS_PER_QUERY) {
        let ids = ids.iter().copied();
        let these = user::Entity::delete_many().filter(user::Column::Id.is_in(ids));
        these.exec(change.transaction()).await?;
    }
    Ok(())
}

/// A page of the users of one tenant, or of everybody; with a role only those who have it there, or anywhere.
pub async fn list(
    db: &impl ConnectionTrait,
    scope: Scope,
    role: Option<&str>,
    page: &Page,
) -> Result<Listed<UserItem>> {
    let mut query = user::Entity::find();
    let mut members = membership::Entity::find()
        .select_only()
        .column(membership::Column::UserId);
    if let Scope::Tenant(tenant) = scope {
        members = members.filter(membership::Column::TenantId.eq(tenant.0));
    }
    if let Some(role) = role {
        let own = role::Entity::find()
            .select_only()
            .column(role::Column::Id)
            .filter(role::Column::Name.eq(role));
        let own = membership::Column::RoleId.in_subquery(own.into_query());
        let built_in = Condition::all()
            .add(membership::Column::RoleId.is_null())
            .add(membership::Column::Role.eq(role));
        members = members.filter(Condition::any().add(own).add(built_in));
    }
    if role.is_some() || scope != Scope::Platform {
        query = query.filter(user::Column::Id.in_subquery(members.into_query()));
    }
    let mut page = page.clone();
    if let Some(piece) = page.piece.take() {
        query = query.filter(called(db, &piece));
    }
    let columns = Columns {
        id: user::Column::Id,
        name: user::Column::Email,
        created_ms: user::Column::CreatedMs,
        enabled: Some(user::Column::Enabled),
    };
    let Listed { data: users, next } = page.named(db, query, columns).await?;
    let ids: Vec<Uuid> = users.iter().map(|user| user.id).collect();
    let mut memberships =
        membership::Entity::find().filter(membership::Column::UserId.is_in(ids.clone()));
    if let Scope::Tenant(tenant) = scope {
        memberships = memberships.filter(membership::Column::TenantId.eq(tenant.0));
    }
    let memberships = memberships.all(db).await?;
    let members = group_member::Entity::find().filter(group_member::Column::UserId.is_in(ids));
    let members = members.all(db).await?;
    let groups: HashSet<Uuid> = members.iter().map(|row| row.group_id).collect();
    let groups = group::Entity::find().filter(group::Column::Id.is_in(groups));
    let groups = groups.all(db).await?;
    let tenants: Vec<Uuid> = memberships.iter().map(|row| row.tenant_id).collect();
    let names = names::of(db, Named::Tenant, &tenants).await?;
    let group_names: HashMap<Uuid, &str> = groups
        .iter()
        .map(|group| (group.id, group.name.as_str()))
        .collect();
    let people = assemble(users, memberships, members, &groups)?;
    let places = people.iter().flat_map(|person| &person.memberships);
    let role_names = RoleNames::of(db, places.map(|place| place.role)).await?;
    let item = |person: Person| UserItem {
        id: person.id.0,
        email: person.email,
        name: person.name,
        department: person.department,
        contact: person.contact,
        enabled: person.enabled,
        memberships: person
            .memberships
            .iter()
            .map(|membership| MembershipItem {
                tenant: names.get(&membership.tenant.0).cloned().unwrap_or_default(),
                role: role_names.name(membership.role),
                groups: membership
                    .groups
                    .iter()
                    .filter_map(|id| group_names.get(&id.0).map(|name| (*name).to_owned()))
                    .collect(),
            })
            .collect(),
    };
    let data = people.into_iter().map(item).collect();
    Ok(Listed { data, next })
}

/// That an address or a name has the piece in it.
pub(super) fn called(db: &impl ConnectionTrait, piece: &str) -> Condition {
    let of = |column| contains(db.get_database_backend(), column, piece);
    let either = Condition::any().add(of(user::Column::Email));
    either.add(of(user::Column::Name))
}

fn assemble(
    users: Vec<user::Model>,
    mut memberships: Vec<membership::Model>,
    mut members: Vec<group_member::Model>,
    groups: &[group::Model],
) -> Result<Vec<Person>> {
    memberships.sort_unstable_by_key(|row| row.tenant_id);
    members.sort_unstable_by_key(|row| (row.position, row.group_id));
    let tenant_of: HashMap<Uuid, Uuid> = groups
        .iter()
        .map(|group| (group.id, group.tenant_id))
        .collect();
    let mut places: HashMap<Uuid, Vec<Membership>> = HashMap::new();
    for row in memberships {
        places.entry(row.user_id).or_default().push(Membership {
            tenant: row.tenant_id.into(),
            role: roles::of_columns(&row.role, row.role_id)?,
            groups: Vec::new(),
        });
    }
    for row in members {
        let tenant = tenant_of.get(&row.group_id);
        let of_user = places
            .get_mut(&row.user_id)
            .map(Vec::as_mut_slice)
            .unwrap_or_default();
        let place = of_user
            .iter_mut()
            .find(|place| Some(&place.tenant.0) == tenant);
        if let Some(place) = place {
            place.groups.push(row.group_id.into());
        }
    }
    let person = |row: user::Model| Person {
        id: row.id.into(),
        email: row.email,
        name: row.name,
        department: row.department,
        contact: row.contact,
        enabled: row.enabled,
        email_proven: row.email_proven,
        platform_role: row.platform_role.as_deref().and_then(platform_role),
        memberships: places.remove(&row.id).unwrap_or_default(),
    };
    Ok(users.into_iter().map(person).collect())
}

async fn put_memberships(db: &impl ConnectionTrait, person: &Person) -> Result<()> {
    use membership::{ActiveModel, Column, Entity};
    let kept = person
        .memberships
        .iter()
        .map(|membership| membership.tenant.0);
    Entity::delete_many()
        .filter(Column::UserId.eq(person.id.0))
        .filter(Column::TenantId.is_not_in(kept))
        .exec(db)
        .await?;
    for membership in &person.memberships {
        let (word, own) = roles::columns(membership.role);
        let row = ActiveModel {
            id: Set(Uuid::new_v4()),
            tenant_id: Set(membership.tenant.0),
            user_id: Set(person.id.0),
            role: Set(word.to_owned()),
            role_id: Set(own),
        };
        let known = OnConflict::columns([Column::TenantId, Column::UserId])
            .update_columns([Column::Role, Column::RoleId])
            .to_owned();
        let insert = Entity::insert(row).on_conflict(known);
        insert.exec_without_returning(db).await?;
    }
    Ok(())
}

async fn put_groups(db: &impl ConnectionTrait, person: &Person) -> Result<()> {
    use group_member::{ActiveModel, Column, Entity};
    Entity::delete_many()
        .filter(Column::UserId.eq(person.id.0))
        .exec(db)
        .await?;
    let rows: Vec<ActiveModel> = person
        .memberships
        .iter()
        .flat_map(|membership| membership.groups.iter().enumerate())
        .map(|(position, group)| ActiveModel {
            group_id: Set(group.0),
            user_id: Set(person.id.0),
            position: Set(position as i32),
        })
        .collect();
    if !rows.is_empty() {
        Entity::insert_many(rows).exec_without_returning(db).await?;
    }
    Ok(())
}

/// A word that this build does not know gives nothing.
pub(super) fn platform_role(word: &str) -> Option<PlatformRole> {
    let mut all = PlatformRole::ALL.into_iter();
    all.find(|role| role.as_str() == word)
}
