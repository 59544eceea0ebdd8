"""News: whether a look at a flow would find anything, without reading more than the ends of a few indexes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from smp_pipelines.campaign.flow.sources import DateSource, ManualSource, SelectionSource, Trigger
from smp_pipelines.campaign.project import LoadedProject
from smp_pipelines.flow.sources import dates, selections
from smp_pipelines.flow.sources.cursors import read_cursor
from smp_pipelines.flow.sources.events import events_of
from smp_pipelines.flow.sources.moves import has_moves
from smp_pipelines.flow.sources.names import MOVED, source_name
from smp_pipelines.flow.sources.waking import awaited
from smp_pipelines.flow.version import FlowState, FlowVersion
from smp_pipelines.stores.postgres import Connection


def has_news(
    connection: Connection,
    version: FlowVersion,
    state: FlowState,
    project: LoadedProject,
    now: datetime,
    populated: Sequence[FlowVersion] = (),
) -> bool:
    """Whether something happened that a trigger of this version, or a step of a `populated` one, looks at."""
    if any(awaited(connection, each, state) for each in populated):
        return True
    if state.state != "live":
        return False
    moves = read_cursor(connection, version, state, MOVED)
    if moves.is_first or has_moves(connection, version, moves):
        return True
    return any(
        _is_new(connection, version, state, project, place, trigger, now)
        for place, trigger in enumerate(version.model.triggers)
    )


def _is_new(
    connection: Connection,
    version: FlowVersion,
    state: FlowState,
    project: LoadedProject,
    place: int,
    trigger: Trigger,
    now: datetime,
) -> bool:
    if isinstance(trigger, ManualSource):
        return False
    name = source_name(trigger, version.flow)
    if isinstance(trigger, SelectionSource):
        return selections.is_due(connection, trigger, read_cursor(connection, version, state, name, place), now)
    if isinstance(trigger, DateSource):
        cursor = read_cursor(connection, version, state, name, place)
        is_late = dates.late(trigger, version, cursor) is not None
        return cursor.is_first or is_late or bool(dates.due_occurrences(trigger, version, cursor, now))
    events = events_of(trigger, version, project)
    cursor = read_cursor(connection, version, state, name, place, twice=events.twice)
    return cursor.has_news(connection, [events.table])
