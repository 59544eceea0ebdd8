"""Predicates of a selection, judged per person."""
