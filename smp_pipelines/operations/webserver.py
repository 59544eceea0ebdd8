"""Dagster's webserver, asked over its GraphQL API: how the definitions stand, and to load them again."""

from __future__ import annotations

import json
import urllib.request
from http.client import HTTPException
from typing import Any

from smp_pipelines.problems import SmpError

LOCATION = "smp_pipelines"
"""The name of the code location, as in workspace.yaml."""

_LOADED = """
query Loaded($name: String!) {
  workspaceLocationEntryOrError(name: $name) {
    __typename
    ... on WorkspaceLocationEntry { locationOrLoadError { __typename ... on PythonError { message } } }
    ... on PythonError { message }
  }
}
"""
_RELOAD = """
mutation Reload($name: String!) {
  reloadRepositoryLocation(repositoryLocationName: $name) {
    __typename
    ... on WorkspaceLocationEntry { locationOrLoadError { __typename ... on PythonError { message } } }
    ... on ReloadNotSupported { message }
    ... on RepositoryLocationNotFound { message }
    ... on PythonError { message }
  }
}
"""


def load_error(port: int) -> str | None:
    """What Dagster says is wrong with the definitions; None when they are loaded. Raises SmpError."""
    return _complaint(_ask(port, _LOADED, 30.0)["workspaceLocationEntryOrError"])


def reload_definitions(port: int) -> str | None:
    """Have the code server load the project again; what is wrong, or None. Raises SmpError. Runs go on."""
    return _complaint(_ask(port, _RELOAD, 200.0)["reloadRepositoryLocation"])


def _complaint(entry: dict[str, Any]) -> str | None:
    loaded = entry.get("locationOrLoadError") or entry
    if loaded["__typename"] == "RepositoryLocation":
        return None
    return str(loaded.get("message") or loaded["__typename"]).strip()


def _ask(port: int, query: str, seconds: float) -> dict[str, Any]:
    body = json.dumps({"query": query, "variables": {"name": LOCATION}}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/graphql", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:  # noqa: S310  (our own URL)
            told: dict[str, Any] = json.load(answer)
    except (OSError, HTTPException, ValueError) as error:
        raise SmpError(f"Dagster's webserver does not answer: {error}") from error
    if told.get("errors"):
        raise SmpError(f"Dagster's webserver refuses: {told['errors'][0]['message']}")
    data: dict[str, Any] = told["data"]
    return data
