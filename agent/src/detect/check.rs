//! What must hold before a rule comes into force: an id of its own, a family of ours, fields that exist.

mod attributes;
mod keys;
mod matchers;
mod scores;
mod shared;

use std::{path::PathBuf, str::FromStr as _};

use rsigma_eval::{CompiledRule, FieldSource, RuleFieldSet, compile_rule};
use rsigma_parser::{CorrelationRule, Detections, FilterRule, SigmaCollection, SigmaRule};
use rustc_hash::FxHashMap;
use uuid::Uuid;

pub(super) use self::attributes::Said;
use self::{keys::hide_common, shared::Shared};
use super::{
    Ask, Rule,
    document::{Documents, Place, Placed},
    lists, logsource,
    overrides::Override,
    problem::{Problem, Severity},
    reference,
    score::Compiled,
};
use crate::{alert::Level, event::LogSource, observed::field_by_name};

/// What one family's engine is made of.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// Its rules.
    pub rules: Vec<Checked<CompiledRule>>,
    /// Correlations of them, each after those that it builds upon.
    pub correlations: Vec<Checked<CorrelationRule>>,
    /// Exceptions, each with the ids of its rules.
    pub filters: Vec<Placed<FilterRule>>,
    /// What is weighed before the rules judge.
    pub scores: Vec<Compiled>,
}

/// Something to match, what an alert says of it, and where it stands.
#[derive(Debug)]
pub(super) struct Checked<T> {
    /// What matches.
    pub what: T,
    /// What an alert says of it.
    pub rule: Rule,
    /// A match asks, rather than being an alert.
    pub asks: Option<Ask>,
    /// Where it stands.
    pub place: Place,
}

/// Parts for every family, in the order of [`LogSource::ALL`].
pub(super) type Parts = [Part; LogSource::ALL.len()];

/// Checks all, and sorts what holds into families.
pub(super) fn check(documents: Documents) -> (Parts, Vec<Problem>) {
    let Documents {
        rules,
        correlations,
        filters,
        overrides,
        lists,
        scores,
    } = documents;
    let mut checker = Checker::new(overrides, lists::Known::of(&lists));
    checker.scores(scores);
    for rule in rules {
        checker.rule(rule);
    }
    reference::correlations(&mut checker, correlations);
    reference::filters(&mut checker, filters);
    checker.unused_overrides();
    (checker.parts, checker.problems)
}

/// The state of a check: what was found so far.
pub(super) struct Checker {
    /// What is in force.
    pub parts: Parts,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Everything that has a name or an id, in force or not, by both.
    pub known: FxHashMap<String, Vec<Known>>,
    lists: lists::Known,
    shared: Shared,
    ids: FxHashMap<Uuid, String>,
    overrides: FxHashMap<Uuid, Override>,
    override_places: Vec<Placed<Override>>,
}

/// A rule or correlation that others may refer to.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// Its id.
    pub id: Uuid,
    /// The id stands in its file: without, what refers to it would change with every title.
    pub has_id: bool,
    /// Its family; `None` if it is not in force.
    pub source: Option<LogSource>,
}

impl Checker {
    fn new(overrides: Vec<Placed<Override>>, lists: lists::Known) -> Self {
        let mut by_id = FxHashMap::<Uuid, Override>::default();
        for Placed { what, .. } in &overrides {
            let merged = by_id.entry(what.id).or_insert(*what);
            merged.enabled = what.enabled.or(merged.enabled);
            merged.level = what.level.or(merged.level);
        }
        Self {
            parts: Parts::default(),
            problems: Vec::new(),
            known: FxHashMap::default(),
            lists,
            shared: Shared::default(),
            ids: FxHashMap::default(),
            overrides: by_id,
            override_places: overrides,
        }
    }

    /// Puts something wrong on record.
    pub(super) fn report(&mut self, place: &Place, severity: Severity, near: &str, reason: impl Into<String>) {
        self.problems.push(place.problem(severity, near, reason));
    }

    /// Checks one rule, and takes it up if it holds.
    fn rule(&mut self, Placed { what: mut sigma, place }: Placed<SigmaRule>) {
        let (id, title) = (sigma.id.clone(), sigma.title.clone());
        let Some(id) = self.identity(&place, id.as_deref(), &title) else {
            return;
        };
        let has_id = sigma.id.replace(id.to_string()).is_some();
        let source = self.in_force(&mut sigma, id, &place);
        let known = Known { id, has_id, source };
        self.make_known(known, sigma.name.as_deref());
    }

    /// Takes a rule up, unless something keeps it out; then says what.
    fn in_force(&mut self, sigma: &mut SigmaRule, id: Uuid, place: &Place) -> Option<LogSource> {
        let source = match logsource::family(&sigma.logsource) {
            Ok(source) => source,
            Err(reason) => {
                self.report(place, Severity::Note, "logsource:", reason);
                return None;
            }
        };
        let level = sigma.level.and_then(|level| Level::from_str(level.as_str()).ok());
        let level = self.overridden(id, level)?;
        let what = self.compile(sigma, source, "detection:", place)?;
        let said = self.attributes(&sigma.custom_attributes, place)?;
        self.parts[source as usize].rules.push(Checked {
            what,
            asks: said.asks,
            rule: describe(sigma, id, level, source, said, place),
            place: place.clone(),
        });
        Some(source)
    }

