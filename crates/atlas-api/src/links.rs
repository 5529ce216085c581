//! Links, in the recorded order and form.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Value, json};
use tidemark_catalog::Paged;

use crate::answer::{Answer, Content};
use crate::call::Call;
use crate::error::Result;

/// What stays as it is in a path or a query: letters, digits and `-._~`.
pub(crate) const ENCODED: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A link.
pub(crate) fn link(href: String, rel: &str) -> Value {
    json!({ "href": href, "rel": rel })
}

/// A link to a part of a resource.
pub(crate) fn part_link(href: String, part: &str) -> Value {
    link(href, &format!("https://cloud.mongodb.com/{part}"))
}

/// A link, as it is written.
#[derive(Debug, Serialize)]
pub(crate) struct Link {
    href: String,
    rel: Cow<'static, str>,
}

impl Link {
    pub(crate) fn new(href: String, rel: &'static str) -> Self {
        Self { href, rel: rel.into() }
    }

    /// To a part of a resource.
    pub(crate) fn part(href: String, part: &str) -> Self {
        Self { href, rel: format!("https://cloud.mongodb.com/{part}").into() }
    }
}

/// A list as it is written.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<T> {
    links: Vec<Link>,
    results: Vec<T>,
    total_count: u64,
}

/// A list whose results are written as they are, without a tree in between.
pub(crate) fn written_list<'a, T, D: Serialize>(
    call: &Call<'_>,
    paged: &'a Paged<T>,
    describe: impl Fn(&'a T) -> D,
) -> Result<Answer> {
    let (links, total_count) = links_of(call, paged.total)?;
    let results = paged.items.iter().map(describe).collect();
    Content::of(&List { links, results, total_count }).map(Answer::list)
}

/// The body of a list: links, results, the count.
pub(crate) fn list_body<T>(
    call: &Call<'_>,
    paged: &Paged<T>,
    describe: impl Fn(&T) -> Value,
) -> Result<Value> {
    let items = paged.items.iter().map(describe).collect();
    list_of(call, Paged { items, total: paged.total })
}

/// The body of a list whose results are described already.
pub(crate) fn list_of(call: &Call<'_>, paged: Paged<Value>) -> Result<Value> {
    let (links, total) = links_of(call, paged.total)?;
    Ok(json!({ "links": links, "results": paged.items, "totalCount": total }))
}

/// The links of a list with so many items on all pages, and the count that is told.
fn links_of(call: &Call<'_>, total: u64) -> Result<(Vec<Link>, u64)> {
    let page = call.page()?;
    let counts = call.query_flag("includeCount", true)?;
    let url = format!("{}{}", call.base_url, call.path);
    let others = call
        .query
        .iter()
        .filter(|(name, _)| name != "pageNum" && name != "itemsPerPage")
        .fold(String::new(), |text, (name, value)| {
            text + &encode(name) + "=" + &encode(value) + "&"
        });
    // The page comes first in the link to itself and last in the links to others.
    let here = format!("{url}?{others}pageNum={}&itemsPerPage={}", page.number, page.size);
    let there = |number: u64| format!("{url}?{others}itemsPerPage={}&pageNum={number}", page.size);
    let mut links = vec![Link::new(here, "self")];
    if page.number > 1 {
        links.push(Link::new(there(page.number - 1), "previous"));
    }
    if counts && total > page.number.saturating_mul(page.size) {
        links.push(Link::new(there(page.number + 1), "next"));
    }
    Ok((links, if counts { total } else { 0 }))
}

fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, ENCODED).to_string()
}
