//! The swap: staging collections take the place of the target's.
//!
//! Together with the swap, in the same commit where a deployment can do that, a record says that it
//! happened. Neither a plan that is gone nor a record that is gone means that it did.

use std::collections::BTreeMap;

use bson::raw::RawDocument;
use bson::{Binary, Bson, Document};
use tidemark_wire::encode_document;

use super::attempt::{Attempt, MARKER, MARKER_DATABASE, Names, job_of};
use crate::error::MoverError;
use crate::indexes::wanted_indexes;
use crate::server_collections::{is_functions, keeps_empty_timestamps};
use tidemark_deployment::{
    Abilities, CollectionListing, Connection, Endpoint, LinkError, STORED_FUNCTIONS, buckets_of,
    is_stage, list_collections, list_indexes, probe,
};

/// Puts what an attempt staged in the place of the target's collections, and drops what the
/// restored state does not have. Done again after a crash, it finishes what was begun.
///
/// Any attempt whose plan is there or whose swap is on record will do: a worker that takes the job
/// up in its swap has another number than the one that staged.
pub fn swap_stage(endpoint: &Endpoint, job: &str) -> Result<(), MoverError> {
    let (mut connection, names) = (Connection::open(endpoint)?, Names::on(endpoint));
    if has_record(&mut connection, (names, job))? {
        return Ok(());
    }
    let (attempt, plan) = load_plan(&mut connection, (names, job))?;
    let targets = list_collections(&mut connection)?;
    let swap = Swap { names, attempt, plan, targets };
    let abilities = probe(&mut connection)?;
    let swapped = if abilities.atomic_renames {
        swap.commit_at_once(&mut connection)
    } else {
        swap.go_step_by_step(&mut connection, (endpoint, &abilities))
    };
    match swapped {
        // Another worker that took the job up in its swap was faster.
        Err(error) if error.code().is_some() && has_record(&mut connection, (names, job))? => {
            Ok(())
        }
        outcome => outcome,
    }
}

/// A swap that is about to happen, or that began to.
struct Swap {
    names: Names,
    attempt: Attempt,
    plan: SwapPlan,
    targets: Vec<CollectionListing>,
}

impl Swap {
    fn record(&self) -> Document {
        bson::doc! { "_id": &self.attempt.job, "attempt": self.attempt.number }
    }

    /// The target's collections that the restored state does not have.
    fn doomed(&self) -> impl Iterator<Item = &CollectionListing> {
        let is_doomed = |target: &&CollectionListing| {
            !self.plan.keeps_others && !self.plan.has(&target.namespace())
        };
        self.targets.iter().filter(is_doomed)
    }

    /// All in one commit.
    fn commit_at_once(&self, connection: &mut Connection) -> Result<(), MoverError> {
        let exists =
            |namespace: &str| self.targets.iter().any(|target| target.namespace() == namespace);
        let mut operations = Vec::new();
        for (namespace, staged) in &self.plan.collections {
            operations.push(command_entry(
                &staged.database,
                bson::doc! { "renameCollection": staged.namespace(), "to": namespace, "stayTemp": false, "dropTarget": exists(namespace) },
            ));
        }
        for target in self.doomed() {
            operations.push(command_entry(&target.database, bson::doc! { "drop": &target.name }));
        }
        let namespace = format!("{MARKER_DATABASE}.{}", self.names.records());
        operations.push(bson::doc! { "op": "i", "ns": namespace, "o": self.record() });
        let marker = bson::doc! { "drop": self.names.marker(&self.attempt) };
        operations.push(command_entry(MARKER_DATABASE, marker));
        Ok(connection.command("admin", bson::doc! { "applyOps": operations }).map(drop)?)
    }

    /// Whether another worker has finished the swap: who was held up for long must not touch what users have
    /// written since.
    fn is_overtaken(&self, connection: &mut Connection) -> Result<bool, MoverError> {
        has_record(connection, (self.names, &self.attempt.job))
    }

