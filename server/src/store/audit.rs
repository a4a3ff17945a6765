//! The audit log: what was changed, by whom, in a chain that shows when a row was touched.
//!
//! A row's hash is an HMAC over the hash of the row before and over all of its own columns, under a key of the master key's: whoever
//! can write the database and nothing else cannot make a row that fits. `audit_head` says which row is the last; whoever cuts the
//! tail and puts an older head in its place is found out only by a head that was kept elsewhere, which is why [`verify`] tells it.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, Statement,
};
use serde_json::Value;
use sha2::Sha256;
use uuid::Uuid;
use weir_api_types::{
    apply::{Action, Change, FieldChange},
    manage::{AuditItem, AuditVerdict},
};
use weir_entity::audit_row::{ActiveModel, Column, Entity, Model};

use super::{
    Error, Result, Scope, Stores, moment,
    names::{self, Named},
    page,
};
use crate::{access::Author, clock::now_ms, secrets::Sealer, tenancy::TenantId};

/// Rows in one statement, and in one look of the verifier.
const ROWS: usize = 500;

type Hash = [u8; 32];

/// Something that was changed, and whose it is.
#[derive(Debug, Clone)]
pub struct Done {
    pub tenant: Option<TenantId>,
    pub change: Change,
}

/// That something was made, with these fields.
pub fn one(kind: &str, tenant: Option<TenantId>, name: &str, fields: &Value) -> Done {
    let fields = fields.as_object().into_iter().flatten();
    let fields = fields.map(|(field, after)| FieldChange {
        field: field.clone(),
        before: Value::Null,
        after: after.clone(),
    });
    Done {
        tenant,
        change: Change {
            action: Action::Create,
            kind: kind.to_owned(),
            tenant: None,
            name: name.to_owned(),
            fields: fields.collect(),
        },
    }
}

/// Appends what was done when nothing else is written with it.
pub async fn note(stores: &Stores, sealer: &Sealer, author: &Author, done: &[Done]) -> Result<()> {
    let transaction = stores.config.begin_write().await?;
    append(&transaction, sealer, author, done).await?;
    Ok(transaction.commit().await?)
}

/// Adds rows, in the transaction of what they tell of. Whoever else adds some waits until it is over.
pub async fn append(
    transaction: &impl ConnectionTrait,
    sealer: &Sealer,
    author: &Author,
    done: &[Done],
) -> Result<()> {
    if done.is_empty() {
        return Ok(());
    }
    let backend = transaction.get_database_backend();
    let lock = "UPDATE audit_head SET seq = seq WHERE id = 1 RETURNING seq, hash";
    let (mut seq, mut hash) = head(transaction, lock).await?;
    let key_id = sealer.key_id();
    let key = sealer.audit_key(&key_id);
    let key = key.ok_or_else(|| Error::other("the master key is gone"))?;
    let mut rows = Vec::with_capacity(done.len());
    for one in done {
        seq += 1;
        let mut row = row(seq, &key_id, author, one)?;
        row.hash = chained(&key, &hash, &row).to_vec();
        hash.clone_from(&row.hash);
        rows.push(ActiveModel::from(row));
    }
    for rows in rows.chunks(ROWS) {
        let insert = Entity::insert_many(rows.to_vec());
        insert.exec_without_returning(transaction).await?;
    }
    let moved = "UPDATE audit_head SET seq = $1, hash = $2 WHERE id = 1";
    let moved = Statement::from_sql_and_values(backend, moved, [seq.into(), hash.into()]);
    transaction.execute_raw(moved).await?;
    Ok(())
}

/// The last row's number and hash, as this statement gives them.
async fn head(db: &impl ConnectionTrait, sql: &str) -> Result<(i64, Vec<u8>)> {
    let statement = Statement::from_string(db.get_database_backend(), sql);
    let row = db.query_one_raw(statement).await?;
    let row = row.ok_or_else(|| Error::other("the audit log has no head"))?;
    Ok((row.try_get("", "seq")?, row.try_get("", "hash")?))
}

