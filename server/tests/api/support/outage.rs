//! Stores that go away and come back.

use std::{net::SocketAddr, time::Duration};

use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

use super::Stores;

/// A TCP connection's way that can be cut. Clones are the same pipe; it lasts as long as the test's runtime.
#[derive(Debug, Clone)]
pub struct Pipe {
    pub address: SocketAddr,
    way: watch::Sender<Way>,
}

/// What a pipe does with what comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// Each piece comes so much later.
    Slow(Duration),
    /// Takes everything and passes nothing on: a peer that vanished without a word.
    Silent,
    /// Resets what is connected and whatever connects.
    Cut,
}

impl Pipe {
    /// Listens on a free port and passes everything on to an address.
    pub async fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let way = watch::Sender::new(Way::Open);
        let seen = way.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(pass(near, target.clone(), seen.subscribe()));
            }
        });
        Self { address, way }
    }

    /// A pipe before the server of a URL, and the URL through it.
    pub async fn before_url(url: &str) -> (Self, String) {
        let authority = url.find("://").unwrap() + 3;
        let end = url[authority..]
            .find(['/', '?'])
            .map_or(url.len(), |at| authority + at);
        let host = url[authority..end]
            .find('@')
            .map_or(authority, |at| authority + at + 1);
        let pipe = Self::to(url[host..end].to_owned()).await;
        let through = format!("{}{}{}", &url[..host], pipe.address, &url[end..]);
        (pipe, through)
    }

    /// Resets what is connected and whatever connects.
    pub fn cut(&self) {
        self.way.send_replace(Way::Cut);
    }

    /// Takes what comes, and says nothing.
    pub fn silence(&self) {
        self.way.send_replace(Way::Silent);
    }

    /// Lets each piece wait, both ways.
    pub fn slow(&self, by: Duration) {
        self.way.send_replace(Way::Slow(by));
    }

    pub fn restore(&self) {
        self.way.send_replace(Way::Open);
    }
}

async fn pass(near: TcpStream, target: String, mut way: watch::Receiver<Way>) {
    let (mut near_from, mut near_to) = near.into_split();
    let (there, back) = (way.clone(), way.clone());
    let passing = async {
        let far = TcpStream::connect(target).await?;
        let (mut far_from, mut far_to) = far.into_split();
        // One end that closes closes both: no store speaks on after that.
        tokio::select! {
            passed = copy(&mut near_from, &mut far_to, there) => passed,
            passed = copy(&mut far_from, &mut near_to, back) => passed,
        }
    };
    let is_cut = tokio::select! {
        _ = way.wait_for(|way| *way == Way::Cut) => true,
        // However it ended, both ends are closed now.
        _ = passing => false,
    };
    if is_cut {
        let near = near_from.reunite(near_to).unwrap();
        near.set_zero_linger().unwrap();
    }
}

async fn copy(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    mut way: watch::Receiver<Way>,
) -> std::io::Result<()> {
    let mut piece = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut piece).await?;
        if length == 0 {
            return Ok(());
        }
        let seen = *way.borrow_and_update();
        match seen {
            Way::Slow(by) => tokio::time::sleep(by).await,
            // What was taken meanwhile is lost, and so is the connection that would miss it.
            Way::Silent => {
                drop(way.wait_for(|way| *way != Way::Silent).await);
                return Ok(());
            }
            Way::Open | Way::Cut => {}
        }
        to.write_all(&piece[..length]).await?;
    }
}

/// A database that is away.
pub enum Outage {
    Cut(Pipe),
    /// A connection that holds the embedded database's write lock.
    Locked(DatabaseConnection),
}

/// Takes the database of usage away: PostgreSQL by its pipe, SQLite by another connection's lock.
pub async fn begin(stores: &Stores, pipe: Option<Pipe>) -> Outage {
    if let Some(pipe) = pipe {
        pipe.cut();
        return Outage::Cut(pipe);
    }
    let folder = stores.variable("WEIR_DATA_DIR").unwrap();
    let mut options = ConnectOptions::new(format!("sqlite://{folder}/usage.db"));
    options.max_connections(1);
    let database = Database::connect(options).await.unwrap();
    database
        .execute_unprepared("BEGIN EXCLUSIVE")
        .await
        .unwrap();
    Outage::Locked(database)
}

impl Outage {
    /// The database is back.
    pub async fn end(self) {
        match self {
            Self::Cut(pipe) => pipe.restore(),
            Self::Locked(database) => {
                database.execute_unprepared("ROLLBACK").await.unwrap();
                database.close().await.unwrap();
            }
        }
    }
}
