//! The kernel's sensors: load them, attach them, and turn their records into events.

pub mod btf;
mod accept;
mod cgroups;
mod connect;
mod decode;
mod dns;
mod exec;
mod exit;
mod fork;
mod listen;
mod reader;
mod wire;

use std::{
    fs::File,
    path::Path,
    thread::{self, JoinHandle},
};

use agent_ebpf::{
    fields::{ABSENT, KERNEL_FIELDS, OFFSETS_GLOBAL},
    wire::{CONTAINERS, EVERYWHERE, NOWHERE, PORTS, PORTS_GLOBAL, SCOPE_GLOBAL},
};
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{MapType, RingBuf},
    programs::{CgroupAttachMode, CgroupSkbAttachType, Program},
};

pub use self::{
    decode::{Clock, Decoder},
    exec::kubernetes_api,
    reader::{Reader, Reading},
};
use crate::{
    config::{Config, Scope},
    event::Event,
};

/// The kernel programs, one object for every kernel and architecture.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sensors"));

/// One behaviour that the kernel reports.
#[derive(Debug)]
pub struct Sensor {
    /// Its name: that of its file on both sides.
    pub name: &'static str,
    /// What its records start with.
    pub tags: &'static [[u8; 4]],
    /// Its programs, and where each attaches.
    pub programs: &'static [(&'static str, Hook)],
    /// What the agent does not see where this kernel cannot take the sensor.
    pub loses: &'static str,
    /// Turns one of its records into an event; `None` where it is only a part of one, or broken.
    pub decode: fn(&mut Decoder, &[u8]) -> Option<Event>,
}

/// Where a program attaches.
#[derive(Clone, Copy, Debug)]
pub enum Hook {
    /// A tracepoint, raw: it needs no type information.
    Tracepoint(&'static str),
    /// A system call on sockets, for all cgroups.
    SocketAddress,
    /// Packets that leave sockets, for all cgroups.
    Egress,
    /// Packets that reach sockets, for all cgroups.
    Ingress,
}

/// Every sensor, in the order in which they attach: a process must not be seen to run before it is seen to be made.
pub const SENSORS: &[Sensor] = &[
    fork::SENSOR,
    exec::SENSOR,
    exit::SENSOR,
    connect::SENSOR,
    listen::SENSOR,
    accept::SENSOR,
    dns::SENSOR,
    wire::SENSOR,
];

/// What came of a sensor.
#[derive(Debug)]
pub struct SensorState {
    /// Which.
    pub sensor: &'static Sensor,
    /// Why this kernel cannot take it; `None` where it is attached.
    pub refused: Option<String>,
}

/// The sensors' maps and programs, which see nothing yet. A thread of its own has the kernel verify them meanwhile, which
/// takes as long as compiling all rules.
pub struct Unattached {
    verified: JoinHandle<(Ebpf, Vec<SensorState>)>,
    missing_fields: Vec<String>,
}

/// The sensors, attached for as long as this lives.
pub struct Kernel {
    ebpf: Ebpf,
    /// What came of each sensor.
    pub sensors: Vec<SensorState>,
    /// Kernel fields that this kernel does not have, as `structure.member`: the facts behind them are missing.
    pub missing_fields: Vec<String>,
}

impl Unattached {
    /// Attaches every sensor that this kernel can take. An error means that it can take none.
    pub fn attach(self) -> Result<Kernel> {
        let verified = self.verified.join();
        let (mut ebpf, mut sensors) = verified.map_err(|_| anyhow!("who had the sensors verified panicked"))?;
        let cgroups = cgroups::root();
        for state in sensors.iter_mut().filter(|state| state.refused.is_none()) {
            state.refused = refusal(&mut ebpf, state.sensor, |program, hook| {
                attach_program(program, hook, cgroups.as_ref())
            });
        }
        if let [first, ..] = sensors.as_slice()
            && sensors.iter().all(|state| state.refused.is_some())
        {
            bail!(
                "the kernel refused every sensor; {}: {}",
                first.sensor.name,
                first.refused.as_deref().unwrap_or("")
            );
        }
        Ok(Kernel {
            ebpf,
            sensors,
            missing_fields: self.missing_fields,
        })
    }
}

impl Kernel {
    /// Makes everything ready that the configuration wants. For a moment this takes some 20 MiB, as aya reads all of BTF
    /// whether it is told to or not.
    pub fn load(config: &Config) -> Result<Unattached> {
        let (offsets, loader) = thread::scope(|scope| {
            let loader = scope.spawn(EbpfLoader::new);
            let offsets = btf::resolve_fields(Path::new(btf::VMLINUX), KERNEL_FIELDS);
            (offsets, loader.join())
        });
        let (offsets, mut loader) = (offsets?, loader.map_err(|_| anyhow!("the loader panicked"))?);
        ensure_ring_buffer()?;
        let mut ebpf = loader
            .btf(None)
            .override_global(OFFSETS_GLOBAL, offsets.as_slice(), true)
            .override_global(SCOPE_GLOBAL, &scope(config.wire.of), true)
            .override_global(PORTS_GLOBAL, &ports(&config.wire.ports), true)
            .map_max_entries("EVENTS", config.ring_size)
            .load(OBJECT)
            .context("the kernel refused the sensors' maps")?;
        let with_wire = config.wire.of != Scope::Nowhere;
        let wanted = SENSORS
            .iter()
            .filter(move |sensor| with_wire || sensor.name != wire::SENSOR.name);
        let missing = KERNEL_FIELDS
            .iter()
            .zip(&offsets)
            .filter(|(_, offset)| **offset == ABSENT);
        let missing_fields = missing
            .map(|(field, _)| format!("{}.{}", field.structure, field.members.join("|")))
            .collect();
        let verify = move || {
            let states = wanted.map(|sensor| SensorState {
                sensor,
                refused: refusal(&mut ebpf, sensor, |program, _| load_program(program)),
            });
            let states = states.collect();
            (ebpf, states)
        };
        Ok(Unattached {
            verified: thread::Builder::new().name("verify".into()).spawn(verify)?,
            missing_fields,
        })
    }

