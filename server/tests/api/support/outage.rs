//! Stores that go away and come back.

use std::net::SocketAddr;

use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::Stores;

/// A TCP connection's way that can be cut. Clones are the same pipe; it lasts as long as the test's runtime.
#[derive(Debug, Clone)]
pub struct Pipe {
    pub address: SocketAddr,
    open: watch::Sender<bool>,
}

impl Pipe {
    /// Listens on a free port and passes everything on to an address.
    pub async fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let open = watch::Sender::new(true);
        let seen = open.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(pass(near, target.clone(), seen.subscribe()));
            }
        });
        Self { address, open }
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
        self.open.send_replace(false);
    }

    pub fn restore(&self) {
        self.open.send_replace(true);
    }
}

async fn pass(mut near: TcpStream, target: String, mut open: watch::Receiver<bool>) {
    let passing = async {
        let mut far = TcpStream::connect(target).await?;
        copy_bidirectional(&mut near, &mut far).await
    };
    tokio::select! {
        _ = open.wait_for(|open| !open) => near.set_zero_linger().unwrap(),
        // However it ended, both ends are closed now.
        _ = passing => {}
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
