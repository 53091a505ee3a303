//! What refers to rules: correlations and filters. References become ids here, since the engine that they are given to
//! knows names only in part (a correlation by name of a rule without id would never fire).

use std::str::FromStr as _;

use rsigma_parser::{
    ConditionExpr, CorrelationCondition, CorrelationRule, FilterRule, FilterRuleTarget, Quantifier, SigmaCollection,
};
use uuid::Uuid;

use super::{
    Rule,
    check::{Checked, Checker, Known, file_of, slug},
    document::{Place, Placed},
    logsource,
    problem::Severity,
};
use crate::{alert::Level, event::LogSource};

/// Checks the correlations, each after those that it builds upon.
pub(super) fn correlations(checker: &mut Checker, mut waiting: Vec<Placed<CorrelationRule>>) {
    let mut pending = Vec::new();
    for mut correlation in waiting.drain(..) {
        let Placed { what, place } = &mut correlation;
        let Some(id) = checker.identity(place, what.id.as_deref(), &what.title) else {
            continue;
        };
        let has_id = what.id.replace(id.to_string()).is_some();
        pending.push((id, has_id, correlation));
    }
    loop {
        let before = pending.len();
        let awaited: Vec<String> = pending
            .iter()
            .flat_map(|(id, _, placed)| names(*id, &placed.what))
            .collect();
        let (ready, rest): (Vec<_>, Vec<_>) = pending
            .into_iter()
            .partition(|(_, _, placed)| !placed.what.rules.iter().any(|rule| awaited.contains(rule)));
        for (id, has_id, placed) in ready {
            let name = placed.what.name.clone();
            let source = correlation(checker, id, placed);
            checker.make_known(Known { id, has_id, source }, name.as_deref());
        }
        pending = rest;
        if pending.len() == before {
            break;
        }
    }
    for (_, _, Placed { place, .. }) in pending {
        checker.report(&place, Severity::Error, "rules:", "the correlation builds upon itself");
    }
}

fn names(id: Uuid, correlation: &CorrelationRule) -> Vec<String> {
    std::iter::once(id.to_string())
        .chain(correlation.name.clone())
        .collect()
}

/// Takes a correlation up, unless something keeps it out; then says what.
fn correlation(checker: &mut Checker, id: Uuid, placed: Placed<CorrelationRule>) -> Option<LogSource> {
    let Placed { what: mut sigma, place } = placed;
    let source = refer_by_id(checker, &mut sigma, &place)?;
    let level = sigma.level.and_then(|level| Level::from_str(level.as_str()).ok());
    let level = checker.overridden(id, level)?;
    let collection = SigmaCollection {
        correlations: vec![sigma.clone()],
        ..SigmaCollection::new()
    };
    if !checker.fields_are_carried(&collection, source, &place) {
        return None;
    }
    let said = checker.attributes(&sigma.custom_attributes, &place)?;
    let rule = Rule {
        teaches: None,
        id,
        title: sigma.title.as_str().into(),
        name: sigma.name.clone().unwrap_or_else(|| slug(&sigma.title)).into(),
        description: sigma.description.as_deref().unwrap_or_default().trim().into(),
        author: sigma.author.as_deref().unwrap_or_default().into(),
        level,
        tags: sigma.tags.clone(),
        references: sigma.references.clone(),
        false_positives: sigma.falsepositives.clone(),
        log_source: source,
        role: said.role,
        subject: said.subject,
        texts: said.texts,
        compatibility: said.compatibility,
        file: file_of(&place),
    };
    checker.parts[source as usize].correlations.push(Checked {
        what: sigma,
        rule,
        asks: said.asks,
        place,
    });
    Some(source)
}

/// Puts ids in the place of names, and finds the one family of all rules that a correlation names.
fn refer_by_id(checker: &mut Checker, sigma: &mut CorrelationRule, place: &Place) -> Option<LogSource> {
    let mut source = None;
    let mut ids = Vec::new();
    for name in &sigma.rules {
        let known = resolve(checker, name, place, Severity::Error)?;
        if !known.has_id {
            let reason = format!("{name} has no id, and a correlation can only name rules that have one");
            checker.report(place, Severity::Error, name, reason);
            return None;
        }
        let Some(its) = known.source else {
            let reason = format!("left out, since the rule {name} is not in force");
            checker.report(place, Severity::Note, name, reason);
            return None;
        };
        if *source.get_or_insert(its) != its {
            let reason = format!(
                "{name} judges {} events, the rules before it others: no correlation crosses log sources",
                its.name()
            );
            checker.report(place, Severity::Error, name, reason);
            return None;
        }
        ids.push((name.clone(), known.id.to_string()));
    }
    if source.is_none() {
        checker.report(place, Severity::Error, "correlation:", "the correlation names no rules");
    }
    rename(sigma, &ids);
    source
}

fn rename(sigma: &mut CorrelationRule, ids: &[(String, String)]) {
    let id_of = |name: &str| {
        ids.iter()
            .find(|(known, _)| known == name)
            .map_or(name, |(_, id)| id)
            .to_owned()
    };
    sigma.rules = sigma.rules.iter().map(|name| id_of(name)).collect();
    for alias in &mut sigma.aliases {
        alias.mapping = alias
            .mapping
            .drain()
            .map(|(name, field)| (id_of(&name), field))
            .collect();
    }
    if let CorrelationCondition::Extended(condition) = &mut sigma.condition {
        *condition = map_identifiers(condition, &id_of);
    }
}

