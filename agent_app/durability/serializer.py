"""Values and errors to JSON text and back, for DBOS's columns; nothing stored is ever executed.

What JSON lacks is tagged: an object with one key, which begins with a dollar sign. A tuple comes
back as a list. Every other type is turned into JSON by Pydantic before it gets here, or refused.
"""

import builtins
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dbos import Serializer
from dbos import error as dbos_error
from dbos._serialization import DefaultSerializer
from pydantic_ai import exceptions as pydantic_ai_exceptions
from sqlalchemy.exc import DBAPIError

from agent_app import errors as our_errors
from agent_app.durability.events import ATTEMPTS
from agent_app.errors import PayloadRefused, RecordedError, ValueNotStorable

CHECKPOINT, VALUE, USAGE = "$checkpoint", "value", "usage"
ERROR, TEXT, FLOAT, PAIRS = "$error", "$text", "$float", "$pairs"
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_TAGS = {CHECKPOINT, ERROR, TEXT, FLOAT, PAIRS}
_MAX_DEPTH = 200
"""Levels of nesting; Python's own JSON encoder gives up at about 1,000."""
_MAX_INT_BITS = 13_000
"""About 3,900 digits; Python refuses to turn more than 4,300 into text."""
OF = "checkpoint_of"
"""Attribute of a recorded error: what its checkpoint is of. It outlives every rebuilding."""


@dataclass
class Checkpoint:
    """What a step leaves behind: `of` names the call, `usage` is what delegates spent."""

    of: str
    value: Any
    usage: dict[str, Any] | None = None
    text: str | None = field(default=None, repr=False, compare=False)
    """The JSON, where it has been written already."""


