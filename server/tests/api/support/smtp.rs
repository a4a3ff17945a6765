//! A mail server that takes every message and keeps it: the least of RFC 5321 that a client needs.

use std::sync::Arc;

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// Takes mail until it is dropped.
pub struct MailServer {
    pub url: String,
    mails: Arc<watch::Sender<Vec<String>>>,
}

impl MailServer {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("smtp://{}", listener.local_addr().unwrap());
        let mails = Arc::new(watch::Sender::new(Vec::new()));
        let kept = Arc::clone(&mails);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&kept)));
            }
        });
        Self { url, mails }
    }

    /// The first mail after so many, with its head; waits for it.
    pub async fn mail(&self, after: usize) -> String {
        let mut mails = self.mails.subscribe();
        let come = mails.wait_for(|mails| mails.len() > after);
        let come = tokio::time::timeout(super::SOON, come)
            .await
            .expect("a mail");
        come.unwrap()[after].clone()
    }

    pub fn count(&self) -> usize {
        self.mails.borrow().len()
    }
}

async fn serve(stream: TcpStream, mails: Arc<watch::Sender<Vec<String>>>) {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let mut mail: Option<String> = None;
    write.write_all(b"220 mail.test ready\r\n").await.unwrap();
    while let Ok(Some(line)) = lines.next_line().await {
        let answer: &[u8] = match &mut mail {
            Some(text) if line == "." => {
                let text = std::mem::take(text);
                mails.send_modify(|mails| mails.push(text));
                mail = None;
                b"250 kept\r\n"
            }
            Some(text) => {
                text.push_str(line.strip_prefix('.').unwrap_or(&line));
                text.push('\n');
                continue;
            }
            None if line == "DATA" => {
                mail = Some(String::new());
                b"354 go on\r\n"
            }
            None if line == "QUIT" => b"221 bye\r\n",
            None => b"250 fine\r\n",
        };
        if write.write_all(answer).await.is_err() {
            return;
        }
    }
}