    /// One collection after another, each step in a form that can be done again: readers see some
    /// collections as they were and some as they are restored until it is over. What was moved
    /// already is recognized by its UUID, and goes on from there after a crash at any step:
    /// `a_swap_that_is_cut_anywhere_is_finished_by_the_next_worker`.
    fn go_step_by_step(
        &self,
        connection: &mut Connection,
        target: (&Endpoint, &Abilities),
    ) -> Result<(), MoverError> {
        let waiting = all_stages(connection)?;
        for (number, (namespace, staged)) in self.plan.collections.iter().enumerate() {
            if self.is_overtaken(connection)? {
                return Ok(());
            }
            let is_waiting = waiting
                .iter()
                .any(|(database, name)| (database, name) == (&staged.database, &staged.name));
            let there = self.targets.iter().find(|target| target.namespace() == *namespace);
            if staged.is_copied(namespace) {
                copy_once(connection, target, (staged, namespace), (is_waiting, there))?;
            } else if is_waiting {
                let prefix = self.names.of_attempt(&self.attempt);
                let name = format!("{prefix}{ASIDE}{number}");
                let aside = Aside { database: staged.database.clone(), name };
                let names = (staged.namespace(), namespace);
                match move_over(connection, (&names.0, names.1), (there, &aside)) {
                    Err(error)
                        if self.plan.replaces_in_place
                            && error.code().is_some_and(|code| CANNOT_RENAME.contains(&code)) =>
                    {
                        copy_over(connection, target.0, (staged, namespace))?;
                    }
                    outcome => outcome?,
                }
            } else if there.is_none_or(|there| !staged.is(there)) {
                return Err(MoverError::StageLost);
            }
        }
        for target in self.doomed() {
            if self.is_overtaken(connection)? {
                return Ok(());
            }
            clear(connection, (&target.database, &target.name))?;
        }
        for (namespace, options) in &self.plan.views {
            make_view(connection, namespace, options)?;
        }
        let insert = bson::doc! { "insert": self.names.records() };
        let record = encode_document(&self.record());
        match connection.write_run(MARKER_DATABASE, insert, ("documents", &record)) {
            Err(error) if error.code() == Some(DUPLICATE_KEY) => {}
            outcome => outcome?,
        }
        drop_if_there(connection, (MARKER_DATABASE, &self.names.marker(&self.attempt)))
    }
}

/// Renames a collection over another one, if there is one. If that is not possible, what was there is
/// there afterwards.
fn move_over(
    connection: &mut Connection,
    (from, to): (&str, &str),
    (there, aside): (Option<&CollectionListing>, &Aside),
) -> Result<(), MoverError> {
    let rename = bson::doc! { "renameCollection": from, "to": to };
    let Some(there) = there else {
        return aside.or_put_back(connection, to, |c| Ok(c.command("admin", rename).map(drop)?));
    };
    let mut replace = rename.clone();
    replace.insert("dropTarget", true);
    match connection.command("admin", replace) {
        // Nobody renames over a view or a time series.
        Err(error) if error.code().is_some() && there.kind != "collection" => {
            drop_if_there(connection, (&there.database, &there.name))?;
            Ok(connection.command("admin", rename).map(drop)?)
        }
        // Some servers rename, but not over what is there: that makes room first.
        Err(error) if error.code().is_some_and(|code| CANNOT_REPLACE.contains(&code)) => {
            let make_room = bson::doc! { "renameCollection": to, "to": aside.namespace() };
            connection.command("admin", make_room)?;
            aside.or_put_back(connection, to, |c| Ok(c.command("admin", rename).map(drop)?))?;
            drop_if_there(connection, (&aside.database, &aside.name))
        }
        outcome => Ok(outcome.map(drop)?),
    }
}

/// Where a collection waits until another one has its name: it is the target's own, and no restore's
/// to drop until the swap is on record.
struct Aside {
    database: String,
    name: String,
}

/// What is in the name of each of them.
const ASIDE: &str = "aside";

impl Aside {
    fn namespace(&self) -> String {
        format!("{}.{}", self.database, self.name)
    }

    /// Does something; if it fails, what waits has its name again, in this attempt or a later one.
    fn or_put_back(
        &self,
        connection: &mut Connection,
        to: &str,
        work: impl FnOnce(&mut Connection) -> Result<(), MoverError>,
    ) -> Result<(), MoverError> {
        let Err(error) = work(connection) else { return Ok(()) };
        if is_there(connection, (&self.database, &self.name))? {
            let back = bson::doc! { "renameCollection": self.namespace(), "to": to };
            connection.command("admin", back)?;
        }
        Err(error)
    }
}

