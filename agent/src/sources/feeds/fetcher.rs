//! When feeds are fetched: on their schedule, sooner after a failure, at once when somebody says so. Each fetch has a thread
//! of its own for as long as it takes, so that it holds up neither an event nor another feed.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tracing::warn;

use super::{GAVE_UP, contained, failure::Failure, fetch::fetch, remote::Outcome};
use crate::intel::{
    Feed, Intel,
    settings::{FeedSettings, Feeds},
};

/// The first rest after a failure; each further one is twice as long, until the schedule's is reached.
const REST: Duration = Duration::from_secs(2);

/// How long a server has its peace after it was asked in vain, however often the agent is started.
const PEACE: Duration = Duration::from_mins(1);

/// So many failures in a row are worth an alert: a server that is started anew is none.
const TOLD: u32 = 3;

/// Who fetches.
pub(super) struct Fetcher {
    state: PathBuf,
    feeds: BTreeMap<String, Remote>,
    done: (mpsc::Sender<Done>, mpsc::Receiver<Done>),
    /// By this number a fetch is known from one of former settings.
    last_fetch: u64,
}

/// A feed that is fetched.
struct Remote {
    settings: FeedSettings,
    due: Instant,
    /// The number of the fetch that goes on.
    running: Option<u64>,
    /// How often it failed in a row.
    failures: u32,
    /// Somebody wants it fetched while a fetch goes on, which may have begun too early.
    again: bool,
}

/// What came of a fetch.
pub(super) struct News {
    /// The feed's name.
    pub(super) name: String,
    /// By which settings it was fetched.
    pub(super) settings: FeedSettings,
    pub(super) result: Result<Outcome, Failure>,
    /// It failed so often that it is worth telling.
    pub(super) is_told: bool,
}

struct Done {
    name: String,
    number: u64,
    result: Result<Outcome, Failure>,
}

impl Fetcher {
    pub(super) fn new(state: &Path) -> Self {
        Self {
            state: state.to_owned(),
            feeds: BTreeMap::new(),
            done: mpsc::channel(1),
            last_fetch: 0,
        }
    }

    /// Fetches these feeds from now on, each when what is in force of it is old enough.
    pub(super) fn configure(&mut self, settings: &Feeds, in_force: &Intel) {
        let mut before = std::mem::take(&mut self.feeds);
        for (name, settings) in settings.iter().filter(|(_, settings)| settings.is_fetched()) {
            let same = before.remove(name).filter(|before| before.settings == *settings);
            let remote = same.unwrap_or_else(|| Remote {
                settings: settings.clone(),
                due: first(settings, find(in_force, name)),
                running: None,
                failures: 0,
                again: false,
            });
            self.feeds.insert(name.clone(), remote);
        }
    }

    /// Fetches all of them now.
    pub(super) fn hurry(&mut self) {
        let now = Instant::now();
        for remote in self.feeds.values_mut() {
            remote.due = now;
            remote.again = remote.running.is_some();
        }
    }

    /// Waits until a fetch has ended, and starts those that are due meanwhile. Nothing is lost when it is not waited for
    /// any more.
    pub(super) async fn next(&mut self, in_force: &Intel) -> News {
        loop {
            let idle = self.feeds.iter().filter(|(_, remote)| remote.running.is_none());
            let next = idle.min_by_key(|(_, remote)| remote.due);
            let next = next.map(|(name, remote)| (name.clone(), remote.due));
            let due = async {
                match next {
                    None => std::future::pending().await,
                    Some((name, due)) => {
                        sleep_until(due).await;
                        name
                    }
                }
            };
            tokio::select! {
                Some(done) = self.done.1.recv() => if let Some(news) = self.ended(done) {
                    return news;
                },
                name = due => self.start(&name, in_force),
            }
        }
    }

