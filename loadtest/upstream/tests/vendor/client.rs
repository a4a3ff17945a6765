//! A raw TCP client that sees every byte, and where each chunk ended.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir_upstream::Vendor;

/// Nothing here takes longer, unless it hangs.
pub const SOON: Duration = Duration::from_secs(5);

pub struct Client {
    pub stream: TcpStream,
    pub unread: Vec<u8>,
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    /// Transfer chunks, if it came in such.
    pub chunks: Vec<Vec<u8>>,
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    Fin,
    Rst,
}

impl Client {
    pub async fn connect(vendor: &Vendor) -> Self {
        let stream = TcpStream::connect(vendor.addr).await.unwrap();
        Self {
            stream,
            unread: Vec::new(),
        }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    pub async fn post(&mut self, path: &str, body: &Value) {
        self.send(request(path, &body.to_string())).await;
    }

    /// Posts and reads the reply.
    pub async fn ask(&mut self, path: &str, body: &Value) -> Reply {
        self.post(path, body).await;
        self.reply().await
    }

    pub async fn get(&mut self, path: &str) -> Reply {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: v\r\n\r\n"))
            .await;
        self.reply().await
    }

    /// Reads a head, up to its empty line.
    pub async fn head(&mut self) -> String {
        let end = self.until(b"\r\n\r\n").await;
        String::from_utf8(self.take(end)).unwrap()
    }

    /// Reads a final reply, whatever its framing.
    pub async fn reply(&mut self) -> Reply {
        let head = self.head().await;
        let mut reply = Reply {
            status: status(&head),
            head,
            body: Vec::new(),
            chunks: Vec::new(),
        };
        if let Some(length) = reply.header("content-length") {
            let length: usize = length.parse().unwrap();
            while self.unread.len() < length {
                self.more().await;
            }
            reply.body = self.take(length);
        } else if reply.header("transfer-encoding").is_some() {
            while let Some(chunk) = self.chunk().await {
                reply.chunks.push(chunk);
            }
            reply.body = reply.chunks.concat();
        } else {
            let (rest, ended) = self.rest().await;
            assert_eq!(ended, Ended::Fin);
            reply.body = rest;
        }
        reply
    }

    /// Reads one chunk; none for the last.
    pub async fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = self.until(b"\r\n").await;
        let line = String::from_utf8(self.take(line)).unwrap();
        let size = usize::from_str_radix(line.trim(), 16).unwrap();
        while self.unread.len() < size + 2 {
            self.more().await;
        }
        let mut chunk = self.take(size + 2);
        assert_eq!(chunk.split_off(size), b"\r\n");
        (size > 0).then_some(chunk)
    }

    /// Reads until the connection ends.
    pub async fn rest(&mut self) -> (Vec<u8>, Ended) {
        loop {
            let read = tokio::time::timeout(SOON, self.stream.read_buf(&mut self.unread));
            match read.await.expect("the connection should end") {
                Ok(0) => return (std::mem::take(&mut self.unread), Ended::Fin),
                Ok(_) => {}
                Err(_) => return (std::mem::take(&mut self.unread), Ended::Rst),
            }
        }
    }

    /// Whether nothing comes for some time.
    pub async fn silent_for(&mut self, ms: u64) -> bool {
        let read = self.stream.read_buf(&mut self.unread);
        tokio::time::timeout(Duration::from_millis(ms), read)
            .await
            .is_err()
    }

    /// Leaves with a RST.
    pub fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }

    async fn until(&mut self, end: &[u8]) -> usize {
        loop {
            if let Some(at) = self
                .unread
                .windows(end.len())
                .position(|window| window == end)
            {
                return at + end.len();
            }
            self.more().await;
        }
    }

    async fn more(&mut self) {
        let read = tokio::time::timeout(SOON, self.stream.read_buf(&mut self.unread));
        let read = read.await.expect("more bytes should come").unwrap();
        assert!(
            read > 0,
            "FIN after {:?}",
            String::from_utf8_lossy(&self.unread)
        );
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let rest = self.unread.split_off(length);
        std::mem::replace(&mut self.unread, rest)
    }
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    /// The `data:` of its events, `[DONE]` left out.
    pub fn events(&self) -> Vec<Value> {
        let text = String::from_utf8(self.body.clone()).unwrap();
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        data.filter(|data| *data != "[DONE]")
            .map(|data| serde_json::from_str(data).unwrap())
            .collect()
    }
}

/// A POST with a length.
pub fn request(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: vendor\r\nAuthorization: Bearer sk-test\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub fn status(head: &str) -> u16 {
    head[9..12].parse().unwrap()
}

pub const CHAT: &str = "/v1/chat/completions";

/// A chat request of 4 input tokens and so many output tokens.
pub fn chat(tokens: u64, stream: bool) -> Value {
    serde_json::json!({
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "tell me a story"}],
        "max_tokens": tokens,
        "stream": stream,
        "stream_options": {"include_usage": stream},
    })
}
