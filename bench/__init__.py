"""Speed and memory of smp_pipelines, measured against a baseline of the same run: `python -m bench`."""
