"""The serializer: every JSON value and every error comes back, and Postgres takes the text."""

import builtins
import copy
import inspect
import json
from contextlib import suppress
from typing import Any

import httpx
import pytest
from dbos import error as dbos_error
from hypothesis import given
from hypothesis import strategies as st
from pydantic_ai import exceptions as pydantic_ai_exceptions
from pydantic_ai.exceptions import (
    ModelAuthenticationError,
    ModelContextWindowExceededError,
    ModelHTTPError,
    ModelNotFoundError,
    ModelOverloadedError,
    ModelQuotaExceededError,
    ModelRateLimitError,
    ModelRequestRejectedError,
    ModelServerError,
    ModelUnavailableError,
)
from sqlalchemy.exc import DBAPIError

from agent_app import errors as our_errors
from agent_app.durability.serializer import OF, Checkpoint, JsonSerializer, as_recorded
from agent_app.errors import AgentAppError, PayloadRefused, RecordedError, ValueNotStorable

SERIALIZER = JsonSerializer()
TAGS = ["$checkpoint", "$error", "$text", "$float", "$pairs", "value", "usage", "type"]
ODD_TEXT = st.text(st.characters(exclude_categories=())) | st.sampled_from([*TAGS, "\0", "\ud83d"])
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ODD_TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(ODD_TEXT, inner),
    max_leaves=30,
)


def round_trip(value: Any) -> Any:
    """Return what is read back after `value` was written."""
    return SERIALIZER.deserialize(SERIALIZER.serialize(value))


def spell(value: Any) -> str:
    """Return a text by which two values are the same, NaN and -0.0 included."""
    return repr(value)


@given(JSON_VALUES)
def test_every_json_value_comes_back(value: Any) -> None:
    """Text with NUL and half surrogates, NaN, and keys that look like our tags are no exception."""
    assert spell(round_trip(value)) == spell(value)


@given(JSON_VALUES)
def test_every_checkpoint_comes_back(value: Any) -> None:
    """A checkpoint keeps what it is of, its value and its usage."""
    checkpoint = Checkpoint("of", value, {"details": {"a\0": 1}, "audio_seconds": float("inf")})
    again = round_trip(checkpoint)
    assert spell(again) == spell(checkpoint)


@given(JSON_VALUES)
def test_the_text_is_strict_json_that_jsonb_takes(value: Any) -> None:
    """No NaN, no NUL and no half surrogate is left in the text."""
    text = SERIALIZER.serialize(value)
    json.loads(text, parse_constant=lambda name: pytest.fail(name))
    text.encode("utf-8")
    assert "\\u0000" not in text.replace("\\\\", "")


@given(ODD_TEXT, JSON_VALUES)
def test_errors_come_back_with_arguments_and_attributes(message: str, value: Any) -> None:
    """A builtin error keeps its message, its arguments and what was set on it."""
    error = ValueError(message, value)
    vars(error)["note"] = value
    again: Any = round_trip(error)
    assert type(again) is ValueError
    assert spell(again.args) == spell(error.args)
    assert spell(vars(again)["note"]) == spell(value)


@given(st.text())
def test_damaged_text_is_refused(text: str) -> None:
    """What is no JSON of ours is refused, with no other error."""
    try:
        value = SERIALIZER.deserialize(text)
    except PayloadRefused:
        return
    assert spell(SERIALIZER.deserialize(SERIALIZER.serialize(value))) == spell(value)


DAMAGED = [
    '{"$error": 1}',
    '{"$error": {}}',
    '{"$error": {"type": 1, "message": ""}}',
    '{"$error": {"type": "builtins:ValueError", "message": "", "state": 3}}',
    '{"$error": {"type": "pydantic_ai.exceptions:ModelHTTPError", "message": "",'
    ' "state": {"status_code": "x"}}}',
    '{"$error": {"type": "agent_app.errors:RunNotFound", "message": "", "args": 5}}',
    '{"$error": {"type": "builtins:OSError", "message": "", "args": {"a": 1}, "state": [1]}}',
    '{"$text": 3}',
    '{"$text": "\\\\x"}',
    '{"$float": "abc"}',
    '{"$float": []}',
    '{"$pairs": [1]}',
    '{"$pairs": [[[], 1]]}',
    "[" * 100_000 + "]" * 100_000,
    "1" * 5000,
]


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_forged_text_is_refused(text: str) -> None:
    """Text that uses our tags wrongly is refused, or no more than the name of an error."""
    with suppress(PayloadRefused):
        assert isinstance(SERIALIZER.deserialize(text), RecordedError)


