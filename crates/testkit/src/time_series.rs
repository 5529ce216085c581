//! A server with time series and stored functions, played by a proxy in front of a database that has
//! neither.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bson::{Bson, Document};

use crate::proxy::{Proxy, Translator, Verdict};

/// Under what the database behind keeps collections of the server's own.
const KEPT: &str = "kept.";
const SYSTEM: &str = "system.";
const BUCKETS: &str = "system.buckets.";

/// A server with time series.
pub struct TimeSeriesServer {
    proxy: Proxy,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Options and indexes of time series, by database and name.
    series: BTreeMap<(String, String), (Document, Vec<Document>)>,
    /// The buckets are shown by `rawData`, and in no collection of their own.
    has_raw_data: bool,
    /// So many inserts of buckets end their connections.
    cuts: u32,
    /// Indexes of time series are refused.
    refuses_indexes: bool,
    /// Buckets are taken after it was allowed that schemas differ in one.
    refuses_mixed: bool,
}

impl TimeSeriesServer {
    /// A server of 8.0, or of 8.3, which shows buckets by `rawData`.
    pub fn start(server: SocketAddr, has_raw_data: bool) -> Self {
        let proxy = Proxy::start(server);
        let state = State { has_raw_data, ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let for_rule = Arc::clone(&state);
        proxy.set(move |database, command| {
            let mut state = for_rule.lock().unwrap_or_else(PoisonError::into_inner);
            state.judge(database, command)
        });
        proxy.translate(Names { state: Arc::clone(&state) });
        Self { proxy, state }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.proxy.address()
    }

    /// The connections of the next inserts of buckets end after the insert.
    pub fn cut_inserts(&self, count: u32) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).cuts = count;
    }

    /// Indexes of time series are refused, as by a server that is older than what they need.
    pub fn refuse_indexes(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).refuses_indexes = true;
    }

    /// Buckets are refused until it was allowed that schemas differ in one.
    pub fn refuse_mixed(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).refuses_mixed = true;
    }
}

fn refusal(code: i32, text: &str) -> Verdict {
    Verdict::Answer(bson::doc! { "ok": 0.0, "code": code, "errmsg": text })
}

fn name_in(command: &Document) -> &str {
    command.values().next().and_then(Bson::as_str).unwrap_or_default()
}

impl State {
    /// What becomes of commands that the database behind cannot answer.
    fn judge(&mut self, database: &str, command: &Document) -> Verdict {
        let verb = command.keys().next().map_or("", String::as_str);
        let name = name_in(command);
        let key = (database.to_owned(), name.to_owned());
        let is_raw = command.get_bool("rawData").unwrap_or(false);
        if is_raw && !self.has_raw_data {
            return refusal(40_415, "rawData is an unknown field");
        }
        if verb == "renameCollection" {
            return self.judge_rename(command);
        }
        if verb == "drop" && name == "system.js" {
            return refusal(20, "can't drop system collection");
        }
        if self.has_raw_data && name.starts_with(BUCKETS) {
            return refusal(73, "there is no such collection");
        }
        let is_series = self.series.contains_key(&key);
        match verb {
            "insert" if name.starts_with(BUCKETS) || is_series && is_raw => {
                if self.refuses_mixed {
                    let error = bson::doc! { "index": 0, "code": 408, "errmsg": "mixed schema" };
                    return Verdict::Answer(
                        bson::doc! { "ok": 1.0, "n": 0, "writeErrors": [error] },
                    );
                }
                let is_cut = self.cuts > 0;
                self.cuts = self.cuts.saturating_sub(1);
                if is_cut { Verdict::CutAfter } else { Verdict::Pass }
            }
            "insert" | "find" | "update" | "delete" if is_series && !is_raw => {
                refusal(20, "these are measurements, and no buckets")
            }
            "create" if command.contains_key("timeseries") => {
                let mut options = command.clone();
                options.remove("create");
                let own =
                    |name: &str| name.starts_with('$') || name == "lsid" || name == "writeConcern";
                let options: Document =
                    options.into_iter().filter(|(name, _)| !own(name)).collect();
                self.series.insert(key, (options, Vec::new()));
                Verdict::Pass
            }
            "collMod" if is_series => {
                self.refuses_mixed &=
                    !command.contains_key("timeseriesBucketsMayHaveMixedSchemaData");
                Verdict::Answer(bson::doc! { "ok": 1.0 })
            }
            "createIndexes" if is_series && self.refuses_indexes => {
                refusal(67, "such an index cannot be created")
            }
            "createIndexes" | "listIndexes" if is_series => self.judge_indexes(&key, command),
            _ => Verdict::Pass,
        }
    }

