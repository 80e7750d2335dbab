//! A small HTTP server that plays the Hub, or the host that its large files come from.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long a silent answer keeps its connection: longer than any test waits, and yet its thread ends.
const SILENCE: Duration = Duration::from_secs(20);

/// What a client asked.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// `GET /path?query`
    pub(crate) line: String,
    headers: BTreeMap<String, String>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The path without the query.
    pub(crate) fn path(&self) -> &str {
        let path = self.line.split(' ').nth(1).unwrap_or_default();
        path.split('?').next().unwrap_or_default()
    }

    /// The first byte that is asked for.
    fn start(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// What the server answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// So many bytes of the body are sent, and then nothing more.
    pub(crate) cut: Option<usize>,
    /// After these the connection stays open and silent, and is not closed.
    pub(crate) is_silent: bool,
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Reply { status, ..Reply::default() }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn redirect(to: impl Into<String>) -> Self {
        Reply::status(302).with("Location", to)
    }

    pub(crate) fn text(body: impl Into<Vec<u8>>) -> Self {
        Reply { body: body.into(), ..Reply::status(200) }
    }

    /// A file, or its rest where that is asked for.
    pub(crate) fn file(request: &Request, bytes: &[u8]) -> Self {
        match request.start() {
            None => Reply::text(bytes),
            Some(start) if start < bytes.len() => {
                let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
                Reply { body: bytes[start..].to_vec(), ..Reply::status(206) }.with("Content-Range", range)
            }
            Some(_) => Reply::status(416),
        }
    }
}

/// A server on a port of its own, for as long as the value lives.
pub(crate) struct Server {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Request>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn new(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, is_over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (answer, log, over) = (Arc::new(answer), asked.clone(), is_over.clone());
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let (answer, log, over) = (answer.clone(), log.clone(), over.clone());
                // A client that is killed breaks its connection, and that is all.
                thread::spawn(move || stream.and_then(|stream| serve(stream, &*answer, &log, &over)));
            }
        });
        Server { url: format!("http://{address}"), asked, is_over, thread: Some(thread) }
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }

    /// The lines of it.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|request| request.line).collect()
    }

    pub(crate) fn forget(&self) {
        self.asked.lock().unwrap().clear();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes the listener.
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    mut stream: TcpStream,
    answer: &(impl Fn(&Request) -> Reply + ?Sized),
    log: &Mutex<Vec<Request>>,
    is_over: &AtomicBool,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    let mut lines = BufReader::new((&mut stream).take(1 << 16)).lines();
    let line = lines.next().transpose()?.unwrap_or_default();
    let mut headers = BTreeMap::new();
    for header in lines.by_ref() {
        let header = header?;
        let Some((name, value)) = header.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    drop(lines);
    let request = Request { line: line.trim_end_matches(" HTTP/1.1").to_owned(), headers };
    log.lock().unwrap().push(request.clone());
    let reply = answer(&request);
    let mut head = format!("HTTP/1.1 {} Reply\r\nConnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !reply.headers.iter().any(|(name, _)| *name == "Transfer-Encoding") {
        head += &format!("Content-Length: {}\r\n", reply.body.len());
    }
    stream.write_all((head + "\r\n").as_bytes())?;
    if !request.line.starts_with("HEAD ") {
        stream.write_all(&reply.body[..reply.cut.unwrap_or(reply.body.len())])?;
    }
    stream.flush()?;
    let mut waited = Duration::ZERO;
    while reply.is_silent && waited < SILENCE && !is_over.load(Ordering::SeqCst) {
        thread::sleep(Duration::from_millis(20));
        waited += Duration::from_millis(20);
    }
    Ok(())
}