/// Fills a collection with what is staged for it. What is staged goes last: cut anywhere, it is done
/// again from its beginning.
fn copy_over(
    connection: &mut Connection,
    endpoint: &Endpoint,
    (staged, namespace): (&Planned, &str),
) -> Result<(), MoverError> {
    let (database, name) = namespace.split_once('.').unwrap_or((namespace, ""));
    drop_if_there(connection, (database, name))?;
    let mut create = bson::doc! { "create": name };
    create.extend(options_of(connection, (&staged.database, &staged.name))?);
    connection.command(database, create)?;
    copy_documents((connection, endpoint), staged, (database, bson::doc! { "insert": name }))?;
    let indexes = list_indexes(connection, &staged.database, &staged.name)?;
    let indexes = wanted_indexes(&indexes);
    if !indexes.is_empty() {
        connection.command(database, bson::doc! { "createIndexes": name, "indexes": indexes })?;
    }
    drop_if_there(connection, (&staged.database, &staged.name))
}

/// Copies what is staged with this command. Fewer documents than were staged are not what was staged.
fn copy_documents(
    (connection, endpoint): (&mut Connection, &Endpoint),
    staged: &Planned,
    (database, mut insert): (&str, Document),
) -> Result<(), MoverError> {
    insert.extend(bson::doc! { "ordered": true, "bypassDocumentValidation": true });
    let mut to = Connection::open(endpoint)?;
    if keeps_empty_timestamps(&mut to, (&staged.database, &staged.name))? {
        insert.insert("bypassEmptyTsReplacement", true);
    }
    let (mut batch, mut documents) = (Vec::new(), 0);
    let read = bson::doc! { "find": &staged.name };
    connection.for_each(&staged.database, read, |document| {
        documents += 1;
        batch.extend_from_slice(document.as_bytes());
        if batch.len() < COPY_BYTES {
            return Ok(());
        }
        let full = std::mem::take(&mut batch);
        Ok::<_, MoverError>(to.write_run(database, insert.clone(), ("documents", &full))?)
    })?;
    if !batch.is_empty() {
        to.write_run(database, insert, ("documents", &batch))?;
    }
    if staged.documents.is_some_and(|staged| staged != documents) {
        return Err(MoverError::StageLost);
    }
    Ok(())
}

/// Puts what no server renames into its place, unless that was done.
fn copy_once(
    connection: &mut Connection,
    target: (&Endpoint, &Abilities),
    (staged, namespace): (&Planned, &str),
    (is_waiting, there): (bool, Option<&CollectionListing>),
) -> Result<(), MoverError> {
    // Of stored functions nothing may be left to see, where there are none.
    let is_done = staged.series.is_none() || there.is_some_and(|there| staged.is(there));
    if !is_waiting && is_done {
        return Ok(());
    }
    if !is_there(connection, (&staged.database, &staged.name))? {
        return Err(MoverError::StageLost);
    }
    copy_into(connection, target, (staged, namespace))
}

/// Puts what is staged into a collection of the server's own: the buckets of a time series, or stored
/// functions. What is staged goes last: cut anywhere, it is done again from its beginning.
fn copy_into(
    connection: &mut Connection,
    (endpoint, abilities): (&Endpoint, &Abilities),
    (staged, namespace): (&Planned, &str),
) -> Result<(), MoverError> {
    let (database, name) = namespace.split_once('.').unwrap_or((namespace, ""));
    clear(connection, (database, name))?;
    match &staged.series {
        None => copy_documents(
            (connection, endpoint),
            staged,
            (database, bson::doc! { "insert": name }),
        )?,
        Some(series) => {
            make_series(connection, (database, name), series)?;
            let insert = || insert_of_buckets(abilities, name);
            match copy_documents((connection, endpoint), staged, (database, insert())) {
                // As `mongorestore` does: nobody says beforehand which buckets those are.
                Err(error) if error.code() == Some(MIXED_SCHEMA) => {
                    clear(connection, (database, name))?;
                    make_series(connection, (database, name), series)?;
                    let allow = bson::doc! {
                        "collMod": name, "timeseriesBucketsMayHaveMixedSchemaData": true,
                    };
                    connection.command(database, allow)?;
                    copy_documents((connection, endpoint), staged, (database, insert()))?;
                }
                outcome => outcome?,
            }
        }
    }
    drop_if_there(connection, (&staged.database, &staged.name))
}

