"""Criteria files: selections written as YAML."""
