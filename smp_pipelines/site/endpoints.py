"""Endpoints: a page that asks by GET and takes the answer by POST."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from smp_pipelines.site.bodies import read_form

Asks = Callable[[Request], Response]
Takes = Callable[[Request, dict[str, str]], Response]


def get_or_post(ask: Asks, take: Takes) -> Callable[[Request], Awaitable[Response]]:
    """One endpoint of a page that asks and the taking of its answer; both run in threads."""

    async def answer(request: Request) -> Response:
        if request.method == "POST":
            return await run_in_threadpool(take, request, await read_form(request))
        return await run_in_threadpool(ask, request)

    return answer
