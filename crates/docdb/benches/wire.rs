//! The engine through its socket, beside what bounds it: a bulk load beside the store's own, a scan
//! beside the same client's of a server that answers from memory, a plain load for comparison.
//!
//! `cargo xtask bench wire`; `--megabytes N` changes the size, `--runs N` how often each figure is
//! taken (the median counts). Documents have 500 bytes; indexes are on `_id` and on one more field.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use bson::raw::RawDocument;
use bson::{Bson, doc};
use tidemark_model::Secret;
use tidemark_mover::{Connection, Endpoint};
use tidemark_store::{Batch, Store, Tree};
use tidemark_testkit::Instance;
use tidemark_wire::{
    DocumentRun, HEADER_BYTES, OpMsg, ScramCredential, ScramServer, encode_document, encode_msg,
    parse_header, parse_msg,
};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const DOCUMENT_BYTES: usize = 500;
/// Bytes of one insert, as a restore sends them.
const INSERT_BYTES: usize = 4 << 20;
/// Connections that load at the same time, as a restore has them.
const CONNECTIONS: usize = 3;
/// Bytes of an answer of the server that has everything in memory.
const ANSWER_BYTES: usize = 16 << 20;
const PASSWORD: &str = "password";

fn main() -> Outcome<()> {
    let argument = |name: &str, default: usize| -> Outcome<usize> {
        let mut arguments = std::env::args().skip_while(|argument| argument != name);
        arguments.nth(1).map_or(Ok(default), |text| Ok(text.parse()?))
    };
    let (megabytes, runs) = (argument("--megabytes", 1_000)?, argument("--runs", 3)?);
    let data = Data::make(megabytes);
    println!("{} documents, {megabytes} MB; medians of {runs} runs\n", data.documents);
    println!("| what | MB/s | beside | MB/s | ratio |\n|---|---|---|---|---|");
    let (mut own, mut bulk, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    let (mut scans, mut stubs) = (Vec::new(), Vec::new());
    let stub = Stub::start(&data)?;
    for _ in 0..runs {
        own.push(timed(|| data.load_store())?);
        let instance = Instance::start();
        bulk.push(timed(|| data.load_staged(&instance))?);
        let staged = format!("{STAGE}items");
        scans.push(timed(|| data.scan(&instance.endpoint(), &staged))?);
        stubs.push(timed(|| data.scan(&stub, "items"))?);
        drop(instance);
        let instance = Instance::start();
        plain.push(timed(|| data.load_plain(&instance))?);
    }
    let rate = |seconds: &mut Vec<f64>| {
        seconds.sort_by(f64::total_cmp);
        let median = seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN);
        f64::from(u32::try_from(megabytes).unwrap_or(u32::MAX)) / median
    };
    let row = |what: &str, ours: f64, beside: &str, theirs: f64| {
        println!("| {what} | {ours:.0} | {beside} | {theirs:.0} | {:.2} |", ours / theirs);
    };
    let (own, bulk) = (rate(&mut own), rate(&mut bulk));
    row("bulk load through the socket", bulk, "the store's own load", own);
    row("plain inserts through the socket", rate(&mut plain), "bulk load", bulk);
    row("scan through the socket", rate(&mut scans), "a server in memory", rate(&mut stubs));
    Ok(())
}

fn timed(action: impl FnOnce() -> Outcome<()>) -> Outcome<f64> {
    let began = Instant::now();
    action()?;
    Ok(began.elapsed().as_secs_f64())
}

const STAGE: &str = "tidemark.stage.bench.";

/// Documents in runs of `INSERT_BYTES`, made before anything is measured.
struct Data {
    runs: Vec<Vec<u8>>,
    documents: u64,
    bytes: u64,
}

fn step(state: u64) -> u64 {
    let state = state ^ (state << 13);
    let state = state ^ (state >> 7);
    state ^ (state << 17)
}

/// A document whose text compresses to about half.
fn document(number: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let key = i64::from_le_bytes(step(state).to_le_bytes()) >> 20;
    let mut text = String::new();
    while text.len() < DOCUMENT_BYTES - 60 {
        state = step(state);
        text += &state.to_string();
        text += "harbour ";
    }
    text.truncate(DOCUMENT_BYTES - 60);
    encode_document(&doc! { "_id": i64::try_from(number).unwrap_or(0), "k": key, "text": text })
}