    fn start(&mut self, name: &str, in_force: &Intel) {
        let Some(remote) = self.feeds.get_mut(name) else { return };
        self.last_fetch += 1;
        let number = self.last_fetch;
        remote.running = Some(number);
        // What is kept and in force needs no second reading.
        let is_conditional = find(in_force, name).is_some_and(|feed| feed.stamp.is_some());
        let (sender, state) = (self.done.0.clone(), self.state.clone());
        let (name, settings) = (name.to_owned(), remote.settings.clone());
        let fetch = move || {
            let result = contained(|| fetch(&name, &settings, &state, is_conditional));
            let result = result.unwrap_or_else(|| Err(Failure::Refused(GAVE_UP.to_owned())));
            // Nobody waits for it once the agent ends.
            let _ = sender.blocking_send(Done { name, number, result });
        };
        if let Err(error) = thread::Builder::new().name("feed-fetch".to_owned()).spawn(fetch) {
            warn!(reason = %error, "no thread to fetch a feed");
            remote.running = None;
            remote.due = Instant::now() + REST;
        }
    }

    /// Says when it is fetched next. A fetch of former settings is no news.
    fn ended(&mut self, done: Done) -> Option<News> {
        let Done { name, number, result } = done;
        let remote = self.feeds.get_mut(&name)?;
        remote.running.take_if(|running| *running == number)?;
        let every = remote.settings.every.unsigned_abs();
        let rest = match &result {
            Ok(_) => {
                remote.failures = 0;
                every
            }
            Err(failure) => {
                remote.failures += 1;
                rest(remote.failures, failure, every)
            }
        };
        let again = std::mem::take(&mut remote.again);
        remote.due = Instant::now() + if again { Duration::ZERO } else { about(rest) };
        let is_told = remote.failures >= TOLD;
        Some(News {
            name,
            settings: remote.settings.clone(),
            result,
            is_told,
        })
    }
}

fn find<'a>(intel: &'a Intel, name: &str) -> Option<&'a Feed> {
    intel.feeds.iter().find(|feed| *feed.name == *name).map(AsRef::as_ref)
}

/// When a feed is fetched first: an agent that is started again and again does not fetch each time.
fn first(settings: &FeedSettings, feed: Option<&Feed>) -> Instant {
    let same = feed.filter(|feed| feed.settings == *settings);
    let now = Timestamp::now();
    let rest_since = |time: Option<Timestamp>, rest: Duration| {
        let age = time.map(|time| now.duration_since(time));
        // A clock that was ahead says nothing.
        let age = age.filter(|age| !age.is_negative());
        age.map_or(Duration::ZERO, |age| rest.saturating_sub(age.unsigned_abs()))
    };
    let fresh = rest_since(same.and_then(|feed| feed.fresh), settings.every.unsigned_abs());
    let asked = rest_since(same.and_then(|feed| feed.asked), PEACE);
    Instant::now() + fresh.max(asked)
}

fn rest(failures: u32, failure: &Failure, every: Duration) -> Duration {
    match failure {
        Failure::Busy(_, Some(after)) => (*after).clamp(REST.min(every), every),
        Failure::Later(_) | Failure::Busy(_, None) => {
            REST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(every)
        }
        Failure::Refused(_) => every,
    }
}