EXITS = ["SystemExit", "KeyboardInterrupt", "GeneratorExit", "BaseException"]


@pytest.mark.parametrize("name", EXITS)
def test_no_exit_is_ever_rebuilt(name: str) -> None:
    """A stored SystemExit would end the process that reads it: it becomes a RecordedError."""
    stored = json.dumps({"$error": {"type": f"builtins:{name}", "message": "m", "args": [1]}})
    error = SERIALIZER.deserialize(stored)
    assert isinstance(error, RecordedError)
    assert str(error) == f"builtins.{name}: m"


@pytest.mark.parametrize("name", ["os:system", "builtins:eval", "builtins:int", "subprocess:Popen"])
def test_no_other_name_is_ever_called(name: str) -> None:
    """A stored type that is no error class of three known modules is text only."""
    stored = json.dumps({"$error": {"type": name, "message": "m", "args": ["touch /tmp/x"]}})
    assert isinstance(SERIALIZER.deserialize(stored), RecordedError)


def subclasses(kind: type[Any]) -> list[type[Any]]:
    """Return `kind` and all that come from it."""
    return [kind, *(sub for child in kind.__subclasses__() for sub in subclasses(child))]


OURS = [kind for kind in subclasses(AgentAppError) if kind.__module__ == our_errors.__name__]


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
def test_our_errors_come_back_whole(kind: type[AgentAppError]) -> None:
    """Every class of the tree keeps type, arguments, attributes and message."""
    own = kind.__init__ is not Exception.__init__
    names = list(inspect.signature(kind).parameters) if own else []
    error = kind(*(2.5 if name.endswith("_s") else f"a {name}" for name in names))
    again = round_trip(error)
    assert type(again) is kind
    assert (again.args, vars(again), str(again)) == (error.args, vars(error), str(error))


def builtin_errors() -> list[type[Exception]]:
    """Return every error class of Python itself, warnings aside."""
    found = {item for item in vars(builtins).values() if isinstance(item, type)}
    errors = [item for item in found if issubclass(item, Exception)]
    return sorted(errors, key=lambda kind: kind.__name__)


SHAPELESS = (UnicodeError, BaseExceptionGroup, SyntaxError, StopIteration, StopAsyncIteration)


@pytest.mark.parametrize("kind", builtin_errors(), ids=lambda kind: kind.__name__)
def test_builtin_errors_come_back(kind: type[Exception]) -> None:
    """A builtin keeps its class and message; those with other contents become RecordedError."""
    if issubclass(kind, (UnicodeDecodeError, UnicodeEncodeError, UnicodeTranslateError)):
        pytest.skip("cannot be made from a text")
    error = kind("m", [ValueError()]) if issubclass(kind, ExceptionGroup) else kind("a message")
    again = as_recorded(error)
    if issubclass(kind, SHAPELESS):
        assert isinstance(again, RecordedError)
        assert str(error) in str(again)
    else:
        assert type(again) is kind
        assert (str(again), again.args) == (str(error), error.args)


def test_an_os_error_keeps_its_file() -> None:
    """Number, text and file name come back, and with them the message."""
    error = FileNotFoundError(2, "No such file", "/x/y")
    again = round_trip(error)
    assert type(again) is FileNotFoundError
    assert (again.errno, again.filename, str(again)) == (2, "/x/y", str(error))


CATEGORIES = [
    None,
    ModelRateLimitError,
    ModelQuotaExceededError,
    ModelUnavailableError,
    ModelOverloadedError,
    ModelServerError,
    ModelContextWindowExceededError,
    ModelRequestRejectedError,
    ModelAuthenticationError,
    ModelNotFoundError,
]


@pytest.mark.parametrize("category", CATEGORIES, ids=str)
def test_http_errors_keep_their_category(category: Any) -> None:
    """A categorised HTTP error is caught by its category after the checkpoint, as before it."""
    error = ModelHTTPError.for_category(
        category,
        status_code=429,
        model_name="m",
        body={"a": [1]},
        headers={"Retry-After": "7"},
        hint="Wait",
        provider_error_code="slow",
    )
    again = round_trip(error)
    assert type(again) is type(error)
    assert isinstance(again, category or ModelHTTPError)
    assert (str(again), vars(again)) == (str(error), vars(error))
    assert again.retry_after == 7


