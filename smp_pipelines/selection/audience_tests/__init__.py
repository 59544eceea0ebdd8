"""Audience tests: what has to be true of an audience before it is mailed."""
