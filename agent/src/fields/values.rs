//! Values as rules see them.

use std::borrow::Cow;

use jiff::Timestamp;
use rsigma_eval::EventValue;

#[expect(
    clippy::unnecessary_wraps,
    reason = "rows end in an option, whether or not this value can be absent"
)]
pub(super) fn text(value: &str) -> Option<EventValue<'_>> {
    Some(EventValue::Str(Cow::Borrowed(value)))
}

pub(super) fn non_empty(value: &str) -> Option<EventValue<'_>> {
    (!value.is_empty()).then_some(EventValue::Str(Cow::Borrowed(value)))
}

#[expect(clippy::unnecessary_wraps, reason = "as `text`")]
pub(super) fn number<'a>(value: impl Into<u32>) -> Option<EventValue<'a>> {
    Some(EventValue::Int(value.into().into()))
}

#[expect(clippy::unnecessary_wraps, reason = "as `text`")]
pub(super) fn integer<'a>(value: u64) -> Option<EventValue<'a>> {
    Some(EventValue::Int(i64::try_from(value).unwrap_or(i64::MAX)))
}

#[expect(clippy::unnecessary_wraps, reason = "as `text`")]
pub(super) fn time<'a>(time: Timestamp) -> Option<EventValue<'a>> {
    Some(EventValue::Str(Cow::Owned(time.to_string())))
}

#[expect(clippy::unnecessary_wraps, reason = "as `text`")]
pub(super) fn flag<'a>(value: bool) -> Option<EventValue<'a>> {
    Some(EventValue::Bool(value))
}

#[expect(clippy::unnecessary_wraps, reason = "as `text`")]
pub(super) fn address<'a>(ip: std::net::IpAddr) -> Option<EventValue<'a>> {
    Some(EventValue::Str(Cow::Owned(ip.to_canonical().to_string())))
}

/// A list that borrows its texts; absent when empty, so that a rule can ask whether there is any.
pub(super) fn list<'a>(values: impl Iterator<Item = &'a str>) -> Option<EventValue<'a>> {
    let values: Vec<_> = values.map(|value| EventValue::Str(Cow::Borrowed(value))).collect();
    (!values.is_empty()).then_some(EventValue::Array(values))
}

/// A list of texts that are made on the way; absent when empty.
pub(super) fn names<'a, S: Into<Cow<'a, str>>>(values: impl Iterator<Item = S>) -> Option<EventValue<'a>> {
    let values: Vec<_> = values.map(|value| EventValue::Str(value.into())).collect();
    (!values.is_empty()).then_some(EventValue::Array(values))
}
