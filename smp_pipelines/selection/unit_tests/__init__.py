"""Unit tests of selections: given rows, expected people."""
