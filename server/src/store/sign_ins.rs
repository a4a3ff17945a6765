//! Passwords and second factors, as they are kept.

use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _, QuerySelect as _,
    sea_query::OnConflict,
};
use weir_entity::sign_in::{ActiveModel, Column, Entity, Model};

use super::{Error, Result, document};
use crate::{secrets::Sealed, tenancy::UserId};

/// How somebody shows who they are.
#[derive(Debug, Clone, Default)]
pub struct SignIn {
    /// Argon2id, in PHC string format.
    pub password: Option<String>,
    /// The sealed seed of the second factor.
    pub totp: Option<Sealed>,
    /// Whether it is asked for.
    pub totp_on: bool,
    /// SHA-256 of the recovery codes that are left, in hexadecimal.
    pub recovery: Vec<String>,
}

/// What is kept of somebody; nothing of who never had either.
pub async fn find(db: &impl ConnectionTrait, user: UserId) -> Result<SignIn> {
    read(Entity::find_by_id(user.0).one(db).await?)
}

/// The same, as nobody changes it until the transaction is over.
pub async fn find_held(db: &impl ConnectionTrait, user: UserId) -> Result<SignIn> {
    read(Entity::find_by_id(user.0).lock_exclusive().one(db).await?)
}

/// Forgets how somebody shows who they are: they do by a link, and then anew.
pub async fn delete(db: &impl ConnectionTrait, user: UserId) -> Result<()> {
    Entity::delete_by_id(user.0).exec(db).await?;
    Ok(())
}

fn read(row: Option<Model>) -> Result<SignIn> {
    let Some(row) = row else {
        return Ok(SignIn::default());
    };
    let recovery = row.recovery.map(serde_json::from_value).transpose();
    let recovery: Option<Vec<String>> =
        recovery.map_err(|error| Error::other(format!("sign_ins.recovery: {error}")))?;
    let sealed = row.totp_sealed.zip(row.master_key_id);
    Ok(SignIn {
        password: row.password,
        totp: sealed.map(|(bytes, master_key_id)| Sealed {
            bytes,
            master_key_id,
        }),
        totp_on: row.totp_on,
        recovery: recovery.unwrap_or_default(),
    })
}

/// Sets a password.
pub async fn put_password(
    db: &impl ConnectionTrait,
    user: UserId,
    password: String,
    now_ms: i64,
) -> Result<()> {
    let row = ActiveModel {
        password: Set(Some(password)),
        password_ms: Set(Some(now_ms)),
        ..new(user, now_ms)
    };
    let changed = [Column::Password, Column::PasswordMs, Column::UpdatedMs];
    put(db, row, &changed).await
}

/// Keeps the seed of a second factor that is not in force yet.
pub async fn put_seed(
    db: &impl ConnectionTrait,
    user: UserId,
    sealed: Sealed,
    now_ms: i64,
) -> Result<()> {
    let row = ActiveModel {
        totp_sealed: Set(Some(sealed.bytes)),
        master_key_id: Set(Some(sealed.master_key_id)),
        totp_on: Set(false),
        totp_step: Set(0),
        recovery: Set(None),
        ..new(user, now_ms)
    };
    let changed = [
        Column::TotpSealed,
        Column::MasterKeyId,
        Column::TotpOn,
        Column::TotpStep,
        Column::Recovery,
        Column::UpdatedMs,
    ];
    put(db, row, &changed).await
}

/// Puts a second factor in force, with its recovery codes' digests.
pub async fn switch_on(
    db: &impl ConnectionTrait,
    user: UserId,
    recovery: &[String],
    now_ms: i64,
) -> Result<()> {
    let update = Entity::update_many()
        .col_expr(Column::TotpOn, true.into())
        .col_expr(Column::Recovery, document(&recovery)?.into())
        .col_expr(Column::UpdatedMs, now_ms.into())
        .filter(Column::UserId.eq(user.0));
    super::error::found(update.exec(db).await?.rows_affected)
}

/// Forgets somebody's second factor.
pub async fn forget_factor(db: &impl ConnectionTrait, user: UserId, now_ms: i64) -> Result<()> {
    let row = ActiveModel {
        totp_sealed: Set(None),
        master_key_id: Set(None),
        totp_on: Set(false),
        recovery: Set(None),
        ..new(user, now_ms)
    };
    let changed = [
        Column::TotpSealed,
        Column::MasterKeyId,
        Column::TotpOn,
        Column::Recovery,
        Column::UpdatedMs,
    ];
    put(db, row, &changed).await
}

/// Takes the code of a step, which works once over all instances; nor does any code before it from now on.
pub async fn take_step(db: &impl ConnectionTrait, user: UserId, step: i64) -> Result<bool> {
    let update = Entity::update_many()
        .col_expr(Column::TotpStep, step.into())
        .filter(Column::UserId.eq(user.0))
        .filter(Column::TotpStep.lt(step));
    Ok(update.exec(db).await?.rows_affected == 1)
}

/// Takes a recovery code by its digest, which works once: to be called in a transaction that writes.
pub async fn take_recovery(
    transaction: &impl ConnectionTrait,
    user: UserId,
    digest: &str,
    now_ms: i64,
) -> Result<bool> {
    // The row is locked before it is read: two at once would both find the code.
    let lock = Entity::update_many()
        .col_expr(Column::UpdatedMs, now_ms.into())
        .filter(Column::UserId.eq(user.0));
    lock.exec(transaction).await?;
    let mut left = find(transaction, user).await?.recovery;
    let before = left.len();
    left.retain(|one| one != digest);
    if left.len() == before {
        return Ok(false);
    }
    let update = Entity::update_many()
        .col_expr(Column::Recovery, document(&left)?.into())
        .filter(Column::UserId.eq(user.0));
    update.exec(transaction).await?;
    Ok(true)
}

fn new(user: UserId, now_ms: i64) -> ActiveModel {
    ActiveModel {
        user_id: Set(user.0),
        password: NotSet,
        totp_sealed: NotSet,
        master_key_id: NotSet,
        totp_on: Set(false),
        totp_step: Set(0),
        recovery: NotSet,
        password_ms: NotSet,
        updated_ms: Set(now_ms),
    }
}

async fn put(db: &impl ConnectionTrait, row: ActiveModel, changed: &[Column]) -> Result<()> {
    let known = OnConflict::column(Column::UserId)
        .update_columns(changed.iter().copied())
        .to_owned();
    Entity::insert(row)
        .on_conflict(known)
        .exec_without_returning(db)
        .await?;
    Ok(())
}