/// About so long: many agents do not come to a server at the same moment.
fn about(rest: Duration) -> Duration {
    rest.mul_f64(0.75 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::timeout;

    use super::*;

    fn feeds() -> Feeds {
        let settings = FeedSettings {
            // Nobody listens there.
            url: Some("http://127.0.0.1:1/".parse().unwrap()),
            ..FeedSettings::default()
        };
        Feeds::from([("c2".to_owned(), settings)])
    }

    /// A feed that was fetched so long ago.
    fn fetched(settings: &Feeds, ago: Duration) -> Intel {
        let mut feed = Feed::new("c2", settings["c2"].clone(), crate::intel::Contents::default());
        feed.fresh = Some(Timestamp::now() - ago);
        Intel {
            feeds: vec![Arc::new(feed)],
        }
    }

    fn until_due(fetcher: &Fetcher) -> Duration {
        fetcher.feeds["c2"].due.duration_since(Instant::now())
    }

    #[test]
    fn a_server_is_tried_soon_and_then_ever_less_often() {
        let hour = Duration::from_hours(1);
        let later = Failure::Later(String::new());
        let rests: Vec<_> = [1, 2, 3, 11, 12, u32::MAX]
            .map(|failures| rest(failures, &later, hour).as_secs())
            .into();
        assert_eq!(rests, [2, 4, 8, 2048, 3600, 3600]);
        assert_eq!(rest(1, &Failure::Refused(String::new()), hour), hour);
        let busy = |seconds| Failure::Busy(String::new(), Some(Duration::from_secs(seconds)));
        let rests = [0, 90, u64::MAX].map(|seconds| rest(1, &busy(seconds), hour).as_secs());
        assert_eq!(rests, [2, 90, 3600]);
        for _ in 0..100 {
            assert!((45..=75).contains(&about(Duration::from_mins(1)).as_secs()));
        }
    }

    #[tokio::test]
    async fn a_feed_is_first_fetched_when_what_is_kept_is_old_enough() {
        let (state, settings) = (tempfile::tempdir().unwrap(), feeds());
        let due = |in_force: &Intel| {
            let mut fetcher = Fetcher::new(state.path());
            fetcher.configure(&settings, in_force);
            until_due(&fetcher).as_secs().div_ceil(60)
        };
        assert_eq!(due(&Intel::default()), 0);
        assert_eq!(due(&fetched(&settings, Duration::from_mins(20))), 40);
        assert_eq!(due(&fetched(&settings, Duration::from_hours(20))), 0);
        let asked = |ago| {
            let mut feed = Feed::new("c2", settings["c2"].clone(), crate::intel::Contents::default());
            feed.asked = Some(Timestamp::now() - Duration::from_secs(ago));
            Intel {
                feeds: vec![Arc::new(feed)],
            }
        };
        assert_eq!([1, 61].map(|ago| due(&asked(ago))), [1, 0], "in vain");
    }

    #[tokio::test]
    async fn failures_are_told_when_they_go_on_and_other_settings_begin_anew() {
        let (state, mut settings) = (tempfile::tempdir().unwrap(), feeds());
        let mut fetcher = Fetcher::new(state.path());
        fetcher.configure(&settings, &Intel::default());
        let mut told = Vec::new();
        for _ in 0..4 {
            let news = fetcher.next(&Intel::default()).await;
            assert!(matches!(news.result, Err(Failure::Later(_))), "{:?}", news.result);
            told.push(news.is_told);
            let due = until_due(&fetcher).as_secs_f64();
            let least = f64::from(1 << told.len());
            assert!((0.7 * least..=1.25 * least).contains(&due), "{due}");
            fetcher.hurry();
        }
        assert_eq!(told, [false, false, true, true]);
        fetcher.configure(&settings, &Intel::default());
        assert_eq!(fetcher.feeds["c2"].failures, 4, "the same settings");

        fetcher.start("c2", &Intel::default());
        fetcher.hurry();
        fetcher.next(&Intel::default()).await;
        assert!(until_due(&fetcher).is_zero(), "it was wished meanwhile");

        fetcher.start("c2", &Intel::default());
        settings.get_mut("c2").unwrap().confidence = 90;
        fetcher.configure(&settings, &Intel::default());
        assert_eq!((fetcher.feeds["c2"].failures, fetcher.feeds["c2"].running), (0, None));
        let former = fetcher.done.1.recv().await.unwrap();
        assert!(fetcher.ended(former).is_none(), "of former settings");
        fetcher.configure(&Feeds::new(), &Intel::default());
        let nothing = Intel::default();
        let never = timeout(Duration::from_millis(20), fetcher.next(&nothing)).await;
        assert!(never.is_err());
    }
}