def pydantic_ai_errors() -> list[type[Exception]]:
    """Return the public error classes of Pydantic AI that a text alone makes."""
    module = vars(pydantic_ai_exceptions)
    kinds = {module[name] for name in pydantic_ai_exceptions.__all__ if name in module}
    errors = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Exception)]
    return sorted(errors, key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", pydantic_ai_errors(), ids=lambda kind: kind.__name__)
def test_pydantic_ai_errors_come_back(kind: type[Exception]) -> None:
    """Each error that can be built from texts keeps class, message and plain attributes."""
    try:
        parameters = inspect.signature(kind).parameters.values()
        required = [p for p in parameters if p.default is p.empty and "VAR" not in p.kind.name]
        error = kind(*("a text" for _ in required if _.kind is not _.KEYWORD_ONLY))
    except (TypeError, ValueError, AttributeError):
        pytest.skip("is not built from texts")
    again = as_recorded(error)
    if isinstance(again, RecordedError):
        pytest.fail("was not rebuilt")
    assert type(again) is kind
    assert str(again) == str(error)
    plain = {key: item for key, item in vars(error).items() if isinstance(item, (str, int))}
    assert {key: vars(again)[key] for key in plain} == plain


class UsersOwn(ValueError):
    """An error class that only the user's code knows."""


def test_a_users_own_error_is_a_recorded_error() -> None:
    """Its name and message are kept, in both lives alike, and what the checkpoint is of."""
    recorded = as_recorded(UsersOwn("sorry"))
    setattr(recorded, OF, "tool 1")
    again = round_trip(recorded)
    for error in (recorded, again):
        assert isinstance(error, RecordedError)
        assert str(error) == f"{UsersOwn.__module__}.UsersOwn: sorry"
        assert getattr(error, OF) == "tool 1"


class Silent(Exception):
    """An error that cannot be told."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


class Dictless(Exception):
    """An error whose attributes cannot be listed."""

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("no")


class Argless(Exception):
    """An error whose arguments are not what they seem."""

    args = property(lambda self: 1 / 0)


def weird_errors() -> list[BaseException]:
    """Return errors that resist."""
    nested: Any = []
    for _ in range(5000):
        nested = [nested]
    circular: dict[str, Any] = {}
    circular["self"] = circular
    loaded = ValueError(object(), nested, circular, Silent(), b"\xff", {1: 2}, "\0", 10**5000)
    loaded.client = httpx  # type: ignore[attr-defined]
    attributes: dict[Any, Any] = vars(loaded)
    attributes[3] = "a key that is no text"
    vars(loaded)["nul\0"] = 1
    itself = ValueError("m")
    itself.args = (itself,)
    group = ExceptionGroup("g", [ValueError(1), Silent()])
    decode = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")
    return [Silent(), Dictless("a"), Argless("a"), loaded, itself, group, decode, SystemExit(3)]


@pytest.mark.parametrize("number", range(8))
def test_writing_an_error_never_fails(number: int) -> None:
    """Whatever an error is made of, something is recorded, and it is the same in every life."""
    recorded = as_recorded(weird_errors()[number])
    assert isinstance(recorded, Exception)
    again = round_trip(recorded)
    assert (type(again), repr(again.args)) == (type(recorded), repr(recorded.args))


@pytest.mark.parametrize(
    "value", [object(), {1: 2}, {"a": {1}}, b"x", 10**5000, print], ids=range(6)
)
def test_other_types_are_refused(value: Any) -> None:
    """What is not JSON is refused with its type or the reason."""
    with pytest.raises(ValueNotStorable, match=r"type is|keys are strings|thousands of digits"):
        SERIALIZER.serialize(value)


def test_a_checkpoint_is_written_once() -> None:
    """The text that a step has made is taken as it is."""
    checkpoint = Checkpoint("of", [1])
    written = copy.copy(checkpoint)
    written.text = SERIALIZER.serialize(checkpoint)
    assert SERIALIZER.serialize(written) is written.text
    assert SERIALIZER.deserialize(written.text) == checkpoint


def test_the_name_is_an_address() -> None:
    """The tag in the database never changes."""
    assert SERIALIZER.name() == "agent_app_json"


def test_what_dbos_met_in_its_database_is_no_error_of_a_run() -> None:
    """DBOS cannot record it as a run's outcome, for which it would fall back on any Exception."""
    failure = DBAPIError("update dbos.workflow_status", None, Exception("read-only"))
    with pytest.raises(dbos_error.DBOSWorkflowConflictIDError) as caught:
        JsonSerializer().serialize(failure)
    assert not isinstance(caught.value, Exception)