    /// Makes or lists the indexes of a time series.
    fn judge_indexes(&mut self, key: &(String, String), command: &Document) -> Verdict {
        let Some((_, indexes)) = self.series.get_mut(key) else { return Verdict::Pass };
        let new = command.get_array("indexes").into_iter().flatten();
        indexes.extend(new.filter_map(|index| index.as_document().cloned()));
        let cursor = bson::doc! {
            "id": 0i64, "ns": format!("{}.{}", key.0, key.1), "firstBatch": indexes.clone(),
        };
        Verdict::Answer(bson::doc! { "ok": 1.0, "cursor": cursor })
    }

    fn judge_rename(&self, command: &Document) -> Verdict {
        let names = [name_in(command), command.get_str("to").unwrap_or_default()];
        for (database, name) in names.iter().filter_map(|name| name.split_once('.')) {
            if name.starts_with(SYSTEM) {
                return refusal(20, "renaming to system collections is not allowed");
            }
            if self.series.contains_key(&(database.to_owned(), name.to_owned())) {
                return refusal(166, "it is a time series");
            }
        }
        Verdict::Pass
    }
}

/// Gives collections of the server's own names that the database behind takes.
struct Names {
    state: Arc<Mutex<State>>,
}

impl Translator for Names {
    fn command(&mut self, command: &mut Document) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        command.remove("rawData");
        let database = command.get_str("$db").unwrap_or_default().to_owned();
        let Some((verb, Bson::String(name))) = command.iter().next() else { return };
        let (verb, mut name) = (verb.clone(), name.clone());
        let key = (database, name.clone());
        if state.series.contains_key(&key) {
            name = format!("{BUCKETS}{name}");
        }
        if verb == "drop" {
            state.series.remove(&key);
        }
        if verb == "create" && command.contains_key("timeseries") {
            let tail =
                command.iter().filter(|(field, _)| field.starts_with('$') || *field == "lsid");
            *command = bson::doc! { "create": "" }
                .into_iter()
                .chain(tail.map(|(f, v)| (f.clone(), v.clone())))
                .collect();
        }
        let name = match name.strip_prefix(SYSTEM) {
            Some(rest) => format!("{KEPT}{rest}"),
            None => name,
        };
        command.insert(verb, name);
    }

    fn answer(&mut self, command: &Document, answer: &mut Document) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if command.contains_key("buildInfo") {
            answer.insert("version", if state.has_raw_data { "8.3.0" } else { "8.0.4" });
        }
        if !command.contains_key("listCollections") {
            return;
        }
        let database = command.get_str("$db").unwrap_or_default();
        let Ok(batch) =
            answer.get_document_mut("cursor").and_then(|cursor| cursor.get_array_mut("firstBatch"))
        else {
            return;
        };
        let mut uuids = BTreeMap::new();
        for collection in batch.iter_mut().filter_map(Bson::as_document_mut) {
            let name = collection.get_str("name").unwrap_or_default().to_owned();
            if let Some(kept) = name.strip_prefix(KEPT) {
                let name = format!("{SYSTEM}{kept}");
                uuids.insert(name.clone(), collection.get("info").cloned());
                collection.insert("name", name);
            }
        }
        if state.has_raw_data {
            let is_buckets = |listed: &Bson| {
                let name = listed.as_document().and_then(|listed| listed.get_str("name").ok());
                name.is_some_and(|name| name.starts_with(BUCKETS))
            };
            batch.retain(|listed| !is_buckets(listed));
        }
        for ((_, name), (options, _)) in state.series.iter().filter(|((d, _), _)| d == database) {
            let info = uuids.get(&format!("{BUCKETS}{name}")).cloned().flatten();
            let info = info.filter(|_| state.has_raw_data);
            batch.push(Bson::Document(bson::doc! {
                "name": name, "type": "timeseries", "options": options,
                "info": info.unwrap_or_else(|| bson::doc! { "readOnly": false }.into()),
            }));
        }
    }
}
