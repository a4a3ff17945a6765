//! Configuration as code: the file's way in and out.

use actix_web::{HttpRequest, web};
use weir_api_types::{apply::Applied, resources::Resources};

use super::{
    State,
    body::Document,
    error::{ApiError, Code},
    list,
};
use crate::{
    access::Author,
    resources::{self, Options, read},
    store::audit,
};

/// `GET /v1/admin/resources`; that it left is in the audit log before it does.
pub async fn export(
    author: Author,
    state: web::Data<State>,
) -> Result<web::Json<Resources>, ApiError> {
    let stored = resources::stored(&state.stores, &state.sealer).await?;
    let told = serde_json::json!({"tenants": stored.tenants.as_ref().map_or(0, Vec::len)});
    let done = audit::one("export", None, "resources", &told);
    audit::note(&state.stores, &state.sealer, &author, &[done]).await?;
    Ok(web::Json(stored))
}

/// `POST /v1/admin/resources/apply?dry_run=&prune=`
///
/// Nothing in the document is expanded: `${…}` arrives as what it is and stays so.
pub async fn apply(
    author: Author,
    request: HttpRequest,
    document: Document,
    state: web::Data<State>,
) -> Result<web::Json<Applied>, ApiError> {
    let mut words = list::words(&request)?;
    let options = Options {
        prune: switch("prune", words.remove("prune"))?,
        dry_run: switch("dry_run", words.remove("dry_run"))?,
    };
    list::refuse_rest(&words)?;
    let wanted = read::parse(&document.0).map_err(ApiError::fields)?;
    let applied = resources::apply(&state.stores, &state.sealer, &author, &wanted, options).await?;
    if !applied.dry_run {
        state.catch_up(applied.version).await;
    }
    Ok(web::Json(applied))
}

fn switch(word: &str, value: Option<String>) -> Result<bool, ApiError> {
    match value.as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(ApiError::new(
            Code::InvalidQuery,
            format!("{word} is true or false."),
        )),
    }
}
