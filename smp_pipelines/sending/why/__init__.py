"""Why somebody gets a step or not."""