    /// Makes a rule ready to judge the events of a family; `None`, and an error on record, if it cannot.
    fn compile(&mut self, sigma: &mut SigmaRule, source: LogSource, near: &str, place: &Place) -> Option<CompiledRule> {
        self.expand(&mut sigma.detection, place)?;
        let collection = SigmaCollection {
            rules: vec![sigma.clone()],
            ..SigmaCollection::new()
        };
        if !self.fields_are_carried(&collection, source, place) {
            return None;
        }
        let compiled =
            compile_rule(sigma).map_err(|error| self.report(place, Severity::Error, near, error.to_string()));
        let mut compiled = compiled.ok()?;
        hide_common(&mut compiled);
        self.shared.rule(&mut compiled);
        Some(compiled)
    }

    /// Puts lists in the place of their names; `None`, and an error on record, if there is no such list.
    pub(super) fn expand(&mut self, detections: &mut Detections, place: &Place) -> Option<()> {
        let expanded = self.lists.expand(detections.named.values_mut());
        let refuse = |name: String| {
            self.report(place, Severity::Error, &format!("%{name}%"), lists::unknown(&name));
        };
        expanded.map_err(refuse).ok()
    }

    /// The id of what stands at a place, unless it cannot be told from others by it.
    pub(super) fn identity(&mut self, place: &Place, written: Option<&str>, title: &str) -> Option<Uuid> {
        let id = id_of(place, written, title);
        let id = id
            .map_err(|reason| self.report(place, Severity::Error, "id:", reason))
            .ok()?;
        let described = format!("{title} ({}:{})", place.file.display(), place.line);
        if let Some(former) = self.ids.get(&id) {
            let reason = format!("the id {id} is already that of {former}");
            self.report(place, Severity::Error, "id:", reason);
            return None;
        }
        self.ids.insert(id, described);
        Some(id)
    }

    /// Lets others refer to something.
    pub(super) fn make_known(&mut self, known: Known, name: Option<&str>) {
        self.known.entry(known.id.to_string()).or_default().push(known.clone());
        if let Some(name) = name {
            self.known.entry(name.to_owned()).or_default().push(known);
        }
    }

    /// The level that holds; `None` if the rule is switched off.
    pub(super) fn overridden(&self, id: Uuid, level: Option<Level>) -> Option<Level> {
        let level = level.unwrap_or_default();
        let Some(word) = self.overrides.get(&id) else {
            return Some(level);
        };
        (word.enabled != Some(false)).then(|| word.level.unwrap_or(level))
    }

    /// Whether a rule's fields exist in its family. A rule of ours that names another is a mistake of ours; another's
    /// may come from a richer source, and its other parts still work.
    pub(super) fn fields_are_carried(
        &mut self,
        collection: &SigmaCollection,
        source: LogSource,
        place: &Place,
    ) -> bool {
        let fields = RuleFieldSet::collect(collection, &[], true);
        let judged =
            |origin: &rsigma_eval::FieldOrigin| origin.sources.iter().any(|kind| *kind != FieldSource::Metadata);
        let unknown = fields.iter().filter(|(_, origin)| judged(origin)).map(|(name, _)| name);
        let scores = &self.parts[source as usize].scores;
        let carries = |name: &str| {
            let in_table = field_by_name(name).is_some_and(|field| field.carried_by.contains(&source));
            in_table || scores.iter().any(|score| *score.field == *name)
        };
        let unknown: Vec<_> = unknown.filter(|name| !carries(name)).collect();
        let severity = if place.built_in {
            Severity::Error
        } else {
            Severity::Warning
        };
        for name in &unknown {
            let reason = format!("{} events never carry the field {name}", source.name());
            self.report(place, severity, name, reason);
        }
        unknown.is_empty() || !place.built_in
    }

    /// An override of nothing is most often a slip of the pen, or the rule went with an update: either is worth a word.
    fn unused_overrides(&mut self) {
        for Placed { what, place } in std::mem::take(&mut self.override_places) {
            if !self.ids.contains_key(&what.id) {
                let reason = format!("no rule has the id {}", what.id);
                self.report(&place, Severity::Warning, "id:", reason);
            }
        }
    }
}

fn describe(sigma: &SigmaRule, id: Uuid, level: Level, log_source: LogSource, said: Said, place: &Place) -> Rule {
    Rule {
        id,
        title: sigma.title.as_str().into(),
        name: sigma.name.clone().unwrap_or_else(|| slug(&sigma.title)).into(),
        description: sigma.description.as_deref().unwrap_or_default().trim().into(),
        author: sigma.author.as_deref().unwrap_or_default().into(),
        level,
        tags: sigma.tags.clone(),
        references: sigma.references.clone(),
        false_positives: sigma.falsepositives.clone(),
        log_source,
        subject: said.subject,
        role: said.role,
        teaches: said.teaches,
        texts: said.texts,
        compatibility: said.compatibility,
        file: file_of(place),
    }
}

/// The id that a rule has. Sigma does not demand one; one made of place and title stays the same over restarts.
pub(super) fn id_of(place: &Place, written: Option<&str>, title: &str) -> Result<Uuid, String> {
    let Some(written) = written else {
        let made_of = format!("{}#{title}", place.file.display());
        return Ok(Uuid::new_v5(&Uuid::NAMESPACE_URL, made_of.as_bytes()));
    };
    Uuid::try_parse(written).map_err(|_| format!("the id {written} is not a UUID"))
}

/// The file to quote in alerts.
pub(super) fn file_of(place: &Place) -> Option<PathBuf> {
    (!place.built_in).then(|| place.file.to_path_buf())
}

/// A name for a rule that has none.
pub fn slug(title: &str) -> String {
    let word = |letter: char| {
        if letter.is_alphanumeric() {
            letter.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let words: String = title.chars().map(word).collect();
    words
        .split('-')
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("-")
}
