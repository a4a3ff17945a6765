//! The record of every request. On PostgreSQL it is cut into months by its id, which begins with
//! the request's milliseconds; the months themselves come with the next step.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;
use sea_orm_migration::sea_orm::DbBackend;

use crate::columns::{amount, amount_null, index, instant, one_of};

const SOURCES: [&str; 3] = ["api", "playground", "probe"];
const OUTCOMES: [&str; 8] = [
    "ok",
    "refused",
    "upstream_error",
    "client_error",
    "cut_by_client",
    "cut_by_upstream",
    "cut_by_weir",
    "interrupted",
];

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut table = Table::create()
            .table("usage_events")
            .col(pk_uuid("id"))
            .to_owned();
        who_asked(&mut table);
        what_happened(&mut table);
        what_it_took(&mut table);
        how_it_went(&mut table);
        if manager.get_database_backend() == DbBackend::Postgres {
            table.partition_by_range(["id"]);
        }
        manager.create_table(table).await?;

        // The id comes second everywhere: it is the time, by which lists are ordered and cut.
        for first in ["tenant_id", "key_id", "user_id", "model", "channel_id"] {
            manager
                .create_index(index("usage_events", [first, "id"]))
                .await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("usage_events").to_owned())
            .await
    }
}

fn who_asked(table: &mut TableCreateStatement) {
    table
        .col(uuid("tenant_id"))
        .col(uuid("key_id"))
        .col(uuid_null("user_id"))
        .col(uuid_null("group_id"))
        .col(text_null("end_user"))
        .col(text_null("client_request_id"))
        .col(instant("started_ms"))
        .col(one_of("source", SOURCES));
}

fn what_happened(table: &mut TableCreateStatement) {
    table
        .col(text("endpoint"))
        .col(text("dialect"))
        .col(text("model"))
        .col(text_null("upstream_model"))
        .col(uuid_null("channel_id"))
        .col(uuid_null("credential_id"))
        .col(text_null("upstream_request_id"))
        .col(one_of("outcome", OUTCOMES))
        .col(small_integer("status").check(Expr::col("status").gte(0)))
        .col(text_null("error_code"))
        .col(boolean("streamed"))
        .col(integer("count").default(1).check(Expr::col("count").gte(1)));
}

fn what_it_took(table: &mut TableCreateStatement) {
    table
        .col(amount("input_tokens"))
        .col(amount("cached_tokens"))
        .col(amount("cache_write_tokens"))
        .col(amount("output_tokens"))
        .col(amount("reasoning_tokens"))
        .col(amount("audio_input_tokens"))
        .col(amount("audio_output_tokens"))
        .col(amount("image_input_tokens"))
        .col(amount("image_output_tokens"))
        .col(boolean("estimated"))
        .col(boolean("unpriced"))
        .col(amount("cost_nanos"))
        .col(amount("charge_nanos"))
        .col(json_binary_null("price"));
}

fn how_it_went(table: &mut TableCreateStatement) {
    table
        .col(amount_null("first_byte_us"))
        .col(amount("total_us"))
        .col(amount_null("overhead_us"))
        .col(amount("request_bytes"))
        .col(amount("response_bytes"))
        .col(json_binary("attempts"))
        .col(text("instance"));
}
