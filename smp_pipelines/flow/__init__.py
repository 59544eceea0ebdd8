"""Flows: people on their way along the steps of a frozen version, moved together, a statement per step."""
