"""Tools: an HTTP server of ours, and what the model is told when it does not work."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from backends.agent.tools import MAX_ANSWER_BYTES, GetTime, HttpTool, Toolbox


async def _weather(request: web.Request) -> web.Response:
    sent = dict(request.query) if request.method == "GET" else await request.json()
    return web.json_response({"heard": sent, "key": request.headers.get("X-Key")})


async def _fail(_: web.Request) -> web.Response:
    return web.Response(status=500, text="secret trace")


async def _flood(_: web.Request) -> web.Response:
    return web.Response(body=b"x" * 10 * MAX_ANSWER_BYTES)


async def _hang(_: web.Request) -> web.Response:
    await asyncio.Event().wait()
    return web.Response()


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    """The endpoints above."""
    app = web.Application()
    for path, handler in (("/w", _weather), ("/fail", _fail), ("/flood", _flood), ("/hang", _hang)):
        app.router.add_route("*", path, handler)
    async with TestServer(app) as server:
        yield server  # type: ignore[misc]


def toolbox(server: TestServer, path: str, **members: object) -> Toolbox:
    tool = {"name": "t", "url": str(server.make_url(path)), **members}
    return Toolbox([GetTime(), HttpTool.model_validate_json(json.dumps(tool))])


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_arguments_go_and_an_answer_comes(server: TestServer, method: str) -> None:
    """As query or as JSON, with the declared headers."""
    tools = toolbox(server, "/w", method=method, headers={"X-Key": "k"})
    answer = json.loads(await tools.run("t", '{"city":"Rome"}'))
    assert answer == {"heard": {"city": "Rome"}, "key": "k"}


@pytest.mark.parametrize(
    ("path", "arguments", "told"),
    [
        ("/fail", "{}", "status 500"),
        ("/hang", "{}", "in time"),
        ("/w", "not json", "not valid JSON"),
        ("/w", "[1]", "not an object"),
    ],
)
async def test_the_model_is_told_what_failed(
    server: TestServer, path: str, arguments: str, told: str
) -> None:
    """In a phrase of ours, never the server's text."""
    tools = toolbox(server, path, timeout_s=0.2)
    error = json.loads(await tools.run("t", arguments))["error"]
    assert told in error
    assert "secret" not in error


async def test_a_server_that_is_not_there() -> None:
    """The model is told."""
    tool = HttpTool.model_validate_json('{"name": "t", "url": "http://127.0.0.1:1/"}')
    assert "reached" in await Toolbox([tool]).run("t", "{}")


async def test_an_answer_is_bounded(server: TestServer) -> None:
    """What is beyond the bound is not read."""
    assert len(await toolbox(server, "/flood").run("t", "{}")) <= MAX_ANSWER_BYTES


async def test_the_time() -> None:
    """It has an hour and a day, and no name stands twice in a toolbox."""
    told = json.loads(await Toolbox([GetTime()]).run("get_time", ""))
    assert told["time"][-2:] in ("AM", "PM")
    with pytest.raises(ValueError, match="same name"):
        Toolbox([GetTime(), GetTime()])
