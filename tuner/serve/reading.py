"""A query or a body in, a closed record out; or a Refused that names the field that is wrong."""

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from tuner.errors import did_you_mean
from tuner.serve.refused import Refused

Model = TypeVar("Model", bound=BaseModel)


class NoJson(Refused):
    """The body is no JSON."""

    status = 400


def read_body(model: type[Model], data: bytes) -> Model:
    """An empty body is an empty object where nothing has to be said. Raises Refused."""
    try:
        return model.model_validate_json(data or b"{}")
    except ValidationError as error:
        raise _refused(model, error, "the body") from None


def read_query(model: type[Model], given: Mapping[str, str]) -> Model:
    """Raises Refused."""
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        raise _refused(model, error, "the query") from None


def _refused(model: type[BaseModel], error: ValidationError, where: str) -> Refused:
    errors = error.errors(include_url=False, include_input=False)
    if errors[0]["type"] == "json_invalid":
        return NoJson(f"{where} is no JSON: {errors[0]['ctx']['error']}")
    first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
    named = ".".join(_shown(part) for part in first["loc"]) or where
    if first["type"] == "extra_forbidden":
        return Refused(
            f"{named}: there is no such field{did_you_mean(str(first['loc'][-1])[:100], model.model_fields)}"
        )
    told = first["msg"]
    return Refused(f"{named}: {told[0].lower()}{told[1:]}")


def _shown(part: int | str) -> str:
    """A name that a client made up may be anything."""
    return str(part) if isinstance(part, int) or part.isidentifier() else repr(part[:100])
