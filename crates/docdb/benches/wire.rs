//! The engine through its socket, beside what bounds it: a bulk load beside the store's own, a scan
//! beside the same client's of a server that answers from memory, a plain load for comparison.
//!
//! `cargo xtask bench wire`; `--megabytes N` changes the size, `--runs N` how often each figure is
//! taken (the median counts). Documents have 500 bytes; indexes are on `_id` and on one more field.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use bson::raw::RawDocument;
use bson::{Bson, doc};
use tidemark_deployment::{Address, Connection, Endpoint, LinkError};
use tidemark_model::Secret;
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
    let only = std::env::args().skip_while(|argument| argument != "--only").nth(1);
    let data = Data::make(megabytes);
    println!("{} documents, {megabytes} MB; medians of {runs} runs\n", data.documents);
    let mut seconds: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for _ in 0..runs {
        for (name, measure) in STEPS {
            if only.as_deref().is_none_or(|only| only == *name) {
                seconds.entry(name).or_default().push(measure(&data)?);
            }
        }
    }
    println!("| what | MB/s | beside | its MB/s | ratio |\n|---|---|---|---|---|");
    let mut rate = |name: &str| {
        let seconds = seconds.get_mut(name)?;
        seconds.sort_by(f64::total_cmp);
        let median = seconds.get(seconds.len() / 2)?;
        Some(f64::from(u32::try_from(megabytes).ok()?) / median)
    };
    for (ours, theirs) in ROWS {
        if let Some(mine) = rate(ours) {
            let beside = rate(theirs).unwrap_or(f64::NAN);
            println!("| {ours} | {mine:.0} | {theirs} | {beside:.0} | {:.2} |", mine / beside);
        }
    }
    Ok(())
}

const OWN: &str = "the store's own load";
const BULK: &str = "bulk load";
const PLAIN: &str = "inserts, then the second index";
const INDEXED: &str = "inserts into both indexes";
const SCAN: &str = "scan";
const MEMORY: &str = "a server in memory";

type Measure = fn(&Data) -> Outcome<f64>;

/// What is measured, in seconds.
const STEPS: &[(&str, Measure)] = &[
    (OWN, |data| timed(|| data.load_store())),
    (BULK, |data| {
        let instance = Instance::start();
        timed(|| data.load_staged(&instance))
    }),
    (PLAIN, |data| {
        let instance = Instance::start();
        timed(|| data.load_plain(&instance, false))
    }),
    (INDEXED, |data| {
        let instance = Instance::start();
        timed(|| data.load_plain(&instance, true))
    }),
    (SCAN, |data| {
        let instance = Instance::start();
        data.load_staged(&instance)?;
        timed(|| data.scan(&instance.endpoint(), &format!("{STAGE}items")))
    }),
    (MEMORY, |data| {
        let stub = Stub::start(data)?;
        timed(|| data.scan(&stub, "items"))
    }),
];

/// What stands beside what.
const ROWS: &[(&str, &str)] = &[(BULK, OWN), (PLAIN, BULK), (INDEXED, BULK), (SCAN, MEMORY)];

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

    /// As any client loads, with an oplog entry for each document; the second index, whose values
    /// are random, is there before the documents or after them, as with mongorestore.
    fn load_plain(&self, instance: &Instance, is_indexed: bool) -> Outcome<()> {
        let index = doc! { "key": { "k": 1 }, "name": "k_1" };
        let command = doc! { "createIndexes": "items", "indexes": [index] };
        if is_indexed {
            instance.connect().command("d", command)?;
            return self.insert_all(instance, "items");
        }
        self.insert_all(instance, "items")?;
        instance.connect().command("d", command)?;
        Ok(())
    }

    fn scan(&self, endpoint: &Endpoint, collection: &str) -> Outcome<()> {
        let mut connection = Connection::open(endpoint)?;
        let (mut documents, mut bytes) = (0, 0);
        let command = doc! { "find": collection, "batchSize": 1_000, "hint": { "$natural": 1 } };
        connection.for_each("d", command, |document| {
            documents += 1;
            bytes += document.as_bytes().len() as u64;
            Ok::<_, LinkError>(())
        })?;
        if (documents, bytes) == (self.documents, self.bytes) {
            return Ok(());
        }
        Err(format!("{documents} documents and {bytes} bytes came").into())
    }
}

/// A server that has the answers in memory and does nothing but send them.
struct Stub {
    /// Messages, but for the number of the request that they answer.
    answers: Vec<Vec<u8>>,
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
        let last = batches.len() - 1;
        let answers = batches.iter().enumerate().map(|(n, batch)| answer(batch, n, n == last));
        let stub = Arc::new(Self { answers: answers.collect() });
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let stub = Arc::clone(&stub);
                std::thread::spawn(move || stub.serve(stream));
            }
        });
        let password = Secret::new(PASSWORD);
        Ok(Endpoint::Embedded(Address { address, user: "root".into(), password, pins: None }))
    }

    fn serve(&self, mut stream: TcpStream) -> Outcome<()> {
        stream.set_nodelay(true)?;
        let credential = ScramCredential::derive(PASSWORD, vec![1; 28], 4096);
        let mut scram = None;
        let mut answers = self.answers.iter();
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
                let answer = answers.next().ok_or("asked for more than there is")?;
                let (head, rest) = answer.split_at(8);
                stream.write_all(&[head, &request.to_le_bytes()].concat())?;
                stream.write_all(rest.get(4..).unwrap_or_default())?;
                continue;
            };
            stream.write_all(&encode_msg(1, request, &encode_document(&reply), None))?;
        }
    }
}

/// The answer that carries an array's elements.
fn answer(batch: &[u8], number: usize, is_last: bool) -> Vec<u8> {
    let field = if number == 0 { "firstBatch" } else { "nextBatch" };
    let id = i64::from(!is_last);
    let wrap = |bytes: &[u8]| {
        let length = u32::try_from(bytes.len() + 5).unwrap_or(0).to_le_bytes();
        [length.as_slice(), bytes, &[0]].concat()
    };
    let rest = encode_document(&doc! { "id": id, "ns": "d.items" });
    let batch = wrap(batch);
    let rest = rest.get(4..rest.len() - 1).unwrap_or_default();
    let cursor = [format!("\x04{field}\0").as_bytes(), &batch, rest].concat();
    let body = [b"\x03cursor\0".as_slice(), &wrap(&cursor), b"\x10ok\0\x01\0\0\0"].concat();
    encode_msg(1, 0, &wrap(&body), None)
}

fn receive(stream: &mut TcpStream) -> Outcome<(i32, OpMsg)> {
    let mut head = [0; HEADER_BYTES];
    stream.read_exact(&mut head)?;
    let header = parse_header(head)?;
    let mut body = vec![0; header.body_bytes];
    stream.read_exact(&mut body)?;
    Ok((header.request_id, parse_msg(header, body)?))
}
