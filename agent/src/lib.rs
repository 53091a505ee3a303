//! Tocsin's agent.
