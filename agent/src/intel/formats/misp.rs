//! MISP's JSON: the attributes of events that are addresses and meant for detection (`to_ids`). MISP's table of the same
//! is read as any other.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::{Own, Reading};

/// What MISP writes: an event, or what a search has found.
#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow, rename = "Event")]
    event: Option<Event<'a>>,
    /// Events, or attributes under one key.
    #[serde(borrow)]
    response: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default, rename = "Attribute")]
    attributes: Vec<&'a RawValue>,
    #[serde(borrow, default, rename = "Object")]
    objects: Vec<&'a RawValue>,
    #[serde(default, rename = "Tag")]
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
struct Attribute {
    #[serde(rename = "type")]
    kind: String,
    value: String,
    #[serde(default = "yes")]
    to_ids: bool,
    #[serde(default)]
    deleted: bool,
    #[serde(default, rename = "Tag")]
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
struct Tag {
    name: String,
}

fn yes() -> bool {
    true
}

pub(super) fn read(document: &[u8], reading: &mut Reading) -> Result<(), String> {
    let text = str::from_utf8(document).map_err(|_| "it is not UTF-8")?;
    documents(text, reading).map_err(|error| format!("it is nothing of MISP's: {error}"))
}

fn documents(text: &str, reading: &mut Reading) -> serde_json::Result<()> {
    let documents: Vec<Document<'_>> = if text.trim_start().starts_with('[') {
        serde_json::from_str(text)?
    } else {
        vec![serde_json::from_str(text)?]
    };
    for Document { event, response } in documents {
        if let Some(event) = event {
            take(&event, reading);
        }
        match response.map(RawValue::get) {
            Some(found) if found.starts_with('[') => documents_of(found, reading)?,
            Some(found) => take(&serde_json::from_str(found)?, reading),
            None => {}
        }
    }
    Ok(())
}

/// The events that a search has found; they hold no further search.
fn documents_of(found: &str, reading: &mut Reading) -> serde_json::Result<()> {
    for document in serde_json::from_str::<Vec<Document<'_>>>(found)? {
        if let Some(event) = document.event {
            take(&event, reading);
        }
    }
    Ok(())
}

fn take(event: &Event<'_>, reading: &mut Reading) {
    for attribute in &event.attributes {
        if let Some(attribute) = parsed::<Attribute>(attribute, reading) {
            take_attribute(&attribute, &event.tags, reading);
        }
    }
    for object in &event.objects {
        match serde_json::from_str::<Event<'_>>(object.get()) {
            // An object holds attributes alone, so this ends.
            Ok(object) if object.objects.is_empty() => take(&object, reading),
            Ok(_) => reading.refuse("an object within an object"),
            Err(error) => reading.refuse(error),
        }
    }
}

fn parsed<T: DeserializeOwned>(json: &RawValue, reading: &mut Reading) -> Option<T> {
    let parsed = serde_json::from_str(json.get());
    parsed.map_err(|error| reading.refuse(error)).ok()
}

fn take_attribute(attribute: &Attribute, of_event: &[Tag], reading: &mut Reading) {
    if !attribute.to_ids || attribute.deleted {
        return;
    }
    let address = match attribute.kind.as_str() {
        "ip-src" | "ip-dst" => &attribute.value,
        "ip-src|port" | "ip-dst|port" => attribute.value.split('|').next().unwrap_or_default(),
        _ => return,
    };
    let tags = of_event.iter().chain(&attribute.tags).map(|tag| tag.name.clone());
    let own = Own {
        tags: &tags.collect::<Vec<_>>(),
        ..Own::default()
    };
    reading.add(address, &own);
}
