//! A raw TCP client: for requests that no library would send, and callers who leave in odd ways.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::SOON;

/// One connection.
pub struct Raw(pub TcpStream);

impl Raw {
    /// Connects to the gateway at a URL such as `http://127.0.0.1:1234`.
    pub async fn connect(url: &str) -> Self {
        let stream = TcpStream::connect(url.trim_start_matches("http://"))
            .await
            .unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// A POST of a JSON body with a key.
    pub async fn post(&mut self, path: &str, key: &str, body: &str) {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: weir\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.send(format!("{head}{body}")).await;
    }

    /// Reads until the text has been seen; all that was read.
    pub async fn read_until(&mut self, text: &str) -> String {
        let mut read = Vec::new();
        let mut piece = [0; 4096];
        while !String::from_utf8_lossy(&read).contains(text) {
            let bytes = timeout(SOON, self.0.read(&mut piece))
                .await
                .expect("in time")
                .unwrap();
            assert!(
                bytes > 0,
                "the connection ended before {text:?}: {}",
                String::from_utf8_lossy(&read)
            );
            read.extend_from_slice(&piece[..bytes]);
        }
        String::from_utf8_lossy(&read).into_owned()
    }

    /// Reads one answer, with its body by length or chunks; `None` where the connection ends before.
    pub async fn answer(&mut self) -> Option<Answer> {
        let mut read = Vec::new();
        loop {
            if let Some(answer) = Answer::parse(&read) {
                return Some(answer);
            }
            let mut piece = [0; 4096];
            match timeout(SOON, self.0.read(&mut piece))
                .await
                .expect("in time")
            {
                Ok(0) | Err(_) => return None,
                Ok(bytes) => read.extend_from_slice(&piece[..bytes]),
            }
        }
    }

    /// Whether the other side ends the connection, by FIN or RST, within a time, and sends nothing more before.
    pub async fn is_closed(&mut self, within: Duration) -> bool {
        let mut piece = [0; 1];
        matches!(
            timeout(within, self.0.read(&mut piece)).await,
            Ok(Ok(0) | Err(_))
        )
    }

    /// Reads to the connection's end, within a time.
    pub async fn read_to_end(&mut self, within: Duration) -> String {
        let mut read = Vec::new();
        // A reset is an end too.
        drop(
            timeout(within, self.0.read_to_end(&mut read))
                .await
                .expect("in time"),
        );
        String::from_utf8_lossy(&read).into_owned()
    }

    /// Leaves by FIN.
    pub async fn leave(mut self) {
        self.0.shutdown().await.unwrap();
    }

    /// Leaves by RST.
    pub fn reset(self) {
        self.0.set_zero_linger().unwrap();
    }
}

/// An answer as it stood on the wire.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Status line and headers, in lower case.
    pub head: String,
    pub body: String,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (head, rest) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let head = head.to_ascii_lowercase();
        if status == 100 {
            return Self::parse(rest.as_bytes());
        }
        let length = head
            .split("content-length: ")
            .nth(1)
            .and_then(|rest| rest.lines().next()?.trim().parse::<usize>().ok());
        let body = if head.contains("transfer-encoding: chunked") {
            rest.strip_suffix("0\r\n\r\n")?.to_owned()
        } else {
            rest.get(..length.unwrap_or(0))?.to_owned()
        };
        Some(Self { status, head, body })
    }
}