    /// What reads the ring. The sensors stay attached while it lives.
    pub fn into_reader(mut self) -> Result<Reader> {
        let ring = self.ebpf.take_map("EVENTS").context("the object has no ring")?;
        let ring = RingBuf::try_from(ring).context("cannot map the ring")?;
        Reader::new(ring, self.ebpf)
    }
}

fn scope(scope: Scope) -> u32 {
    match scope {
        Scope::Nowhere => NOWHERE,
        Scope::Containers => CONTAINERS,
        Scope::Everywhere => EVERYWHERE,
    }
}

/// As many ports as the programs compare with; the configuration has no more.
fn ports(wanted: &[u16]) -> [u16; PORTS] {
    let mut ports = [0; PORTS];
    for (place, port) in ports.iter_mut().zip(wanted) {
        *place = *port;
    }
    ports
}

fn ensure_ring_buffer() -> Result<()> {
    let supported = aya::sys::is_map_supported(MapType::RingBuf).context("cannot probe for BPF: root is needed")?;
    ensure!(supported, "no BPF ring buffer in this kernel: 5.8 or later is needed");
    Ok(())
}

/// Does that to each program of a sensor; why it failed, where it did.
fn refusal(ebpf: &mut Ebpf, sensor: &Sensor, step: impl Fn(&mut Program, Hook) -> Result<()>) -> Option<String> {
    let done = sensor.programs.iter().try_for_each(|(name, hook)| {
        let program = ebpf
            .program_mut(name)
            .with_context(|| format!("the object has no program {name}"))?;
        step(program, *hook).with_context(|| format!("program {name}"))
    });
    done.err().map(|error| one_line(&error))
}

/// Has the kernel verify a program, and take it.
fn load_program(program: &mut Program) -> Result<()> {
    match program {
        Program::RawTracePoint(program) => program.load()?,
        Program::CgroupSockAddr(program) => program.load()?,
        Program::CgroupSkb(program) => program.load()?,
        program => bail!("no sensor has programs of type {:?}", program.prog_type()),
    }
    Ok(())
}

fn attach_program(program: &mut Program, hook: Hook, cgroups: Result<&File, &anyhow::Error>) -> Result<()> {
    let cgroups = || cgroups.map_err(|error| anyhow!("{error:#}"));
    match (program, hook) {
        (Program::RawTracePoint(program), Hook::Tracepoint(name)) => {
            program.attach(name)?;
        }
        (Program::CgroupSockAddr(program), Hook::SocketAddress) => {
            program.attach(cgroups()?, CgroupAttachMode::Single)?;
        }
        (Program::CgroupSkb(program), Hook::Egress) => {
            program.attach(cgroups()?, CgroupSkbAttachType::Egress, CgroupAttachMode::Single)?;
        }
        (Program::CgroupSkb(program), Hook::Ingress) => {
            program.attach(cgroups()?, CgroupSkbAttachType::Ingress, CgroupAttachMode::Single)?;
        }
        (program, hook) => bail!("a program of type {:?} does not fit {hook:?}", program.prog_type()),
    }
    Ok(())
}

/// The verifier's log runs over many lines, of which the last that says anything tells the reason.
fn one_line(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let mut lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("processed "));
    let first = lines.next().unwrap_or_default().to_owned();
    match lines.next_back() {
        Some(last) => format!("{first} … {last}"),
        None => first,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_row_of_the_table_is_in_the_object() {
        let object = aya_object_symbols();
        for (name, _) in SENSORS.iter().flat_map(|sensor| sensor.programs) {
            assert!(object.contains(*name), "{name} is not in the object");
        }
    }

    #[test]
    fn no_two_sensors_share_a_tag() {
        let tags: Vec<_> = SENSORS.iter().flat_map(|sensor| sensor.tags).collect();
        assert_eq!(tags.iter().collect::<HashSet<_>>().len(), tags.len());
    }

    /// The names in the object's string tables.
    fn aya_object_symbols() -> HashSet<&'static str> {
        OBJECT
            .split(|byte| *byte == 0)
            .filter_map(|name| std::str::from_utf8(name).ok())
            .collect()
    }
}
