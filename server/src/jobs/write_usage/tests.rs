use sea_orm::{ConnectionTrait as _, Statement};

use super::*;
use crate::{
    clock::now_ms,
    jobs::replay::replay,
    metering::spool,
    secrets::Sealer,
    store::testing::{self, TestStores, event, eventually},
};

fn sealer() -> Sealer {
    Sealer::new(&[7; 32])
}

fn recorder(directory: &Path) -> Recorder {
    recorder_with(directory, spool::Config::default())
}

fn recorder_with(directory: &Path, config: spool::Config) -> Recorder {
    let opened = Recorder::open(
        directory,
        &sealer().spool_key(&sealer().key_id()).unwrap(),
        config,
        "test",
        Arc::new(|_| {}),
        Arc::new(|_| {}),
    );
    opened.expect("a recorder").0
}

fn job(stores: &Stores, recorder: &Recorder, data_dir: &Path) -> WriteUsage {
    WriteUsage {
        turn: Arc::default(),
        stores: stores.clone(),
        recorder: recorder.clone(),
        health: Arc::default(),
        data_dir: data_dir.to_owned(),
    }
}

async fn count(stores: &Stores, what: &str) -> i64 {
    let sql = format!("SELECT CAST({what} AS bigint) AS number");
    let row = stores
        .usage
        .read
        .query_one_raw(Statement::from_string(stores.usage.backend(), sql));
    let row = row.await.expect(what).expect("a row");
    row.try_get("", "number").expect("a number")
}

/// Events, and requests in the sums.
async fn booked(test: &TestStores) -> (i64, i64) {
    (
        count(&test.stores, "(SELECT COUNT(*) FROM usage_events)").await,
        count(
            &test.stores,
            "(SELECT COALESCE(SUM(requests), 0) FROM usage_rollups)",
        )
        .await,
    )
}

