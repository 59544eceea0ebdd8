"""What can be read from a parsed selection: exclusion, lineage, impact."""
