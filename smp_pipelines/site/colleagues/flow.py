"""The pages of flows: all of them, one with its diagram, figures, participants and content, and a path (F35, F36, F47).

Nothing here changes anything: what runs and what not is said with `smp flow`, which keeps who did it and why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from urllib.parse import urlencode

from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.templating import Jinja2Templates

from smp_pipelines.campaign.flow.graph import Node
from smp_pipelines.campaign.wording import did_you_mean
from smp_pipelines.deployment import Deployment
from smp_pipelines.flow.drawing import draw
from smp_pipelines.flow.seeing import (
    PAGE,
    VersionCounts,
    Wanted,
    read_days,
    read_overview,
    read_participants,
    read_path,
)
from smp_pipelines.flow.status import read_flow_changes
from smp_pipelines.flow.wording import OUTCOMES, entry_words, kind_words, note_words, reason_words, way_words
from smp_pipelines.problems import SmpError
from smp_pipelines.sending.status import read_statuses
from smp_pipelines.site.colleagues.flow_cards import TABS, Shown, content_of, list_flows, people_of, show
from smp_pipelines.site.colleagues.flow_charts import draw_days, step_bars
from smp_pipelines.site.colleagues.ids import read_id
from smp_pipelines.site.colleagues.wording import sentence
from smp_pipelines.site.source import Source
from smp_pipelines.stores.clock import Clock
from smp_pipelines.stores.postgres import Connection

_DAYS = 60
"""Days on the chart of entering and leaving."""
_LATEST = 10
"""Changes that the summary lists."""


class FlowPages:
    """The endpoints. They are plain functions, which Starlette runs in threads."""

    def __init__(self, source: Source, clock: Clock, templates: Jinja2Templates) -> None:
        self.source = source
        self.clock = clock
        self.templates = templates
        templates.env.filters.update(
            entry_words=entry_words, kind_words=kind_words, reason_words=reason_words, note_words=note_words
        )

    def routes(self) -> list[Route]:
        """Give every address."""
        return [
            Route("/flows", self.overview),
            Route("/flows/{flow}", self.summary),
            Route("/flows/{flow}/reports", self.reports),
            Route("/flows/{flow}/participants", self.participants),
            Route("/flows/{flow}/participants/{participant}", self.path),
            Route("/flows/{flow}/content", self.content),
        ]

    def overview(self, request: Request) -> Response:
        """Show all flows, those that run, or those that a word finds (F36): `?show=running`, `?search=`."""
        project = self.source.deployment().project
        search = request.query_params.get("search", "").strip()
        which = request.query_params.get("show", "all")
        with self.source.connection() as connection:
            cards = list_flows(project, read_overview(connection), which, search)
        context = {"project": project.settings, "flows": cards, "search": search, "show": which}
        return self.templates.TemplateResponse(request, "flows.html", context)

    def summary(self, request: Request) -> Response:
        """Show what a flow is, its figures and its diagram; `?version=` shows an older version."""
        deployment, flow = self._deployment(request)
        with self.source.connection() as connection:
            shown = self._show(connection, deployment, flow, request)
            changes = read_flow_changes(connection, flow)[:_LATEST] if shown.counts else []
        link = self._waiting_link(flow, shown.version) if shown.version and shown.counts else None
        more = {
            # every text in it was escaped where it was put in
            "diagram": Markup(draw(shown.version, link)) if shown.version else None,  # noqa: S704
            "changes": changes,
        }
        return self._page(request, deployment, shown, "summary", more)

    def reports(self, request: Request) -> Response:
        """Show charts: what happened per day, per step, and to its mails (F48)."""
        deployment, flow = self._deployment(request)
        zone = deployment.project.settings.zone
        with self.source.connection() as connection:
            shown = self._show(connection, deployment, flow, request)
            since = self.clock.now() - timedelta(days=_DAYS)
            days = read_days(connection, shown.counts.state, since, zone) if shown.counts else []
        more = {"days": draw_days(days), "bars": step_bars(shown.version), "length": _DAYS}
        return self._page(request, deployment, shown, "reports", more)

    def participants(self, request: Request) -> Response:
        """Show a page of participants: all, or those at a step (F35, F47)."""
        deployment, flow = self._deployment(request)
        asked = request.query_params
        person, before = (read_id(asked.get(name, "").strip(), name) for name in ("person", "before"))
        found = []
        with self.source.connection() as connection:
            shown = self._show(connection, deployment, flow, request)
            at = _node(shown, asked.get("step", ""))
            if shown.counts and shown.version:
                version_id = shown.version.version.version_id if at or asked.get("version") else None
                wanted = Wanted(version_id, at.number if at else None, person, asked.get("show") == "waiting")
                found = read_participants(connection, shown.counts.state, wanted, before)
            people = people_of(connection, found)
        kept = {name: asked[name] for name in ("version", "step", "person", "show") if asked.get(name)}
        following = urlencode({**kept, "before": found[-1].participant_id}) if len(found) == PAGE else None
        names = {ref.key: ref.step.name for ref in deployment.project.steps()}
        more = {
            **{"found": found, "people": people, "names": names, "at": at, "person": person},
            **{"kept": kept, "following": following},
        }
        return self._page(request, deployment, shown, "participants", more)

    def path(self, request: Request) -> Response:
        """Show the path that one participant took (F47)."""
        deployment, flow = self._deployment(request)
        number = read_id(request.path_params["participant"], "participant")
        with self.source.connection() as connection:
            try:
                path = read_path(connection, number or 0)
            except SmpError as error:
                raise HTTPException(404, sentence(str(error))) from error
            if path.flow != flow:
                raise HTTPException(404, f"Participant {number} is in another flow.")
            people = people_of(connection, [path.participant])
        context = {
            "project": deployment.project.settings,
            "flow": flow,
            "path": path,
            "who": people.get(path.participant.person_id),
            "outcomes": OUTCOMES,
            "way_words": way_words,
        }
        return self.templates.TemplateResponse(request, "flow_path.html", context)

    def content(self, request: Request) -> Response:
        """Show the mails, forms and pages that a flow uses, with their previews (F35, F39)."""
        deployment, flow = self._deployment(request)
        with self.source.connection() as connection:
            shown = self._show(connection, deployment, flow, request)
            statuses = read_statuses(connection, [ref.key for ref in deployment.project.steps()])
        more = {"content": content_of(deployment.project, shown.version, statuses)}
        return self._page(request, deployment, shown, "content", more)

    def _deployment(self, request: Request) -> tuple[Deployment, str]:
        return self.source.deployment(), request.path_params["flow"]

    def _show(self, connection: Connection, deployment: Deployment, flow: str, request: Request) -> Shown:
        version = read_id(request.query_params.get("version", ""), "version")
        shown = show(connection, deployment, flow, version)
        if shown is None:
            remedy = did_you_mean(flow, deployment.project.flows)
            raise HTTPException(404, f"There is no flow {flow}." + (f"\n→ {remedy}" if remedy else ""))
        if version is not None and (shown.version is None or shown.version.version.number != version):
            raise HTTPException(404, f"Flow {flow} has no version {version}.")
        return shown

    def _waiting_link(self, flow: str, counts: VersionCounts) -> Callable[[Node], str]:
        """Where the step of a diagram leads: to who waits there."""
        number = counts.version.number
        return lambda node: f"/flows/{flow}/participants?{urlencode({'version': number, 'step': node.name})}"

    def _page(
        self, request: Request, deployment: Deployment, shown: Shown, tab: str, more: Mapping[str, object]
    ) -> Response:
        context = {
            "project": deployment.project.settings,
            "shown": shown,
            "tab": tab,
            "tabs": TABS,
            "outcomes": OUTCOMES,
            **more,
        }
        return self.templates.TemplateResponse(request, f"flow_{tab}.html", context)


def _node(shown: Shown, name: str) -> Node | None:
    """The step that the address names; HTTPException 404 when the version has none of that name."""
    if not name:
        return None
    nodes = shown.version.version.nodes if shown.version else ()
    found = next((node for node in nodes if node.name == name), None)
    if found is None:
        raise HTTPException(404, f"There is no step {name} in this version.")
    return found