fn append(recorder: &Recorder, events: u64) {
    for seed in 0..events {
        let event = event(now_ms(), seed);
        recorder.spool().append(&event).expect("appended");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_is_booked_and_then_gone() {
    for test in testing::all().await {
        let directory = tempfile::tempdir().expect("a directory");
        let recorder = recorder(directory.path());
        let job = job(&test.stores, &recorder, directory.path());
        let health = job.health.clone();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(job.run(shutdown.clone()));
        append(&recorder, 2_500);
        let empty = async || recorder.spool().pending_events() == 0;
        eventually(15, "an empty spool", empty).await;
        assert_eq!(booked(&test).await, (2_500, 2_500));
        assert_eq!(health.booked_events.load(Relaxed), 2_500);

        append(&recorder, 10);
        recorder.flush().await.expect("flushed");
        shutdown.cancel();
        running.await.expect("the job ends");
        assert_eq!(
            booked(&test).await,
            (2_510, 2_510),
            "what was flushed before the stop"
        );
    }
}

/// Booking gives way to calls, but not to one who waits for it, nor until the spool is full.
#[tokio::test]
async fn booking_gives_way_until_somebody_waits_for_it_or_the_spool_fills() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = spool::Config {
        max_bytes: 2 << 20,
        segment_bytes: 1 << 20,
        ..spool::Config::default()
    };
    let recorder = recorder_with(directory.path(), config);
    let shutdown = CancellationToken::new();
    let mut pressure = Pressure::without_end();
    let waits = time::timeout(
        Duration::from_millis(300),
        pressure.give_way(&recorder, &shutdown),
    );
    assert!(waits.await.is_err(), "calls have the cores");

    let mut gives_way = std::pin::pin!(pressure.give_way(&recorder, &shutdown));
    assert!(futures_util::poll!(&mut gives_way).is_pending());
    let awaited = recorder.awaited().wait();
    time::timeout(Duration::from_secs(5), &mut gives_way)
        .await
        .expect("somebody waits for it");
    drop(awaited);

    let mut pressure = Pressure::without_end();
    assert!(!recorder.spool().is_filling());
    for seed in 0.. {
        if recorder.spool().is_filling() {
            break;
        }
        let event = event(now_ms(), seed);
        recorder.spool().append(&event).expect("a quarter has room");
    }
    time::timeout(
        Duration::from_secs(5),
        pressure.give_way(&recorder, &shutdown),
    )
    .await
    .expect("the spool fills");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_just_written_is_booked_from_memory_and_only_whole() {
    for test in testing::all().await {
        let directory = tempfile::tempdir().expect("a directory");
        let recorder = recorder(directory.path());
        let spool = recorder.spool();
        let remember = |seed| {
            let event = Arc::new(event(now_ms(), seed));
            spool.append_shared(&event).expect("appended");
        };
        (0..10).for_each(remember);
        spool.seal();
        // What the memory has is not asked of the disk.
        let name = format!("spool/{:020}.segment", spool.closed_segments()[0].serial);
        std::fs::write(directory.path().join(name), b"").expect("emptied");
        // One that was not remembered makes the whole segment one to be read.
        (10..20).for_each(remember);
        append(&recorder, 1);
        remember(20);
        spool.seal();
        let segments = spool.closed_segments();
        assert_eq!(spool.remembered(&segments[1]), None);
        let job = job(&test.stores, &recorder, directory.path());
        job.book_waiting(&CancellationToken::new()).await;
        assert_eq!(booked(&test).await, (22, 22));
        assert_eq!(spool.pending_events(), 0);
        assert_eq!(spool.figures().set_aside, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_while_the_database_is_away() {
    let Some(test) = testing::postgres().await else {
        return;
    };
    let (stores, proxy) = test.behind_proxy().await.expect("PostgreSQL");
    let directory = tempfile::tempdir().expect("a directory");
    let recorder = recorder(directory.path());
    let job = job(&stores, &recorder, directory.path());
    let health = job.health.clone();
    let shutdown = CancellationToken::new();
    tokio::spawn(job.run(shutdown.clone()));
    append(&recorder, 3_000);
    // Cut in the middle of booking, wherever that is.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    proxy.cut();
    append(&recorder, 700);
    let down = async || !health.usage_store_up();
    eventually(15, "the loss", down).await;
    assert!(recorder.spool().pending_events() >= 700);
    proxy.restore();
    let empty = async || recorder.spool().pending_events() == 0;
    eventually(15, "an empty spool", empty).await;
    assert_eq!(booked(&test).await, (3_700, 3_700));
    assert!(health.usage_store_up());
    shutdown.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_no_table_takes_holds_up_no_other() {
    let Some(test) = testing::postgres().await else {
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let recorder = recorder(directory.path());
    append(&recorder, 5);
    let far_future = event(now_ms() + 2_000 * 86_400_000, 1);
    recorder.spool().append(&far_future).expect("appended");
    append(&recorder, 5);
    recorder.spool().seal();
    let job = job(&test.stores, &recorder, directory.path());
    job.book_waiting(&CancellationToken::new()).await;
    assert_eq!(booked(&test).await, (10, 10));
    assert_eq!(job.health.unbookable_events.load(Relaxed), 1);
    assert_eq!(recorder.spool().pending_events(), 0);
    let kept = std::fs::read_to_string(directory.path().join("unbookable.jsonl"));
    assert!(kept.expect("the file").contains(&far_future.id.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_from_elsewhere_is_booked_once_however_often_it_is_replayed() {
    for test in testing::all().await {
        let directory = tempfile::tempdir().expect("a directory");
        let recorder = recorder(directory.path());
        append(&recorder, 50);
        recorder.spool().seal();
        let mut files = std::fs::read_dir(directory.path().join("spool"))
            .expect("the spool")
            .map(|file| file.expect("a file").path())
            .filter(|path| path.metadata().is_ok_and(|file| file.len() > 1_000));
        let file = files.next().expect("a segment");
        // Who cannot have it noted does not do it.
        let unheard = async |_| anyhow::bail!("nobody hears it");
        let refused = replay(&test.stores, &sealer(), &file, unheard).await;
        assert!(refused.is_err(), "{refused:?}");
        let heard = async |events| {
            assert_eq!(events, 50);
            Ok(())
        };
        let (first, _) = replay(&test.stores, &sealer(), &file, heard)
            .await
            .expect("replayed");
        assert_eq!((first.inserted, first.duplicates), (50, 0));
        let (second, _) = replay(&test.stores, &sealer(), &file, heard)
            .await
            .expect("replayed");
        assert_eq!((second.inserted, second.duplicates), (0, 50));
        let forged = Sealer::new(&[8; 32]);
        assert!(
            replay(&test.stores, &forged, &file, heard).await.is_err(),
            "another installation's"
        );

        // The crash came after booking and before deleting: the next start books it again, to no effect.
        let job = job(&test.stores, &recorder, directory.path());
        job.book_waiting(&CancellationToken::new()).await;
        assert_eq!(booked(&test).await, (50, 50));
        assert_eq!(job.health.duplicate_events.load(Relaxed), 50);
    }
}
