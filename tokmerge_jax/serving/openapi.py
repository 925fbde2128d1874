"""The OpenAPI document: what each address takes and returns, from the models that check it."""

import dataclasses
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response

from tokmerge_jax.serving.answers import Problem
from tokmerge_jax.serving.parameters import Parameters
from tokmerge_jax.types import Json

_SCHEMAS = "#/components/schemas/{model}"


@dataclasses.dataclass(frozen=True)
class Operation:
    """What the server does for a method at an address.

    Attributes:
      method: GET (which includes HEAD) or POST.
      path: the address; names in braces are any text without "/".
      run: makes the answer; its docstring is the summary.
      takes: the parameters.
      gives: the model or the media type of the answer.
      body: media types of the body, if it takes one.
    """

    method: str
    path: str
    run: Callable[[Request], Awaitable[Response]]
    gives: type[BaseModel] | str
    takes: type[Parameters] = Parameters
    body: Sequence[str] = ()


def document(operations: Sequence[Operation], version: str) -> dict[str, Json]:
    """The document of these operations."""
    models = {each.gives for each in operations if not isinstance(each.gives, str)} | {Problem}
    ordered = sorted(models, key=lambda model: model.__name__)
    _, schemas = models_json_schema(
        [(model, "serialization") for model in ordered], ref_template=_SCHEMAS
    )
    paths: dict[str, dict[str, Json]] = {}
    for each in operations:
        paths.setdefault(each.path, {})[each.method.lower()] = _described(each)
    return {
        "openapi": "3.1.0",
        "info": {"title": "tokmerge serve", "version": version},
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _described(operation: Operation) -> dict[str, Json]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", operation.path)
    ]
    schema = operation.takes.model_json_schema()
    required = schema.get("required", [])
    in_query = [
        {"name": name, "in": "query", "required": name in required, "schema": field}
        for name, field in schema["properties"].items()
    ]
    refused = {"description": "refused", "content": _content(Problem)}
    described = {
        "summary": (operation.run.__doc__ or "").partition("\n")[0],
        "parameters": in_path + in_query,
        "responses": {
            "200": {"description": "the answer", "content": _content(operation.gives)},
            "4XX": refused,
            "5XX": refused,
        },
    }
    if operation.body:
        content = {kind: {} for kind in operation.body}
        described["requestBody"] = {"required": True, "content": content}
    return described


def _content(kind: type[BaseModel] | str) -> Mapping[str, Json]:
    """The content of an answer."""
    if isinstance(kind, str):
        return {kind: {}}
    return {"application/json": {"schema": {"$ref": _SCHEMAS.format(model=kind.__name__)}}}