class JsonSerializer(Serializer):
    """Plain JSON that `psql` can read; its name is an address in the database and never changes."""

    def name(self) -> str:
        """Return the tag of every row that we write."""
        return "agent_app_json"

    def serialize(self, data: Any) -> str:
        """Write `data` as JSON.

        Raises: ValueNotStorable (a type that JSON does not know); DBOSWorkflowConflictIDError (what
        DBOS met when it wrote an outcome; recorded as the run's own error it would be final).
        """
        if isinstance(data, DBAPIError):  # a body's comes as a RecordedError
            raise dbos_error.DBOSWorkflowConflictIDError("") from data  # any Exception it replaces
        if isinstance(data, Checkpoint) and data.text is not None:
            return data.text
        plain = _encode_error(data) if isinstance(data, BaseException) else _encode(data, 0)
        return json.dumps(plain, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    def deserialize(self, serialized_data: str) -> Any:
        """Read what `serialize` wrote; no import, no constructor of a foreign class.

        Raises: PayloadRefused (the text is not JSON).
        """
        try:
            return _decode(json.loads(serialized_data))
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise PayloadRefused("agent_app_json, but damaged") from error


def refuse_pickle() -> None:
    """Make DBOS refuse rows tagged as pickle, which it decodes whatever serializer is configured.

    A planted row would otherwise execute code on a plain listing (DBOS 3.4). Idempotent.
    """
    tag = DefaultSerializer().name()

    def refuse(self: DefaultSerializer, data: Any) -> Any:
        raise PayloadRefused(tag)

    for method in ("serialize", "deserialize"):
        setattr(DefaultSerializer, method, refuse)


def as_recorded(error: BaseException) -> BaseException:
    """Return `error` as a replay will see it, so that both lives of a run take the same branch."""
    decoded: BaseException = _decode_error(_encode_error(error)[ERROR])
    return decoded


def _encode(value: Any, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise ValueNotStorable("", f"it is nested deeper than {_MAX_DEPTH} levels")
    encode = _BY_TYPE.get(type(value)) or _encoder_of_base(value)
    return encode(value, depth)


def _encoder_of_base(value: Any) -> Callable[[Any, int], Any]:
    """Find the encoder for an instance of a subclass: an enum's member, a named tuple, an error."""
    for base, encode in _BY_TYPE.items():
        if isinstance(value, base):
            return encode
    kind = type(value)
    raise ValueNotStorable("", f"its type is {kind.__module__}.{kind.__qualname__}")


def _encode_str(value: str, depth: int) -> Any:
    return _encode_text(str.__str__(value))  # of a str enum, the text and not the member's name


def _encode_int(value: int, depth: int) -> int:
    if value.bit_length() > _MAX_INT_BITS:
        raise ValueNotStorable("", "it is an integer of thousands of digits")
    return int(value)


def _encode_float(value: float, depth: int) -> Any:
    return float(value) if math.isfinite(value) else {FLOAT: str(float(value))}


def _encode_sequence(value: list[Any] | tuple[Any, ...], depth: int) -> list[Any]:
    return [_encode(item, depth + 1) for item in value]


def _encode_checkpoint(value: Checkpoint, depth: int) -> dict[str, Any]:
    stored = {CHECKPOINT: value.of, VALUE: _encode(value.value, depth + 1)}
    return stored if value.usage is None else {**stored, USAGE: _encode(value.usage, depth + 1)}


def _encode_text(text: str) -> Any:
    """Tag what Postgres cannot hold as jsonb: the character NUL and halves of a surrogate pair."""
    if ("\0" not in text) if text.isascii() else not _UNSTORABLE.search(text):
        return text
    return {TEXT: text.encode("unicode_escape").decode("ascii")}


def _encode_mapping(mapping: dict[Any, Any], depth: int) -> Any:
    if not all(isinstance(key, str) for key in mapping):
        odd = next(key for key in mapping if not isinstance(key, str))
        raise ValueNotStorable("", f"a key is {odd!r}, JSON keys are strings")
    pairs = [
        (_encode_text(str.__str__(key)), _encode(item, depth + 1)) for key, item in mapping.items()
    ]
    if _TAGS.isdisjoint(mapping) and all(isinstance(key, str) for key, _ in pairs):
        return dict(pairs)
    return {PAIRS: [list(pair) for pair in pairs]}


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if CHECKPOINT in value and VALUE in value:
        return Checkpoint(value[CHECKPOINT], _decode(value[VALUE]), _decode(value.get(USAGE)))
    if ERROR in value:
        return _decode_error(value[ERROR])
    if TEXT in value:
        return value[TEXT].encode("ascii").decode("unicode_escape")
    if FLOAT in value:
        return float(value[FLOAT])
    if PAIRS in value:
        return {_decode(key): _decode(item) for key, item in value[PAIRS]}
    return {key: _decode(item) for key, item in value.items()}


def _encode_error(error: BaseException) -> dict[str, Any]:
    kind = type(error)
    return {
        ERROR: {
            "type": f"{kind.__module__}:{kind.__qualname__}",
            "message": _encode_text(_message(error)),
            "args": [_encode_or_describe(item) for item in _constructor_args(error)],
            "state": {key: _encode_or_describe(item) for key, item in _state(error).items()},
        }
    }


_BY_TYPE: dict[type[Any], Callable[[Any, int], Any]] = {
    str: _encode_str,
    type(None): lambda value, depth: value,
    bool: lambda value, depth: value,
    int: _encode_int,
    float: _encode_float,
    list: _encode_sequence,
    tuple: _encode_sequence,
    dict: _encode_mapping,
    Checkpoint: _encode_checkpoint,
}
"""In this order for a subclass: bool before int."""


def _constructor_args(error: BaseException) -> tuple[Any, ...]:
    if isinstance(error, OSError) and error.filename is not None:
        return (error.errno, error.strerror, error.filename)  # its own args leave the file out
    return BaseException.args.__get__(error)  # type: ignore[no-any-return, attr-defined]


def _state(error: BaseException) -> dict[str, Any]:
    """Return the attributes; a name that Postgres cannot hold is left out."""
    try:
        attributes = dict(vars(error))
    except Exception:  # a class can put anything in the place of `__dict__`
        return {}
    return {
        key: item
        for key, item in attributes.items()
        if isinstance(key, str) and not key.startswith("__") and _encode_text(key) == key
    }


def _message(error: BaseException) -> str:
    try:
        return str.__str__(str(error))
    except Exception as failure:
        return f"<its message cannot be built: {type(failure).__name__}>"


def _encode_or_describe(value: Any) -> Any:
    """Encode a part of an error; writing an error must never fail, so the rest becomes its repr."""
    try:
        return _encode(value, 1)
    except Exception:
        try:
            return _encode_text(repr(value)[:1000])
        except Exception:
            return f"<{type(value).__qualname__}>"


def _decode_error(stored: dict[str, Any]) -> BaseException:
    args = [_decode(item) for item in stored.get("args", [])]
    state = {str(key): _decode(item) for key, item in stored.get("state", {}).items()}
    message = _decode(stored["message"])
    kind = _error_class(stored["type"])
    if kind is None:
        error: BaseException = RecordedError(stored["type"].replace(":", "."), message)
    else:
        error = _rebuild(kind, args, state, message)
    for name in (OF, ATTEMPTS):
        if name in state:
            setattr(error, name, state[name])
    return error


def _rebuild(
    kind: type[Exception], args: list[Any], state: dict[str, Any], message: str
) -> BaseException:
    """Make the error again; one that resists comes back by its name, in every life alike."""
    try:
        if issubclass(kind, pydantic_ai_exceptions.ModelAPIError) and "status_code" in state:
            return _rebuild_http_error(kind, state)
        if kind.__module__ == builtins.__name__:
            error = kind(*args)  # several keep their message where only the constructor sets it
        else:
            make = OSError.__new__ if issubclass(kind, OSError) else kind.__new__
            error = make(kind, *args)
            error.args = tuple(args)
        error.__dict__.update(state)
        str(error)
    except Exception:
        return RecordedError(f"{kind.__module__}.{kind.__qualname__}", message)
    return error


def _error_class(name: str) -> type[Exception] | None:
    """Look a class up in three modules that are loaded anyway; anything else stays a name."""
    module_name, _, qualified_name = name.partition(":")
    modules = {module.__name__: module for module in (builtins, our_errors, pydantic_ai_exceptions)}
    found = getattr(modules.get(module_name), qualified_name, None)
    if not isinstance(found, type) or not issubclass(found, Exception):
        return None
    # A group holds other errors, a UnicodeError bytes and a SyntaxError a tuple: none comes back
    # from its arguments. StopIteration cannot be raised from a coroutine.
    lost = (BaseExceptionGroup, UnicodeError, SyntaxError, StopIteration, StopAsyncIteration)
    return None if issubclass(found, lost) else found


_HTTP_STATE = (
    "status_code",
    "model_name",
    "body",
    "headers",
    "suggested_model_id",
    "hint",
    "provider_error_code",
    "provider_error_type",
    "retry_after",
    "in_stream",
)


def _rebuild_http_error(kind: Any, state: dict[str, Any]) -> BaseException:
    """Rebuild through `for_category`: the raised classes are private, named as their category."""
    known = {key: state[key] for key in _HTTP_STATE if key in state}
    category = None if kind is pydantic_ai_exceptions.ModelHTTPError else kind
    return pydantic_ai_exceptions.ModelHTTPError.for_category(category, **known)
