"""Flows as people write them: the models of a flow.yaml, and the graph of steps that comes out."""