fn row(seq: i64, key_id: &str, author: &Author, done: &Done) -> Result<Model> {
    let change = &done.change;
    let action = match change.action {
        Action::Create => "create",
        Action::Update => "update",
        Action::Delete => "delete",
    };
    let fields = |side: fn(&weir_api_types::apply::FieldChange) -> &Value| {
        let fields = change.fields.iter();
        let fields: BTreeMap<&str, &Value> = fields
            .map(|field| (field.field.as_str(), side(field)))
            .filter(|(_, value)| !value.is_null())
            .collect();
        serde_json::to_string(&fields)
            .map_err(|error| Error::other(format!("a row of the audit log: {error}")))
    };
    Ok(Model {
        seq,
        at_ms: now_ms(),
        actor: author.kind.to_owned(),
        actor_id: author.id,
        actor_name: author.name.clone(),
        address: author
            .address
            .map(|address| address.to_string())
            .unwrap_or_default(),
        request_id: author.request.clone(),
        tenant_id: done.tenant.map(|tenant| tenant.0),
        action: format!("{}:{action}", change.kind),
        object: change.name.clone(),
        before: fields(|field| &field.before)?,
        after: fields(|field| &field.after)?,
        key_id: key_id.to_owned(),
        hash: Vec::new(),
    })
}

/// The hash of a row that follows another: over all parts, each with its length before it.
fn chained(key: &[u8; 32], before: &[u8], row: &Model) -> Hash {
    let mut mac = Hmac::<Sha256>::new_from_slice(key)
        .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    let mut part = |bytes: &[u8]| {
        mac.update(&(bytes.len() as u64).to_be_bytes());
        mac.update(bytes);
    };
    let id = |id: Option<Uuid>| id.map(|id| id.as_bytes().to_vec()).unwrap_or_default();
    part(before);
    part(&row.seq.to_be_bytes());
    part(&row.at_ms.to_be_bytes());
    part(&id(row.actor_id));
    part(&id(row.tenant_id));
    for text in [
        &row.actor,
        &row.actor_name,
        &row.address,
        &row.request_id,
        &row.action,
        &row.object,
        &row.before,
        &row.after,
        &row.key_id,
    ] {
        part(text.as_bytes());
    }
    mac.finalize().into_bytes().into()
}

/// A row by what nobody can count: the beginning of its hash.
fn id_of(row: &Model) -> Uuid {
    let mut id = [0; 16];
    for (byte, of_hash) in id.iter_mut().zip(&row.hash) {
        *byte = *of_hash;
    }
    uuid::Builder::from_custom_bytes(id).into_uuid()
}

const LOOK: &str = "SELECT seq, hash FROM audit_head WHERE id = 1";

/// The last row's number and hash, in hexadecimal.
pub async fn last(db: &impl ConnectionTrait) -> Result<(i64, String)> {
    let (seq, hash) = head(db, LOOK).await?;
    Ok((seq, hex::encode(&hash)))
}

/// A row that was the last one once, as somebody kept it elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptHead {
    pub seq: i64,
    /// In hexadecimal.
    pub hash: String,
}

/// Follows the chain from its beginning, and names the first row that does not fit: to itself, or to a head that was kept.
pub async fn verify(
    db: &impl ConnectionTrait,
    sealer: &Sealer,
    kept: Option<&KeptHead>,
) -> Result<AuditVerdict> {
    // The head first: rows that come meanwhile are behind it.
    let (last, last_hash) = head(db, LOOK).await?;
    let (mut seq, mut hash) = (0_i64, vec![0_u8; 32]);
    let bad = |seq: i64, why: &str| AuditVerdict {
        rows: seq - 1,
        head: None,
        bad_row: Some(seq),
        reason: Some(why.to_owned()),
    };
    while seq < last {
        let rows = Entity::find()
            .filter(Column::Seq.gt(seq))
            .order_by_asc(Column::Seq)
            .limit(ROWS as u64)
            .all(db)
            .await?;
        if rows.is_empty() {
            return Ok(bad(seq + 1, "it is missing"));
        }
        for row in rows {
            if row.seq != seq + 1 {
                return Ok(bad(seq + 1, "it is missing"));
            }
            let Some(key) = sealer.audit_key(&row.key_id) else {
                let why = "it was written under a master key that is not given any more";
                return Ok(bad(row.seq, why));
            };
            if chained(&key, &hash, &row)[..] != row.hash[..] {
                return Ok(bad(
                    row.seq,
                    "it, or the row before it, is not as it was written",
                ));
            }
            (seq, hash) = (row.seq, row.hash);
            if kept.is_some_and(|kept| kept.seq == seq && kept.hash != hex::encode(&hash)) {
                return Ok(bad(seq, "it is not the one that was kept"));
            }
            if seq == last {
                break;
            }
        }
    }
    if let Some(kept) = kept.filter(|kept| kept.seq > last) {
        return Ok(bad(
            last + 1,
            &format!("the log went on to {} once", kept.seq),
        ));
    }
    if hash != last_hash {
        return Ok(bad(last.max(1), "the log's head is not as it was written"));
    }
    // All between fit.
    let beyond = |seq: i64, why: &str| AuditVerdict {
        rows: last,
        head: None,
        bad_row: Some(seq),
        reason: Some(why.to_owned()),
    };
    let before = Entity::find().filter(Column::Seq.lte(0)).one(db).await?;
    if let Some(row) = before {
        return Ok(beyond(row.seq, "it stands before the first"));
    }
    // In one question, as rows and head move together.
    let behind = "SELECT seq FROM audit_log WHERE seq > (SELECT seq FROM audit_head WHERE id = 1) ORDER BY seq LIMIT 1";
    let behind = Statement::from_string(db.get_database_backend(), behind);
    if let Some(row) = db.query_one_raw(behind).await? {
        let seq = row.try_get("", "seq")?;
        return Ok(beyond(seq, "it stands behind the last"));
    }
    Ok(AuditVerdict {
        rows: last,
        head: Some(hex::encode(&hash)),
        bad_row: None,
        reason: None,
    })
}

