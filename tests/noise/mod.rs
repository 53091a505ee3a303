//! A working hour of ordinary life on a node, and one attack in its midst: what rings, and whether the attack is lost in
//! it. `cargo xtask noise` plays the whole hour, this test its essence.

mod containers;
mod node;
mod report;
mod site;

use std::{
    env, thread,
    time::{Duration, Instant},
};

use self::{containers::Containers, report::Report};
use crate::{dockerd::Dockerd, fixtures, programs::Outside, tocsin::Tocsin, web_host::WebHost};

/// More than this an operator stops reading.
const LIMIT: usize = 2;
/// How many containers start in each round; twelve rounds make the 200 of an hour.
const STARTS: usize = 17;

/// How long the hour is.
struct Hour {
    rounds: u32,
    /// How long a round takes at least.
    round: Duration,
}

impl Hour {
    /// As `cargo xtask noise` says, or all of it once as fast as can be.
    fn asked_for() -> Self {
        const ROUND: u32 = 5;
        let minutes = env::var("TOCSIN_NOISE_MINUTES").ok().and_then(|text| text.parse().ok());
        minutes.map_or(
            Self {
                rounds: 1,
                round: Duration::ZERO,
            },
            |minutes: u32| Self {
                rounds: minutes.div_ceil(ROUND),
                round: Duration::from_mins(ROUND.min(minutes).into()),
            },
        )
    }

    /// Does this once a round.
    fn play(&self, mut step: impl FnMut(u32)) {
        for round in 0..self.rounds {
            let began = Instant::now();
            step(round);
            thread::sleep(self.round.saturating_sub(began.elapsed()));
        }
    }
}

#[test]
fn a_working_hour_raises_at_most_two_alerts_beside_the_attack() {
    let Some(host) = WebHost::start_node() else { return };
    let Some(dockerd) = Dockerd::start() else { return };
    let Some(cargo) = env::var_os("CARGO") else {
        return fixtures::skip("these tests are not run by cargo");
    };
    let outside = Outside::start();
    node::prepare(&host);
    site::prepare(&host);
    let containers = Containers::prepare(&dockerd);
    let hour = Hour::asked_for();

    let agent = Tocsin::start(&["--docker-socket", &dockerd.socket()]);
    thread::scope(|scope| {
        scope.spawn(|| hour.play(|round| containers.work(round, STARTS)));
        hour.play(|round| {
            node::log_in(&host, round);
            node::compile(&host);
            node::compile_rust(&outside, &cargo);
            site::edit(&host, round);
            if round == hour.rounds / 2 {
                site::attack(&host);
            }
            node::upgrade(&host);
            node::wait_for_cron(&host);
            site::edit(&host, round + 1);
        });
    });

    let report = Report::new(&agent.alerts_after_quiet());
    println!("{report}");
    for title in ["Web shell detected", "Process execution from temporary folder"] {
        assert!(
            report.attack_is_seen_by(title),
            "the attack raised no {title}\n{report}"
        );
    }
    assert!(report.noise() <= LIMIT, "{report}");
}
