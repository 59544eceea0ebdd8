"""Sources: what happens to people that makes them enter a flow (F42), and that wakes those who wait for it."""

from smp_pipelines.flow.sources.cursors import look_again
from smp_pipelines.flow.sources.hand import enrol_condition, enrol_people
from smp_pipelines.flow.sources.looking import look
from smp_pipelines.flow.sources.news import has_news
from smp_pipelines.flow.sources.waking import wake

__all__ = ["enrol_condition", "enrol_people", "has_news", "look", "look_again", "wake"]