fn map_identifiers(condition: &ConditionExpr, id_of: &impl Fn(&str) -> String) -> ConditionExpr {
    let all = |parts: &[ConditionExpr]| parts.iter().map(|part| map_identifiers(part, id_of)).collect();
    match condition {
        ConditionExpr::And(parts) => ConditionExpr::And(all(parts)),
        ConditionExpr::Or(parts) => ConditionExpr::Or(all(parts)),
        ConditionExpr::Not(part) => ConditionExpr::Not(Box::new(map_identifiers(part, id_of))),
        ConditionExpr::Identifier(name) => ConditionExpr::Identifier(id_of(name)),
        ConditionExpr::Selector { .. } => condition.clone(),
    }
}

/// What a reference means, if it is one thing.
fn resolve(checker: &mut Checker, name: &str, place: &Place, severity: Severity) -> Option<Known> {
    let key = Uuid::try_parse(name).map_or_else(|_| name.to_owned(), |id| id.to_string());
    let reason = match checker.known.get(&key).map(Vec::as_slice) {
        Some([known]) => return Some(known.clone()),
        Some(known) => format!("{} rules bear the name {name}: say which by its id", known.len()),
        None => format!("no rule has the id or name {name}"),
    };
    checker.report(place, severity, name, reason);
    None
}

/// Checks the filters, and gives each family those that concern it.
pub(super) fn filters(checker: &mut Checker, filters: Vec<Placed<FilterRule>>) {
    for mut filter in filters {
        if checker.expand(&mut filter.what.detection, &filter.place).is_none() {
            continue;
        }
        let Placed { what, place } = &filter;
        let families: Vec<LogSource> = match what.logsource.as_ref().map(logsource::family) {
            None => LogSource::ALL.to_vec(),
            Some(Ok(source)) => vec![source],
            Some(Err(reason)) => {
                checker.report(place, Severity::Note, "logsource:", reason);
                continue;
            }
        };
        if let Some(targets) = targets(checker, what, place) {
            for source in families {
                filter_family(checker, source, &filter, targets.as_deref());
            }
        }
    }
}

/// The ids that a filter names; `Some(None)` for all rules. A filter of an unknown rule is left out with a warning: the
/// rule may have gone with an update, which must not keep all others from being reloaded.
#[expect(clippy::option_option, reason = "no targets, and all rules, are two answers")]
fn targets(checker: &mut Checker, filter: &FilterRule, place: &Place) -> Option<Option<Vec<Uuid>>> {
    let FilterRuleTarget::Specific(names) = &filter.rules else {
        return Some(None);
    };
    let known = names
        .iter()
        .filter_map(|name| resolve(checker, name, place, Severity::Warning));
    let ids: Vec<_> = known.map(|known| known.id).collect();
    (!ids.is_empty()).then_some(Some(ids))
}

fn filter_family(checker: &mut Checker, source: LogSource, filter: &Placed<FilterRule>, targets: Option<&[Uuid]>) {
    let concerned = |id: Uuid| targets.is_none_or(|targets| targets.contains(&id));
    let rules = checker.parts[source as usize].rules.iter().map(|rule| rule.rule.id);
    let ids: Vec<String> = rules.filter(|id| concerned(*id)).map(|id| id.to_string()).collect();
    if ids.is_empty() {
        return;
    }
    let Placed { what, place } = filter;
    let collection = SigmaCollection {
        filters: vec![what.clone()],
        ..SigmaCollection::new()
    };
    if !checker.fields_are_carried(&collection, source, place) {
        return;
    }
    match spelled_out(what) {
        Ok(mut what) => {
            what.rules = FilterRuleTarget::Specific(ids);
            // Which rules are meant is settled; the engine would ask again, by text.
            what.logsource = None;
            let place = place.clone();
            checker.parts[source as usize].filters.push(Placed { what, place });
        }
        Err(reason) => checker.report(place, Severity::Error, "condition:", reason),
    }
}

/// A filter whose condition names each selection: the engine would look for those of `1 of x_*` in the filtered rule.
fn spelled_out(filter: &FilterRule) -> Result<FilterRule, String> {
    let mut filter = filter.clone();
    let mut names: Vec<String> = filter.detection.named.keys().cloned().collect();
    names.sort();
    let conditions = filter.detection.conditions.iter();
    filter.detection.conditions = conditions
        .map(|condition| spell(condition, &names))
        .collect::<Result<_, _>>()?;
    Ok(filter)
}

fn spell(condition: &ConditionExpr, names: &[String]) -> Result<ConditionExpr, String> {
    let all = |parts: &[ConditionExpr]| {
        parts
            .iter()
            .map(|part| spell(part, names))
            .collect::<Result<Vec<_>, _>>()
    };
    Ok(match condition {
        ConditionExpr::And(parts) => ConditionExpr::And(all(parts)?),
        ConditionExpr::Or(parts) => ConditionExpr::Or(all(parts)?),
        ConditionExpr::Not(part) => ConditionExpr::Not(Box::new(spell(part, names)?)),
        ConditionExpr::Identifier(name) if names.contains(name) => condition.clone(),
        ConditionExpr::Identifier(name) => return Err(format!("the filter has no selection {name}")),
        ConditionExpr::Selector { quantifier, pattern } => {
            let chosen = names.iter().filter(|name| pattern.matches_detection_name(name));
            let chosen: Vec<_> = chosen.cloned().map(ConditionExpr::Identifier).collect();
            match quantifier {
                _ if chosen.is_empty() => return Err(format!("the filter has no selection {pattern}")),
                Quantifier::Any => ConditionExpr::Or(chosen),
                Quantifier::All => ConditionExpr::And(chosen),
                Quantifier::Count(count) => return Err(format!("a filter cannot ask for {count} of its selections")),
            }
        }
    })
}
