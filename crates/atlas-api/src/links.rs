//! Links, in the recorded order and form.

use serde_json::{Value, json};
use tidemark_catalog::Paged;

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
    let mut links = vec![link(here, "self")];
    if page.number > 1 {
        links.push(link(there(page.number - 1), "previous"));
    }
    if counts && paged.total > page.number.saturating_mul(page.size) {
        links.push(link(there(page.number + 1), "next"));
    }
    let total = if counts { paged.total } else { 0 };
    Ok(json!({ "links": links, "results": paged.items, "totalCount": total }))
}

fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, ENCODED).to_string()
}