impl Data {
    fn make(megabytes: usize) -> Self {
        let (mut runs, mut run, mut bytes, mut documents) = (Vec::new(), Vec::new(), 0, 0u64);
        while bytes < megabytes as u64 * 1_000_000 {
            let document = document(documents);
            bytes += document.len() as u64;
            documents += 1;
            if run.len() + document.len() > INSERT_BYTES {
                runs.push(std::mem::take(&mut run));
            }
            run.extend(document);
        }
        runs.push(run);
        Self { runs, documents, bytes }
    }

    /// What the store itself takes for the same trees: documents appended, then two indexes from
    /// sorted runs.
    fn load_store(&self) -> Outcome<()> {
        const ENTRIES: usize = 50_000;
        let folder = tempfile::tempdir()?;
        let store = Store::open(folder.path())?;
        let (mut ids, mut keys) = (Vec::new(), Vec::new());
        for run in &self.runs {
            let mut batch = Batch::new();
            for document in DocumentRun::new(run) {
                let document = document?;
                let record = ids.len() as u64;
                let key = [[0, 0, 0, 2].as_slice(), &record.to_be_bytes()].concat();
                batch.insert(Tree::Documents, &key, document.as_bytes());
                ids.push((document.get_i64("_id")?, record));
                keys.push((document.get_i64("k")?, record));
            }
            store.commit(&batch)?;
        }
        for (index, entries) in [&mut ids, &mut keys].into_iter().enumerate() {
            entries.sort_unstable();
            for part in entries.chunks(ENTRIES) {
                let mut batch = Batch::new();
                for (value, record) in part {
                    let prefix = u32::try_from(index)?.to_be_bytes();
                    let value = (*value).cast_unsigned() ^ (1 << 63);
                    let key = [prefix.as_slice(), &value.to_be_bytes(), &record.to_be_bytes()];
                    batch.insert(Tree::Indexes, &key.concat(), &record.to_be_bytes());
                }
                store.commit(&batch)?;
            }
        }
        Ok(())
    }

    fn insert_all(&self, instance: &Instance, collection: &str) -> Outcome<()> {
        let share = self.runs.len().div_ceil(CONNECTIONS);
        std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .runs
                .chunks(share)
                .map(|runs| {
                    scope.spawn(move || -> Outcome<()> {
                        let mut connection = instance.connect();
                        for run in runs {
                            let command = doc! { "insert": collection };
                            connection.write_run("d", command, ("documents", run))?;
                        }
                        Ok(())
                    })
                })
                .collect();
            let ended = threads.into_iter().map(|thread| thread.join().map_err(|_| "a panic")?);
            ended.collect()
        })
    }

    /// As a restore loads: a staging collection, then its indexes.
    fn load_staged(&self, instance: &Instance) -> Outcome<()> {
        let mut connection = instance.connect();
        let name = format!("{STAGE}items");
        connection.command("d", doc! { "create": &name, "tidemarkStaging": true })?;
        self.insert_all(instance, &name)?;
        let id = doc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" };
        let indexes = [id, doc! { "v": 2, "key": { "k": 1 }, "name": "k_1" }];
        let indexes: Vec<Bson> = indexes.into_iter().map(Bson::Document).collect();
        for index in indexes {
            connection.command("d", doc! { "createIndexes": &name, "indexes": [index] })?;
        }
        Ok(())
    }

    /// As any client loads: with an oplog entry for each document and both indexes in place.
    fn load_plain(&self, instance: &Instance) -> Outcome<()> {
        let index = doc! { "key": { "k": 1 }, "name": "k_1" };
        let command = doc! { "createIndexes": "items", "indexes": [index] };
        instance.connect().command("d", command)?;
        self.insert_all(instance, "items")
    }

    fn scan(&self, endpoint: &Endpoint, collection: &str) -> Outcome<()> {
        let mut connection = Connection::open(endpoint)?;
        let (mut documents, mut bytes) = (0, 0);
        let command = doc! { "find": collection, "batchSize": 1_000, "hint": { "$natural": 1 } };
        connection.for_each("d", command, |document| {
            documents += 1;
            bytes += document.as_bytes().len() as u64;
            Ok(())
        })?;
        if (documents, bytes) == (self.documents, self.bytes) {
            return Ok(());
        }
        Err(format!("{documents} documents and {bytes} bytes came").into())
    }
}