/// Which rows are asked for; all that is given must hold.
#[derive(Debug, Default)]
pub struct Asked {
    pub from_ms: Option<i64>,
    /// Not included.
    pub to_ms: Option<i64>,
    /// The token's name or the person's address.
    pub actor: Option<String>,
    /// `kind:verb`, or a kind.
    pub action: Option<String>,
    /// The name of what was changed.
    pub object: Option<String>,
}

/// A page of what was changed of one tenant's, or of all, the latest first; `before` is the last row of the page before.
pub async fn list(
    db: &impl ConnectionTrait,
    scope: Scope,
    asked: &Asked,
    before: Option<i64>,
    rows: u64,
) -> Result<Vec<AuditItem>> {
    let mut query = Entity::find().order_by_desc(Column::Seq).limit(rows);
    if let Scope::Tenant(tenant) = scope {
        query = query.filter(Column::TenantId.eq(tenant.0));
    }
    if let Some(before) = before {
        query = query.filter(Column::Seq.lt(before));
    }
    if let Some(from_ms) = asked.from_ms {
        query = query.filter(Column::AtMs.gte(from_ms));
    }
    if let Some(to_ms) = asked.to_ms {
        query = query.filter(Column::AtMs.lt(to_ms));
    }
    for (column, wanted) in [
        (Column::ActorName, &asked.actor),
        (Column::Object, &asked.object),
    ] {
        if let Some(wanted) = wanted {
            query = query.filter(column.eq(wanted));
        }
    }
    if let Some(action) = &asked.action {
        // A kind alone is each action on it.
        query = match action.contains(':') {
            true => query.filter(Column::Action.eq(action)),
            false => {
                let backend = db.get_database_backend();
                query.filter(page::begins(backend, Column::Action, &format!("{action}:")))
            }
        };
    }
    let rows = query.all(db).await?;
    let tenants: Vec<Uuid> = rows.iter().filter_map(|row| row.tenant_id).collect();
    let tenants = names::of(db, Named::Tenant, &tenants).await?;
    let item = |row: Model| {
        let fields = |text: &str| {
            serde_json::from_str(text)
                .map_err(|error| Error::other(format!("a row of the audit log: {error}")))
        };
        Ok(AuditItem {
            id: id_of(&row),
            seq: Some(row.seq),
            at: moment(row.at_ms),
            before: fields(&row.before)?,
            after: fields(&row.after)?,
            actor: row.actor,
            actor_id: row.actor_id,
            actor_name: row.actor_name,
            address: row.address,
            request_id: row.request_id,
            tenant: row.tenant_id.map(|id| {
                let name = tenants.get(&id).cloned();
                // A tenant that is gone has no name any more.
                name.unwrap_or_else(|| id.to_string())
            }),
            action: row.action,
            object: row.object,
        })
    };
    rows.into_iter().map(item).collect()
}