/// Makes an empty time series with its indexes: what the server does not take of them, it says before
/// anything is in it.
fn make_series(
    connection: &mut Connection,
    (database, name): (&str, &str),
    series: &Series,
) -> Result<(), MoverError> {
    let mut create = bson::doc! { "create": name };
    create.extend(series.options.clone());
    connection.command(database, create)?;
    if !series.indexes.is_empty() {
        let create = bson::doc! { "createIndexes": name, "indexes": series.indexes.clone() };
        connection.command(database, create)?;
    }
    Ok(())
}

/// The command that inserts buckets into a time series.
fn insert_of_buckets(abilities: &Abilities, name: &str) -> Document {
    if abilities.has_raw_data() {
        bson::doc! { "insert": name, "rawData": true }
    } else {
        bson::doc! { "insert": buckets_of(name) }
    }
}

/// Makes a time series of these options and indexes, puts a bucket of `from` into it and removes it
/// again: what the swap does is tried before the target is touched.
pub(super) fn try_series(
    connection: &mut Connection,
    (database, from): (&str, &str),
    (options, indexes): (&Document, Vec<Bson>),
) -> Result<(), MoverError> {
    let name = format!("{from}t");
    drop_if_there(connection, (database, &name))?;
    let abilities = probe(connection)?;
    make_series(connection, (database, &name), &Series { options: options.clone(), indexes })?;
    let mut bucket = None;
    let read = bson::doc! { "find": from, "limit": 1, "singleBatch": true };
    connection.for_each(database, read, |document| {
        bucket = Some(document.as_bytes().to_vec());
        Ok::<_, MoverError>(())
    })?;
    if let Some(bucket) = bucket {
        let mut insert = insert_of_buckets(&abilities, &name);
        insert.insert("bypassDocumentValidation", true);
        match connection.write_run(database, insert, ("documents", &bucket)) {
            Err(error) if error.code() == Some(MIXED_SCHEMA) => {}
            outcome => outcome?,
        }
    }
    drop_if_there(connection, (database, &name))
}

/// Removes a collection, if it is there; of stored functions, which no server drops, every document.
fn clear(connection: &mut Connection, (database, name): (&str, &str)) -> Result<(), MoverError> {
    if name != STORED_FUNCTIONS {
        return drop_if_there(connection, (database, name));
    }
    let all = vec![bson::doc! { "q": {}, "limit": 0 }];
    Ok(connection.command(database, bson::doc! { "delete": name, "deletes": all }).map(drop)?)
}

/// Bytes of documents that are copied at a time.
const COPY_BYTES: usize = 4 << 20;

/// The options of a collection.
fn options_of(
    connection: &mut Connection,
    (database, name): (&str, &str),
) -> Result<Document, MoverError> {
    let mut options = Document::new();
    connection.for_each(database, bson::doc! { "listCollections": 1 }, |collection| {
        if collection.get_str("name").is_ok_and(|there| there == name)
            && let Ok(found) = collection.get_document("options")
        {
            options = Document::try_from(found).map_err(|error| MoverError::Unsupported {
                what: format!("the options of {database}.{name} ({error})"),
            })?;
        }
        Ok::<_, MoverError>(())
    })?;
    Ok(options)
}

/// Makes a view anew, whatever has its name.
fn make_view(
    connection: &mut Connection,
    namespace: &str,
    options: &Document,
) -> Result<(), MoverError> {
    let (database, name) = namespace.split_once('.').unwrap_or((namespace, ""));
    drop_if_there(connection, (database, name))?;
    let mut create = bson::doc! { "create": name };
    create.extend(options.clone());
    Ok(connection.command(database, create).map(drop)?)
}

/// CannotInsertTimeseriesBucketsWithMixedSchema.
const MIXED_SCHEMA: i32 = 408;
/// NotImplemented, CommandNotSupported, CommandNotSupportedOnView, NamespaceExists.
const CANNOT_REPLACE: &[i32] = &[238, 115, 166, 48];
const DUPLICATE_KEY: i32 = 11_000;
/// CommandNotFound, InvalidNamespace, CommandNotSupported, NotImplemented.
const CANNOT_RENAME: &[i32] = &[59, 73, 115, 238];