/// A server that has the answers in memory and does nothing but send them.
struct Stub {
    /// Arrays of documents, each for one answer.
    batches: Vec<Vec<u8>>,
}

impl Stub {
    fn start(data: &Data) -> Outcome<Endpoint> {
        let (mut batches, mut batch, mut count) = (Vec::new(), Vec::new(), 0);
        for document in data.runs.iter().flat_map(|run| DocumentRun::new(run)) {
            let document: &RawDocument = document?;
            if batch.len() + document.as_bytes().len() > ANSWER_BYTES {
                batches.push(std::mem::take(&mut batch));
                count = 0;
            }
            batch.push(3);
            batch.extend_from_slice(format!("{count}\0").as_bytes());
            batch.extend_from_slice(document.as_bytes());
            count += 1;
        }
        batches.push(batch);
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = listener.local_addr()?.to_string();
        let stub = Arc::new(Self { batches });
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let stub = Arc::clone(&stub);
                std::thread::spawn(move || stub.serve(stream));
            }
        });
        Ok(Endpoint { address, user: "root".into(), password: Secret::new(PASSWORD) })
    }

    fn serve(&self, mut stream: TcpStream) -> Outcome<()> {
        stream.set_nodelay(true)?;
        let credential = ScramCredential::derive(PASSWORD, vec![1; 28], 4096);
        let mut scram = None;
        // Made before they are asked for; only the number of the request is put in.
        let last = self.batches.len().saturating_sub(1);
        let mut answers: Vec<_> = (0..=last).map(|n| self.answer(n, n == last)).rev().collect();
        loop {
            let (request, message) = receive(&mut stream)?;
            let body = message.body();
            let payload = body.get("payload")?.and_then(|payload| match payload {
                bson::RawBsonRef::Binary(binary) => Some(binary.bytes),
                _ => None,
            });
            let binary =
                |bytes| bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes };
            let reply = if body.get("saslStart")?.is_some() {
                let payload = payload.ok_or("no payload")?;
                let (server, first) = ScramServer::start(payload, credential.clone(), "stub")?;
                scram = Some(server);
                doc! { "ok": 1, "conversationId": 1, "payload": binary(first) }
            } else if body.get("saslContinue")?.is_some() {
                let server = scram.as_ref().ok_or("out of order")?;
                let last = server.finish(payload.ok_or("no payload")?)?;
                doc! { "ok": 1, "conversationId": 1, "done": true, "payload": binary(last) }
            } else {
                let mut answer = answers.pop().ok_or("asked for more than there is")?;
                if let Some(place) = answer.get_mut(8..12) {
                    place.copy_from_slice(&request.to_le_bytes());
                }
                stream.write_all(&answer)?;
                continue;
            };
            stream.write_all(&encode_msg(1, request, &encode_document(&reply), None))?;
        }
    }

    fn answer(&self, number: usize, is_last: bool) -> Vec<u8> {
        let field = if number == 0 { "firstBatch" } else { "nextBatch" };
        let id = i64::from(!is_last);
        let wrap = |bytes: &[u8]| {
            let length = u32::try_from(bytes.len() + 5).unwrap_or(0).to_le_bytes();
            [length.as_slice(), bytes, &[0]].concat()
        };
        let rest = encode_document(&doc! { "id": id, "ns": "d.items" });
        let batch = wrap(self.batches.get(number).map_or(&[], Vec::as_slice));
        let rest = rest.get(4..rest.len() - 1).unwrap_or_default();
        let cursor = [format!("\x04{field}\0").as_bytes(), &batch, rest].concat();
        let body = [b"\x03cursor\0".as_slice(), &wrap(&cursor), b"\x10ok\0\x01\0\0\0"].concat();
        encode_msg(1, 0, &wrap(&body), None)
    }
}

fn receive(stream: &mut TcpStream) -> Outcome<(i32, OpMsg)> {
    let mut head = [0; HEADER_BYTES];
    stream.read_exact(&mut head)?;
    let header = parse_header(head)?;
    let mut body = vec![0; header.body_bytes];
    stream.read_exact(&mut body)?;
    Ok((header.request_id, parse_msg(header, body)?))
}
