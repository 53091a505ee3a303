//! One fetch of a feed: what the server says lies in a file afterwards, if it says anything new.

use std::{
    io::{self, BufWriter},
    path::Path,
    time::Duration,
};

use anyhow::Result;
use hyper::{
    StatusCode,
    header::{ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED},
};
use tempfile::NamedTempFile;
use tokio::{runtime, time::timeout};
use tracing::debug;
use url::Url;

use super::{
    body::{Most, write},
    failure::Failure,
    kept::{Fetched, Kept, Validators},
    remote::Outcome,
    request::{Requests, good, header_text},
    taxii,
};
use crate::intel::settings::{FeedSettings, Source};

/// How long a fetch may take, however steadily its server speaks.
const LONGEST: Duration = Duration::from_mins(10);

/// A longer validator is not kept.
const LONGEST_VALIDATOR: usize = 1024;

/// Fetches a feed. If that `is_conditional`, what is kept is not sent once more. Takes its time: for a thread of its own.
pub(super) fn fetch(
    name: &str,
    settings: &FeedSettings,
    state: &Path,
    is_conditional: bool,
) -> Result<Outcome, Failure> {
    let kept = Kept::new(state, name);
    block_on(async {
        let (source, url) = remote(settings)?;
        let requests = requests(name, settings, url)?;
        if let Err(error) = kept.ask(url) {
            debug!(feed = name, reason = %error, "an agent that is started now would ask again");
        }
        let known = known(&kept, url, is_conditional);
        match source {
            Source::Taxii(_) => taxii::collection(&requests, url, &known, &kept).await,
            Source::Url(_) | Source::File(_) => document(&requests, url, &known, &kept).await,
        }
    })
}

/// Whether the server of a feed has something to say, of which nothing is taken; why not.
pub fn reach(name: &str, settings: &FeedSettings) -> Result<(), String> {
    let answer = block_on(async {
        let (source, url) = remote(settings)?;
        let requests = requests(name, settings, url)?;
        match source {
            Source::Taxii(_) => taxii::reach(&requests, url).await,
            Source::Url(_) | Source::File(_) => requests.get(url, &HeaderMap::new()).await.and_then(good).map(drop),
        }
    });
    answer.map_err(Failure::into_reason)
}

/// Whether the files that a feed's settings name can be read. Nobody is asked.
pub fn check(name: &str, settings: &FeedSettings) -> Result<()> {
    match settings.source() {
        Some(Source::Url(url) | Source::Taxii(url)) => Requests::new(name, settings, url).map(drop),
        Some(Source::File(_)) | None => Ok(()),
    }
}

fn remote(settings: &FeedSettings) -> Result<(Source<'_>, &Url), Failure> {
    match settings.source() {
        Some(source @ (Source::Url(url) | Source::Taxii(url))) => Ok((source, url)),
        Some(Source::File(_)) | None => Err(Failure::Refused("it is none that is fetched".to_owned())),
    }
}

fn requests(name: &str, settings: &FeedSettings, url: &Url) -> Result<Requests, Failure> {
    Requests::new(name, settings, url).map_err(|error| Failure::Refused(format!("{error:#}")))
}

/// Does the work within a runtime of its own, for as long as it may take.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Later(error.to_string()))?;
    let result = runtime.block_on(async { timeout(LONGEST, work).await });
    // A name that is being looked up is not waited for.
    runtime.shutdown_background();
    result.unwrap_or_else(|_| Err(Failure::Later(format!("it took more than {LONGEST:?}"))))
}

/// How to ask whether what is kept is still so.
fn known(kept: &Kept, url: &Url, is_conditional: bool) -> Validators {
    let document = kept.open(url).ok().flatten().filter(|_| is_conditional);
    document.map(|document| document.validators).unwrap_or_default()
}

/// Fetches a single document.
async fn document(requests: &Requests, url: &Url, known: &Validators, kept: &Kept) -> Result<Outcome, Failure> {
    let mut headers = HeaderMap::new();
    for (name, validator) in [(IF_NONE_MATCH, &known.etag), (IF_MODIFIED_SINCE, &known.modified)] {
        let value = validator.as_deref().and_then(|text| HeaderValue::try_from(text).ok());
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
    let answer = requests.get(url, &headers).await?;
    if answer.status() == StatusCode::NOT_MODIFIED && !headers.is_empty() {
        return Ok(Outcome::Unchanged);
    }
    let answer = good(answer)?;
    let validators = Validators {
        etag: validator(answer.headers(), ETAG),
        modified: validator(answer.headers(), LAST_MODIFIED),
        added: None,
    };
    let mut file = begin(kept)?;
    write(answer, requests.most(), &mut file).await?;
    end(file, validators, requests.most())
}

/// What a server may be asked by, in the words of its answer.
pub(super) fn validator(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let text = header_text(headers, name).filter(|text| text.len() <= LONGEST_VALIDATOR)?;
    Some(text.to_owned())
}

/// A new file for what is fetched.
pub(super) fn begin(kept: &Kept) -> Result<BufWriter<NamedTempFile>, Failure> {
    let cannot = |error: io::Error| Failure::Later(format!("it cannot be written down: {error}"));
    kept.begin().map(BufWriter::new).map_err(cannot)
}

/// All of it is there.
pub(super) fn end(file: BufWriter<NamedTempFile>, validators: Validators, most: Most) -> Result<Outcome, Failure> {
    let file = file.into_inner().map_err(|error| most.failure(error.error()))?;
    Ok(Outcome::New(Fetched { file, validators }))
}

#[cfg(test)]
mod tests;