fn drop_if_there(
    connection: &mut Connection,
    (database, name): (&str, &str),
) -> Result<(), MoverError> {
    const NAMESPACE_NOT_FOUND: i32 = 26;
    match connection.command(database, bson::doc! { "drop": name }) {
        Err(error) if error.code() == Some(NAMESPACE_NOT_FOUND) => Ok(()),
        // Some servers refuse it without a code.
        Err(error) if error.code() == Some(0) && !is_there(connection, (database, name))? => Ok(()),
        outcome => Ok(outcome.map(drop)?),
    }
}

fn is_there(
    connection: &mut Connection,
    (database, name): (&str, &str),
) -> Result<bool, MoverError> {
    let mut is_there = false;
    let command = bson::doc! { "listCollections": 1, "nameOnly": true };
    connection.for_each(database, command, |collection| {
        is_there |= collection.get_str("name").is_ok_and(|there| there == name);
        Ok::<_, MoverError>(())
    })?;
    Ok(is_there)
}

/// Whether a namespace is that of the records.
pub(crate) fn is_record_of_swaps(namespace: &str) -> bool {
    Names::is_records(namespace)
}

/// Makes the collection of records, unless it is there.
pub(super) fn prepare_records(connection: &mut Connection, names: Names) -> Result<(), MoverError> {
    const NAMESPACE_EXISTS: i32 = 48;
    match connection.command(MARKER_DATABASE, bson::doc! { "create": names.records() }) {
        Err(error) if error.code() == Some(NAMESPACE_EXISTS) => Ok(()),
        outcome => Ok(outcome.map(drop)?),
    }
}

/// Whether the swap of a job is on record.
fn has_record(
    connection: &mut Connection,
    (names, job): (Names, &str),
) -> Result<bool, MoverError> {
    let mut found = false;
    let command = bson::doc! { "find": names.records(), "filter": { "_id": job } };
    connection.for_each(MARKER_DATABASE, command, |_| {
        found = true;
        Ok::<_, MoverError>(())
    })?;
    Ok(found)
}

/// Whether the swap of a job has happened.
pub fn was_swapped(endpoint: &Endpoint, job: &str) -> Result<bool, MoverError> {
    has_record(&mut Connection::open(endpoint)?, (Names::on(endpoint), job))
}

/// Removes the record of a job that is over, and the collection of records with the last one, unless another
/// job is about to write one.
pub fn forget_swap(endpoint: &Endpoint, job: &str) -> Result<(), MoverError> {
    const NAMESPACE_NOT_FOUND: i32 = 26;
    let (mut connection, records) = (Connection::open(endpoint)?, Names::on(endpoint).records());
    // Another job that is on its way has its marker before it has its record, and both for a moment: looked
    // for in this order, one of the two is seen (`a_record_stays_while_another_job_is_on_its_way`).
    let staged = stages_in(&mut connection, MARKER_DATABASE)?;
    let is_others = |name: &&String| name.ends_with(MARKER) && job_of(name) != Some(job);
    let mut others = staged.iter().filter(is_others).count();
    connection.for_each(MARKER_DATABASE, bson::doc! { "find": &records }, |record| {
        others += usize::from(record.get_str("_id").is_ok_and(|other| other != job));
        Ok::<_, MoverError>(())
    })?;
    let command = if others == 0 {
        bson::doc! { "drop": records }
    } else {
        let deletes = vec![bson::doc! { "q": { "_id": job }, "limit": 1 }];
        bson::doc! { "delete": records, "deletes": deletes }
    };
    match connection.command(MARKER_DATABASE, command) {
        Err(error) if error.code() == Some(NAMESPACE_NOT_FOUND) => Ok(()),
        outcome => Ok(outcome.map(drop)?),
    }
}

/// What a swap leads to.
#[derive(Default)]
struct SwapPlan {
    /// Staging collections by the namespaces that they will have.
    collections: BTreeMap<String, Planned>,
    /// The options of views.
    views: BTreeMap<String, Document>,
    /// Whether what the target has beside them stays.
    keeps_others: bool,
    /// Whether documents may be replaced where they are, where nothing can be renamed.
    replaces_in_place: bool,
}

impl SwapPlan {
    fn has(&self, namespace: &str) -> bool {
        self.collections.contains_key(namespace) || self.views.contains_key(namespace)
    }
}

/// A staging collection in a plan.
pub(super) struct Planned {
    pub(super) database: String,
    pub(super) name: String,
    /// Its UUID, where the deployment has them: a collection keeps it when it is renamed.
    pub(super) uuid: Option<Binary>,
    /// The time series that it will be.
    series: Option<Series>,
    /// How many documents it holds, where that was written down.
    documents: Option<i64>,
}

