"""Runs of selections, compared and looked back at."""
