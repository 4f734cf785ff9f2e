"""The OpenAPI document says what the handlers do."""

from __future__ import annotations

from typing import Any

import jsonschema

from records.api.app import DOCUMENT_PATH, make_app
from records.api.pages import PageFiles
from records.store.store import Store
from tests.records.api.kit import serving
from tests.records.kit import Teller
from trunkline.v1 import record_pb2 as pb

NOT_DESCRIBED = {DOCUMENT_PATH, "/healthz"}


def paths_served() -> set[tuple[str, str]]:
    app = make_app(None, _Anybody(), "0", PageFiles({}))  # type: ignore[arg-type]
    return {
        (route.method.lower(), route.resource.canonical)
        for route in app.router.routes()
        if route.resource and route.method != "HEAD"
    }


class _Anybody:
    def check(self, handler: object) -> object:
        return handler


async def test_the_document_has_every_path_and_no_other(store: Store) -> None:
    """As it is served, to anybody."""
    async with serving(store) as api:
        status, told = await api.get(DOCUMENT_PATH, "")
    described = {(method, path) for path, methods in told["paths"].items() for method in methods}
    assert status == 200
    assert described == {one for one in paths_served() if one[1] not in NOT_DESCRIBED}
    ids = [one["operationId"] for methods in told["paths"].values() for one in methods.values()]
    assert len(ids) == len(set(ids))


async def test_answers_are_as_described(store: Store) -> None:
    """Each answer of each path against its schema, and refusals against that of problems."""
    teller = Teller()
    store.write(
        [
            *teller.whole_call(),
            teller.tell(moved=pb.Moved(kind=pb.MOVE_KIND_CRASH, from_node=1, to_node=2)),
        ]
    )
    async with serving(store) as api:
        _, told = await api.get(DOCUMENT_PATH, "")
        for path, methods in told["paths"].items():
            content = methods.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
            if "application/json" not in content:
                continue
            status, answer = await api.get(path.format(call_id=teller.call_id))
            assert status == 200, answer
            _check(told, content["application/json"]["schema"], answer)
            if "{call_id}" in path:
                status, answer = await api.get(path.format(call_id="rtc_none"))
                assert status == 404
                _check(told, {"$ref": "#/components/schemas/Problem"}, answer)


def _check(document: dict[str, Any], schema: dict[str, Any], answer: Any) -> None:
    whole = {**schema, "components": document["components"]}
    jsonschema.Draft202012Validator.check_schema(whole)
    jsonschema.validate(answer, whole, cls=jsonschema.Draft202012Validator)
    _no_more(document, schema, answer)


def _no_more(document: dict[str, Any], schema: dict[str, Any], answer: Any) -> None:
    """An answer has no member that the schema does not name."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if isinstance(answer, dict) and "properties" in schema:
        names = set(schema["properties"])
        assert set(answer) <= names
        for name, value in answer.items():
            _no_more(document, schema["properties"][name], value)
    if isinstance(answer, list) and "items" in schema:
        for one in answer:
            _no_more(document, schema["items"], one)