/// A time series that will be made.
struct Series {
    options: Document,
    /// Its indexes, as users see them.
    indexes: Vec<Bson>,
}

impl Planned {
    fn namespace(&self) -> String {
        format!("{}.{}", self.database, self.name)
    }

    /// Whether its documents are copied, where others are renamed.
    fn is_copied(&self, namespace: &str) -> bool {
        self.series.is_some() || is_functions(namespace)
    }

    /// Whether a collection is this one under its new name. Without UUIDs that cannot be seen, nor of
    /// what is copied.
    fn is(&self, there: &CollectionListing) -> bool {
        if self.series.is_some() || is_functions(&there.namespace()) {
            return self.series.is_some() == there.is_time_series();
        }
        match (&self.uuid, &there.uuid) {
            (Some(staged), Some(there)) => staged == there,
            (None, _) | (_, None) => true,
        }
    }
}

/// Which staging collection, by database and name, becomes what, and which attempt staged it.
fn load_plan(
    connection: &mut Connection,
    (names, job): (Names, &str),
) -> Result<(Attempt, SwapPlan), MoverError> {
    let marked = stages_in(connection, MARKER_DATABASE)?;
    let numbers = marked.iter().filter_map(|name| names.number_of_marker(job, name));
    let numbers: Vec<i64> = numbers.collect();
    for number in numbers {
        let attempt = Attempt { job: job.to_owned(), number };
        let mut plan = SwapPlan::default();
        let mut is_sealed = false;
        connection.for_each(
            MARKER_DATABASE,
            bson::doc! { "find": names.marker(&attempt) },
            |row| {
                is_sealed |= row.get_bool("sealed").unwrap_or(false);
                plan.keeps_others |= row.get_bool("keepsOthers").unwrap_or(false);
                plan.replaces_in_place |= row.get_bool("replacesInPlace").unwrap_or(false);
                if let (Ok(id), Ok(database), Ok(name)) =
                    (row.get_str("_id"), row.get_str("database"), row.get_str("name"))
                {
                    let uuid = row.get_binary("uuid").ok().map(|uuid| uuid.to_binary());
                    let (database, name) = (database.to_owned(), name.to_owned());
                    let series = series_in(row)?;
                    let documents = row.get_i64("documents").ok();
                    let planned = Planned { database, name, uuid, series, documents };
                    plan.collections.insert(id.to_owned(), planned);
                }
                if let (Ok(id), Ok(options)) = (row.get_str("_id"), row.get_document("view"))
                    && let Ok(options) = Document::try_from(options)
                {
                    plan.views.insert(id.to_owned(), options);
                }
                Ok::<_, MoverError>(())
            },
        )?;
        if is_sealed {
            return Ok((attempt, plan));
        }
    }
    Err(MoverError::StageLost)
}

/// The time series that a row of a plan makes.
fn series_in(row: &RawDocument) -> Result<Option<Series>, MoverError> {
    let Ok(options) = row.get_document("timeSeries") else { return Ok(None) };
    let unreadable = |_| MoverError::StageLost;
    let options = Document::try_from(options).map_err(unreadable)?;
    let mut indexes = Vec::new();
    for index in row.get_array("indexes").into_iter().flatten() {
        let index =
            index.ok().and_then(bson::RawBsonRef::as_document).ok_or(MoverError::StageLost)?;
        indexes.push(Bson::Document(Document::try_from(index).map_err(unreadable)?));
    }
    Ok(Some(Series { options, indexes }))
}

fn command_entry(database: &str, command: Document) -> Document {
    bson::doc! { "op": "c", "ns": format!("{database}.$cmd"), "o": command }
}

/// The UUIDs of what restores staged in a database, by name; none where there are no UUIDs.
pub(super) fn uuids_in(
    connection: &mut Connection,
    database: &str,
) -> Result<BTreeMap<String, Binary>, MoverError> {
    let mut uuids = BTreeMap::new();
    connection.for_each(database, bson::doc! { "listCollections": 1 }, |collection| {
        let name = collection.get_str("name").unwrap_or_default();
        let info = collection.get_document("info").ok();
        if is_stage(name)
            && let Some(uuid) = info.and_then(|info| info.get_binary("uuid").ok())
        {
            uuids.insert(name.to_owned(), uuid.to_binary());
        }
        Ok::<_, MoverError>(())
    })?;
    Ok(uuids)
}

