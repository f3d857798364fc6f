"""The error tree: whole after a checkpoint, told apart by programs, readable by people."""

import inspect
import pickle
import re

import pytest

from agent_app import errors
from agent_app.errors import AgentAppError, PayloadRefused, RunIdInvalid


def collect_classes(root: type[AgentAppError]) -> list[type[AgentAppError]]:
    """Return the class and everything below it."""
    return [root, *(found for child in root.__subclasses__() for found in collect_classes(child))]


CLASSES = [c for c in collect_classes(AgentAppError) if c.__module__ == errors.__name__]


def make(error_class: type[AgentAppError]) -> AgentAppError:
    """Return an error with a telling value for each of its constructor's arguments."""
    if "__init__" not in vars(error_class):
        return error_class()
    parameters = list(inspect.signature(error_class).parameters.values())
    return error_class(*(2.5 if p.annotation is float else f"a {p.name}." for p in parameters))


@pytest.mark.parametrize("error_class", CLASSES)
def test_error_round_trips_through_its_args(error_class: type[AgentAppError]) -> None:
    """An error that is rebuilt from its `args` says and holds the same."""
    error = make(error_class)
    rebuilt = error_class(*error.args)
    assert (str(rebuilt), vars(rebuilt)) == (str(error), vars(error))
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize("error_class", [c for c in CLASSES if "__init__" in vars(c)])
def test_message_is_a_sentence_that_shows_its_values(error_class: type[AgentAppError]) -> None:
    """A message holds every value that it was given, and ends with a full stop."""
    error = make(error_class)
    assert str(error).endswith(".")
    for value in error.args:
        assert (f"{value:g}" if isinstance(value, float) else value) in str(error)


def test_every_code_is_its_own() -> None:
    """No two classes share a code, and each class names its own."""
    codes = [vars(error_class)["code"] for error_class in CLASSES]
    assert len(set(codes)) == len(codes)


def test_codes_are_the_names_in_snake_case() -> None:
    """A code can be guessed from the class."""
    for error_class in CLASSES:
        snake = re.sub(r"(?<!^)([A-Z])", r"_\1", error_class.__name__).lower()
        assert error_class.code == snake


def test_tree_drawing_is_complete() -> None:
    """The drawing at the head of the file has every class, below its parent."""
    parents: dict[str, str] = {}
    path = ["AgentAppError"]
    for indent, name in re.findall(
        r"^ {4}((?:│   |    )*)[├└]── (\w+)", errors.__doc__ or "", re.M
    ):
        depth = len(indent) // 4 + 1
        path[depth:] = [name]
        parents[name] = path[depth - 1]
    assert parents == {
        c.__name__: c.__base__.__name__ for c in CLASSES if c is not AgentAppError and c.__base__
    }


def test_run_id_in_a_message_is_cut() -> None:
    """An ID of a megabyte does not make a message of one."""
    assert len(str(RunIdInvalid("x" * 1_000_000))) < 300


def test_refused_payload_names_its_tag_only() -> None:
    """The message of a refused payload tells how it was tagged."""
    assert "'py_pickle'" in str(PayloadRefused("py_pickle"))
