//! What Docker is asked beyond its list and its events: each container, the names of its image, and each program that it
//! was told to put into a running container.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use bollard::{
    Docker,
    models::{ContainerInspectResponse, EventMessage, MountPoint},
    query_parameters::InspectContainerOptions,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{Duration, timeout},
};

use super::{TIMEOUT, facts, tracker::Step};
use crate::{
    event::{Container, Event, ToldExec},
    node,
    sources::binds,
};

/// How many things are inspected at the same time.
const AT_ONCE: usize = 64;
/// How many of them may be programs that were put into containers: health checks are such, every few seconds in each.
const EXECS_AT_ONCE: usize = 16;
/// Images whose names are remembered, and for how long: many containers of one image start at a time.
const IMAGES: usize = 256;
const REMEMBERED: Duration = Duration::from_mins(1);

/// What is being inspected.
pub(super) struct Inspections {
    asker: Asker,
    execs: Arc<Semaphore>,
    running: JoinSet<Option<Answer>>,
}

/// What was found.
pub(super) enum Answer {
    /// About the container of that id; `None` if it could not be inspected.
    Container(String, Option<Arc<Container>>),
    /// About a program that was put into a container.
    Exec(ToldExec),
}

#[derive(Clone)]
struct Asker {
    docker: Docker,
    runtime: &'static str,
    permits: Arc<Semaphore>,
    images: Arc<Mutex<Images>>,
}

/// The names of images by their ids, and since when they are known.
type Images = HashMap<String, (Instant, Vec<Box<str>>)>;

impl Inspections {
    pub(super) fn new(docker: &Docker, runtime: &'static str) -> Self {
        Self {
            asker: Asker {
                docker: docker.clone(),
                runtime,
                permits: Arc::new(Semaphore::new(AT_ONCE)),
                images: Arc::default(),
            },
            execs: Arc::new(Semaphore::new(EXECS_AT_ONCE)),
            running: JoinSet::new(),
        }
    }

    /// Asks what the step wants to know, and gives back what can be told already.
    pub(super) fn take(&mut self, step: Step) -> Vec<Event> {
        if let Some(id) = step.ask {
            let asker = self.asker.clone();
            self.running.spawn(async move {
                let facts = asker.container(&id).await;
                Some(Answer::Container(id, facts.map(Arc::new)))
            });
        }
        step.events
    }

    /// Asks about a program that is put into a running container, if the change is that. One too many is not asked about:
    /// what the kernel shows of it stands.
    pub(super) fn ask_about_exec(&mut self, change: &EventMessage) {
        if let Some(id) = facts::exec_id(change)
            && let Ok(permit) = Arc::clone(&self.execs).try_acquire_owned()
        {
            let asker = self.asker.clone();
            self.running
                .spawn(async move { asker.exec(id, permit).await.map(Answer::Exec) });
        }
    }

    /// The next answer; `None` if nothing is being asked.
    pub(super) async fn next(&mut self) -> Option<Answer> {
        loop {
            if let Ok(Some(answer)) = self.running.join_next().await? {
                return Some(answer);
            }
        }
    }
}

impl Asker {
    async fn container(&self, id: &str) -> Option<Container> {
        let _permit = self.permits.acquire().await;
        let mut inspected = self.inspect(id).await?;
        for mount in inspected.mounts.iter_mut().flatten() {
            self.look_behind(mount).await;
        }
        let mut container = facts::container(inspected, self.runtime);
        binds::follow(&mut container.mounts, node::root()).await;
        container.image_names = self.image_names(&container.image_digest).await;
        Some(container)
    }

    async fn inspect(&self, id: &str) -> Option<ContainerInspectResponse> {
        let answer = self.docker.inspect_container(id, None::<InspectContainerOptions>);
        match timeout(TIMEOUT, answer).await {
            Ok(Ok(inspected)) => Some(inspected),
            // A container that is gone already is told of with what the event said.
            Ok(Err(error)) => {
                tracing::debug!(container = id, %error, "container not inspected");
                None
            }
            Err(_) => {
                tracing::debug!(container = id, timeout = ?TIMEOUT, "container not inspected in time");
                None
            }
        }
    }

    /// Asks what a volume is made of: one that was made with options may be any part of the host. Those of plugins are left
    /// alone: they may take long to answer, and are none of the host.
    async fn look_behind(&self, mount: &mut MountPoint) {
        if mount.typ.as_deref() == Some("volume")
            && mount.driver.as_deref() == Some("local")
            && let Some(name) = &mount.name
            && let Ok(Ok(volume)) = timeout(TIMEOUT, self.docker.inspect_volume(name)).await
        {
            facts::look_behind(mount, &volume.options);
        }
    }

    /// Every name of an image: a container can be started by the image's id, or by a name that somebody gave it a moment
    /// ago.
    async fn image_names(&self, image: &str) -> Vec<Box<str>> {
        if image.is_empty() {
            return Vec::new();
        }
        let now = Instant::now();
        let known = |images: &Images| {
            let (since, names) = images.get(image)?;
            (now.duration_since(*since) < REMEMBERED).then(|| names.clone())
        };
        if let Some(names) = known(&self.images()) {
            return names;
        }
        let Ok(Ok(inspected)) = timeout(TIMEOUT, self.docker.inspect_image(image)).await else {
            tracing::debug!(image, "image not inspected");
            return Vec::new();
        };
        let names = facts::image_names(inspected);
        let mut images = self.images();
        if images.len() >= IMAGES {
            images.clear();
        }
        images.insert(image.to_owned(), (now, names.clone()));
        names
    }

    /// Nothing that was being asked can leave them half done.
    fn images(&self) -> std::sync::MutexGuard<'_, Images> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn exec(&self, id: String, _permit: OwnedSemaphorePermit) -> Option<ToldExec> {
        let inspected = timeout(TIMEOUT, self.docker.inspect_exec(&id)).await.ok()?;
        inspected
            .inspect_err(|error| tracing::debug!(exec = id, %error, "exec not inspected"))
            .ok()
            .and_then(facts::told_exec)
    }
}