/// The names of a database's collections that restores staged.
fn stages_in(connection: &mut Connection, database: &str) -> Result<Vec<String>, MoverError> {
    let mut names = Vec::new();
    let command = bson::doc! { "listCollections": 1, "nameOnly": true };
    connection.for_each(database, command, |collection| {
        let name = collection.get_str("name").unwrap_or_default();
        if is_stage(name) {
            names.push(name.to_owned());
        }
        Ok::<_, MoverError>(())
    })?;
    Ok(names)
}

/// Everything that restores staged on a deployment, by database and name.
fn all_stages(connection: &mut Connection) -> Result<Vec<(String, String)>, MoverError> {
    let reply = connection.command("admin", bson::doc! { "listDatabases": 1, "nameOnly": true })?;
    let databases = reply.get_array("databases").map_err(|_| LinkError::Protocol {
        address: "the deployment".to_owned(),
        reason: "listDatabases answers no databases".to_owned(),
    })?;
    let mut stages = Vec::new();
    for database in databases {
        let Some(database) = database.as_document().and_then(|d| d.get_str("name").ok()) else {
            continue;
        };
        if database != "local" {
            let names = stages_in(connection, database)?;
            stages.extend(names.into_iter().map(|name| (database.to_owned(), name)));
        }
    }
    Ok(stages)
}

/// Where stages are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Where every stage has its marker, from its first moment to its last.
    AtMarkers,
    /// In every database: a worker that lost its job may have staged without a marker.
    Everywhere,
}

/// The jobs that have something staged on a deployment, or a swap on record.
pub fn list_stages(endpoint: &Endpoint, look: Look) -> Result<Vec<String>, MoverError> {
    let mut connection = Connection::open(endpoint)?;
    let names = match look {
        Look::AtMarkers => stages_in(&mut connection, MARKER_DATABASE)?,
        Look::Everywhere => {
            all_stages(&mut connection)?.into_iter().map(|(_, name)| name).collect()
        }
    };
    let mut jobs: Vec<String> =
        names.iter().filter_map(|name| job_of(name)).map(str::to_owned).collect();
    let records = Names::on(endpoint).records();
    if names.contains(&records) {
        connection.for_each(MARKER_DATABASE, bson::doc! { "find": records }, |record| {
            jobs.extend(record.get_str("_id").ok().map(str::to_owned));
            Ok::<_, MoverError>(())
        })?;
    }
    jobs.sort();
    jobs.dedup();
    Ok(jobs)
}

/// Removes the staging collections of all attempts at a job, wherever they are; markers go last.
pub fn discard_stage(endpoint: &Endpoint, job: &str) -> Result<(), MoverError> {
    discard(endpoint, &Names::on(endpoint).of_job(job))
}

/// Removes what one attempt at a job staged, and leaves other attempts alone.
pub fn discard_attempt(endpoint: &Endpoint, attempt: &Attempt) -> Result<(), MoverError> {
    discard(endpoint, &Names::on(endpoint).of_attempt(attempt))
}

fn discard(endpoint: &Endpoint, prefix: &str) -> Result<(), MoverError> {
    let mut connection = Connection::open(endpoint)?;
    let mut leftovers = all_stages(&mut connection)?;
    leftovers.retain(|(_, name)| name.starts_with(prefix));
    // What waits aside is the target's own until the swap is on record.
    let job = job_of(prefix).unwrap_or_default().to_owned();
    if leftovers.iter().any(|(_, name)| is_aside(name))
        && !has_record(&mut connection, (Names::on(endpoint), &job))?
    {
        tracing::error!(job, "a collection of the target waits aside; it is kept under its name");
        leftovers.retain(|(_, name)| !is_aside(name));
    }
    leftovers.sort_by_key(|(_, name)| name.ends_with(MARKER));
    // Several may tidy up after a job at once: the worker that has done it, and the one that lost it.
    for (database, name) in leftovers {
        drop_if_there(&mut connection, (&database, &name))?;
    }
    Ok(())
}

fn is_aside(name: &str) -> bool {
    name.rsplit(['.', '_']).next().is_some_and(|last| last.starts_with(ASIDE))
}
