"""Audiences: selections and target groups over the stores of a deployment."""
