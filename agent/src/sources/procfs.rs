//! What already stands
