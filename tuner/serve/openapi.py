"""The routes in, their OpenAPI 3.1 document out: its schemas are those that check requests and write answers."""

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter

from tuner.serve.routes import EVENTS, HEALTH_ROUTE, OPENAPI, ROUTES, Route
from tuner.serve.shown import ErrorShown, StudyShown, TextShown, TrialShown
from tuner.study.events import Note, State

_REASONS = {
    400: "The body is no JSON.",
    401: "The token is missing or wrong.",
    403: "It comes from a page of another site: send X-Tuner: 1.",
    404: "There is no such thing.",
    409: "What there is does not allow it now.",
    413: "The body is larger than 64 KiB.",
    415: "The body is not application/json.",
    421: "The Host is not this machine's.",
    422: "A field is unknown, or has a value that is not allowed.",
    500: "The service failed: its log says why.",
    503: "The database cannot be used now.",
}
_ALWAYS, _OF_A_BODY = (401, 421, 422, 500, 503), (400, 403, 413, 415)
Mode = Literal["validation", "serialization"]


def document(version: str) -> dict[str, Any]:
    """Of this version of tuner."""
    models: list[tuple[str, Mode, TypeAdapter[Any]]] = [
        (name, mode, TypeAdapter(kind)) for name, (mode, kind) in _models().items()
    ]
    found, shared = TypeAdapter.json_schemas(models, ref_template="#/components/schemas/{model}")
    schemas = dict(shared.get("$defs", {}))
    names = {name: schema for (name, _), schema in found.items()}
    paths: dict[str, dict[str, Any]] = {}
    for route in (*ROUTES, HEALTH_ROUTE):
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, names, schemas)
    paths[EVENTS] = {"get": _events(names)}
    paths[OPENAPI] = {"get": _plain("openapi", "This document.", "application/json", {"type": "object"})}
    paths["/metrics"] = {"get": _plain("metrics", "What Prometheus reads.", "text/plain", {"type": "string"})}
    return {
        "openapi": "3.1.0",
        "info": {"title": "tuner", "version": version, "description": _ABOUT},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


_ABOUT = "Studies that find the best launch settings of vLLM. A POST needs the header X-Tuner: 1, or the Origin of the service."


def _models() -> dict[str, tuple[Mode, type]]:
    routes = (*ROUTES, HEALTH_ROUTE)
    answers: Iterable[type] = (
        *(route.answer for route in routes if route.answer is not TextShown),
        *(ErrorShown, TrialShown, StudyShown, State, Note),
    )
    found: dict[str, tuple[Mode, type]] = {kind.__name__: ("serialization", kind) for kind in answers}
    for route in routes:
        for model in (route.query, route.body):
            if model is not None:
                found[model.__name__] = ("validation", model)
    return found


def _operation(route: Route, names: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    made = _plain(route.name, route.about, *_content(route, names), status=route.status)
    made["parameters"] = [*_in_path(route), *_in_query(route.query, names, schemas)]
    refusals = sorted({*route.refusals, *_ALWAYS, *(_OF_A_BODY if route.body else ())})
    made["responses"] |= {str(status): _refusal(status, names) for status in refusals}
    if 503 in route.refusals:
        made["responses"]["503"] = {
            "description": "It is unwell.",
            "content": {"application/json": {"schema": {"anyOf": [names[route.answer.__name__], names["ErrorShown"]]}}},
        }
    if route.body is not None:
        made["parameters"].append(_X_TUNER)
        made["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": names[route.body.__name__]}},
        }
    return made


_X_TUNER = {"name": "X-Tuner", "in": "header", "required": True, "schema": {"type": "string", "enum": ["1"]}}


def _content(route: Route, names: dict[str, Any]) -> tuple[str, Any]:
    return (
        ("*/*", {"type": "string"}) if route.answer is TextShown else ("application/json", names[route.answer.__name__])
    )


def _plain(name: str, about: str, kind: str, schema: Any, status: int = 200) -> dict[str, Any]:
    answer = {"description": about, "content": {kind: {"schema": schema}}}
    return {"operationId": name, "summary": about, "responses": {str(status): answer}}


def _refusal(status: int, names: dict[str, Any]) -> dict[str, Any]:
    return {"description": _REASONS[status], "content": {"application/json": {"schema": names["ErrorShown"]}}}


def _in_path(route: Route) -> list[dict[str, Any]]:
    schema = {"type": "string", "minLength": 1, "maxLength": 200}
    return [
        {"name": name, "in": "path", "required": True, "schema": schema}
        for name in ("name", "id")
        if f"{{{name}}}" in route.path
    ]


def _in_query(model: type[BaseModel], names: dict[str, Any], schemas: dict[str, Any]) -> list[dict[str, Any]]:
    schema = names[model.__name__]
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    return [
        {"name": name, "in": "query", "required": False, "schema": _not_null(one)}
        for name, one in schema.get("properties", {}).items()
    ]


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter is there or not."""
    rest = {key: value for key, value in schema.items() if key not in ("anyOf", "default") or value is not None}
    if "anyOf" not in schema:
        return rest
    (one,) = [kind for kind in rest.pop("anyOf") if kind.get("type") != "null"]
    return {**rest, **one}


def _events(names: dict[str, Any]) -> dict[str, Any]:
    about = "Server-sent events: study (Study), trial (Trial), state, note. Last-Event-ID goes on after that event."
    made = _plain("events", about, "text/event-stream", {"type": "string"})
    made["parameters"] = [
        {
            "name": "name",
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1, "maxLength": 200},
        },
        {"name": "Last-Event-ID", "in": "header", "required": False, "schema": {"type": "string"}},
    ]
    made["responses"] |= {str(status): _refusal(status, names) for status in (401, 404, 421, 422, 500, 503)}
    return made
