//! What must hold before a rule comes into force: an id of its own, a family of ours, fields that exist.

use std::{collections::HashMap, path::PathBuf, str::FromStr as _, sync::Arc};

use rsigma_eval::{CompiledRule, FieldSource, RuleFieldSet, compile_rule};
use rsigma_parser::{CorrelationRule, Detections, FilterRule, SigmaCollection, SigmaRule};
use rustc_hash::FxHashMap;
use serde::Deserialize;
use uuid::Uuid;

use super::{
    Ask, Rule,
    document::{Documents, Place, Placed},
    lists, logsource,
    overrides::Override,
    problem::{Problem, Severity},
    reference,
    score::{Compiled, CompiledSignal, PREFIX, Score},
    texts,
};
use crate::{
    alert::Level,
    event::{LogSource, baseline::BehaviourKind},
    observed::field_by_name,
};

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

/// What our custom attribute `tocsin` can say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Attributes {
    ask: Option<String>,
    teaches: Option<BehaviourKind>,
    role: Option<Arc<str>>,
    #[serde(default)]
    subject: Vec<String>,
    #[serde(default)]
    texts: Vec<String>,
    #[serde(default)]
    compatibility: Vec<String>,
}

/// What a rule says by it.
#[derive(Debug)]
pub(super) struct Said {
    /// A match asks, rather than being an alert.
    pub asks: Option<Ask>,
    /// A match gives a role, rather than being an alert.
    pub role: Option<Arc<str>>,
    /// A match may teach this, rather than being an alert.
    pub teaches: Option<BehaviourKind>,
    /// The fields that tell one subject from another.
    pub subject: Vec<String>,
    /// What an executable is to be searched for.
    pub texts: Vec<Box<str>>,
    /// What others call the finding.
    pub compatibility: Vec<String>,
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
            ids: FxHashMap::default(),
            overrides: by_id,
            override_places: overrides,
        }
    }

    /// Puts something wrong on record.
    pub(super) fn report(&mut self, place: &Place, severity: Severity, near: &str, reason: impl Into<String>) {
        self.problems.push(place.problem(severity, near, reason));
    }

    /// Checks the scores; of those that bear the same name, an operator's stands for ours.
    fn scores(&mut self, mut scores: Vec<Placed<Score>>) {
        let own: Vec<String> = scores
            .iter()
            .filter(|score| !score.place.built_in)
            .map(|score| score.what.name.clone())
            .collect();
        scores.retain(|score| !score.place.built_in || !own.contains(&score.what.name));
        for Placed { what, place } in scores {
            let field: Arc<str> = format!("{PREFIX}{}", what.name).into();
            let mut known = self.parts.iter().flat_map(|part| &part.scores);
            if known.any(|score| score.field == field) {
                let reason = format!("another score bears the name {}", what.name);
                self.report(&place, Severity::Error, "name:", reason);
                continue;
            }
            match logsource::family(&what.scored.logsource) {
                Ok(source) => {
                    let score = self.score(what, field, source, &place);
                    self.parts[source as usize].scores.extend(score);
                }
                Err(reason) => self.report(&place, Severity::Note, "logsource:", reason),
            }
        }
    }

    fn score(&mut self, score: Score, field: Arc<str>, source: LogSource, place: &Place) -> Option<Compiled> {
        let scored = self.part_of_score(score.scored, source, "detection:", place)?;
        let mut signals = Vec::with_capacity(score.signals.len());
        for signal in score.signals {
            signals.push(CompiledSignal {
                hit: self.part_of_score(signal.hit, source, &signal.name, place)?,
                name: signal.name.into(),
                weight: signal.weight,
                why: signal.why,
            });
        }
        Some(Compiled {
            field,
            title: score.title,
            scored,
            signals,
        })
    }

    fn part_of_score(
        &mut self,
        mut sigma: SigmaRule,
        source: LogSource,
        near: &str,
        place: &Place,
    ) -> Option<CompiledRule> {
        self.expand(&mut sigma.detection, place)?;
        let collection = SigmaCollection {
            rules: vec![sigma.clone()],
            ..SigmaCollection::new()
        };
        if !self.fields_are_carried(&collection, source, place) {
            return None;
        }
        let compiled = compile_rule(&sigma);
        compiled
            .map_err(|error| self.report(place, Severity::Error, near, error.to_string()))
            .ok()
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
        self.expand(&mut sigma.detection, place)?;
        let collection = SigmaCollection {
            rules: vec![sigma.clone()],
            ..SigmaCollection::new()
        };
        if !self.fields_are_carried(&collection, source, place) {
            return None;
        }
        let said = self.attributes(&sigma.custom_attributes, place)?;
        let what = compile_rule(sigma);
        let what = what.map_err(|error| self.report(place, Severity::Error, "detection:", error.to_string()));
        self.parts[source as usize].rules.push(Checked {
            what: what.ok()?,
            asks: said.asks,
            rule: describe(sigma, id, level, source, said, place),
            place: place.clone(),
        });
        Some(source)
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

    /// What `tocsin: {…}` says; `None` if it cannot be understood.
    pub(super) fn attributes(
        &mut self,
        attributes: &HashMap<String, yaml_serde::Value>,
        place: &Place,
    ) -> Option<Said> {
        let written = attributes.get("tocsin").cloned();
        let written = match written.map(yaml_serde::from_value::<Attributes>).transpose() {
            Ok(written) => written.unwrap_or_default(),
            Err(error) => {
                self.report(
                    place,
                    Severity::Error,
                    "tocsin:",
                    format!("not an attribute of ours: {error}"),
                );
                return None;
            }
        };
        let Attributes {
            ask,
            role,
            teaches,
            subject,
            texts,
            compatibility,
        } = written;
        if let Some(id) = compatibility.iter().find(|id| !is_type_id(id)) {
            let reason = format!("{id:?} is no alert type id: letters, digits, dots, dashes and underscores");
            self.report(place, Severity::Error, "compatibility:", reason);
            return None;
        }
        let refused = match &role {
            Some(_) if ask.is_some() => Some("a rule either asks or gives a role"),
            Some(name) if name.is_empty() => Some("the role has no name"),
            _ => None,
        };
        if let Some(reason) = refused {
            self.report(place, Severity::Error, "role:", reason);
            return None;
        }
        let asks = match ask {
            Some(name) => Some(self.question(&name, place)?),
            None => None,
        };
        let texts = texts::check(&texts, &self.lists, asks);
        let texts = texts
            .map_err(|reason| self.report(place, Severity::Error, "texts:", reason))
            .ok()?;
        Some(Said {
            asks,
            role,
            teaches,
            subject,
            texts,
            compatibility,
        })
    }

    /// The question of that name, if somebody answers it.
    fn question(&mut self, name: &str, place: &Place) -> Option<Ask> {
        let asks = Ask::by_name(name);
        if asks.is_none() {
            let reason = format!("nobody answers the question {name}");
            self.report(place, Severity::Error, "ask:", reason);
        }
        asks
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

/// Whether a text can be somebody's id of a kind of alert: it stands in lists parted by commas.
fn is_type_id(id: &str) -> bool {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_');
    !id.is_empty() && id.chars().all(allowed)
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
