//! A collection of a TAXII 2.1 server: its pages become one bundle of STIX, which is read as any other.
//!
//! Servers know no `ETag`. By what was added after the last object of the former fetch it is seen whether there is anything
//! new; if so, all is fetched once more, since what is no longer there or has a later version is told in no other way.

use std::io::Write;

use hyper::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::value::RawValue;
use url::Url;

use super::{
    body::{Limited, write},
    failure::Failure,
    fetch::{begin, end, validator},
    kept::{Kept, Validators},
    remote::Outcome,
    request::{Requests, good},
};

/// A page.
#[derive(Deserialize)]
struct Envelope<'a> {
    /// Whether another follows.
    #[serde(default)]
    more: bool,
    /// How that one is asked for.
    next: Option<String>,
    #[serde(borrow, default)]
    objects: Vec<&'a RawValue>,
}

const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/taxii+json;version=2.1");

/// When the last object of a page was added.
const ADDED_LAST: HeaderName = HeaderName::from_static("x-taxii-date-added-last");

/// A server that gives more pages gives them for ever.
const MOST_PAGES: usize = 20_000;

/// Fetches a collection.
pub(super) async fn collection(
    requests: &Requests,
    url: &Url,
    known: &Validators,
    kept: &Kept,
) -> Result<Outcome, Failure> {
    let url = objects(url);
    if let Some(added) = &known.added {
        let (text, _) = page(requests, &url, &[("added_after", added), ("limit", "1")]).await?;
        let newer = parse(&text)?;
        if newer.objects.is_empty() && !newer.more {
            return Ok(Outcome::Unchanged);
        }
    }
    let most = requests.most().of_document();
    let bundle = Limited::new(begin(kept)?, most);
    let mut added = None;
    let mut pages = Pages::new(bundle).map_err(|error| most.failure(&error))?;
    let mut query = None;
    for _ in 0..MOST_PAGES {
        let asked: Vec<_> = query
            .iter()
            .map(|(name, value): &(_, String)| (*name, value.as_str()))
            .collect();
        let (text, last) = page(requests, &url, &asked).await?;
        let Envelope { more, next, objects } = parse(&text)?;
        pages.add(&objects).map_err(|error| most.failure(&error))?;
        added = last.or(added);
        let following = match (more, next, &added) {
            (false, ..) => {
                let bundle = pages.end().map_err(|error| most.failure(&error))?;
                let validators = Validators {
                    added,
                    ..Validators::default()
                };
                return end(bundle.into_inner(), validators, most);
            }
            (true, Some(next), _) => ("next", next),
            (true, None, Some(added)) => ("added_after", added.clone()),
            (true, None, None) => {
                return Err(Failure::Refused(
                    "a page does not say how to ask for the next".to_owned(),
                ));
            }
        };
        if query.as_ref() == Some(&following) {
            return Err(Failure::Refused("a page is followed by itself".to_owned()));
        }
        query = Some(following);
    }
    Err(Failure::Refused(format!("it has more than {MOST_PAGES} pages")))
}

/// Whether the server has something to say.
pub(super) async fn reach(requests: &Requests, url: &Url) -> Result<(), Failure> {
    let (text, _) = page(requests, &objects(url), &[("limit", "1")]).await?;
    parse(&text).map(drop)
}

/// The bundle that pages become; `None` where one of them is none. For who looks whether some break the reader
/// (`cargo xtask fuzz`).
pub fn bundle_of_pages(texts: &[&[u8]]) -> Option<Vec<u8>> {
    let mut pages = Pages::new(Vec::new()).ok()?;
    for text in texts {
        pages.add(&parse(text).ok()?.objects).ok()?;
    }
    pages.end().ok()
}

/// Where a collection's objects are.
fn objects(collection: &Url) -> Url {
    let mut url = collection.clone();
    let path = collection.path().trim_end_matches('/');
    let path = path.strip_suffix("/objects").unwrap_or(path);
    url.set_path(&format!("{path}/objects/"));
    url
}

/// Asks for a page, and gives it with when its last object was added.
async fn page(requests: &Requests, url: &Url, query: &[(&str, &str)]) -> Result<(Vec<u8>, Option<String>), Failure> {
    let mut url = url.clone();
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    let headers = HeaderMap::from_iter([(ACCEPT, MEDIA_TYPE)]);
    let answer = good(requests.get(&url, &headers).await?)?;
    let added = validator(answer.headers(), ADDED_LAST);
    let mut text = Vec::new();
    // A page is in memory while it is taken apart, and its bundle while that is read.
    write(answer, requests.most().of_document(), &mut text).await?;
    Ok((text, added))
}

fn parse(text: &[u8]) -> Result<Envelope<'_>, Failure> {
    serde_json::from_slice(text).map_err(|error| Failure::Refused(format!("it is no page of TAXII 2.1: {error}")))
}

/// The bundle as it grows.
struct Pages<W> {
    out: W,
    is_first: bool,
}

impl<W: Write> Pages<W> {
    fn new(mut out: W) -> std::io::Result<Self> {
        out.write_all(b"{\"type\":\"bundle\",\"objects\":[")?;
        Ok(Self { out, is_first: true })
    }

    fn add(&mut self, objects: &[&RawValue]) -> std::io::Result<()> {
        for object in objects {
            if !std::mem::take(&mut self.is_first) {
                self.out.write_all(b",\n")?;
            }
            self.out.write_all(object.get().as_bytes())?;
        }
        Ok(())
    }

    fn end(mut self) -> std::io::Result<W> {
        self.out.write_all(b"]}")?;
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collection_is_named_with_or_without_its_objects() {
        for text in [
            "https://x.example/api/collections/7",
            "https://x.example/api/collections/7/objects/",
        ] {
            let found = objects(&text.parse().unwrap());
            assert_eq!(found.as_str(), "https://x.example/api/collections/7/objects/");
        }
    }

    #[test]
    fn pages_become_one_bundle() {
        let texts = [
            r#"{"more": true, "next": "1", "objects": [{"a": 1}, {"b": 2}]}"#,
            "{}",
            r#"{"objects": [3]}"#,
        ];
        let bundle = bundle_of_pages(&texts.map(str::as_bytes)).unwrap();
        let bundle: serde_json::Value = serde_json::from_slice(&bundle).unwrap();
        assert_eq!(bundle["objects"], serde_json::json!([{"a": 1}, {"b": 2}, 3]));
        assert!(parse(b"<html>").is_err());
    }
}
