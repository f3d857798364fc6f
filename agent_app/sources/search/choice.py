"""Which search provider a research uses, and why: by its keys, its model and what is installed."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal, get_args

from pydantic_ai.models import Model
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.native_tools import WebSearchTool

from agent_app.errors import ConfigurationInvalid

ProviderName = Literal["corpus", "tavily", "duckduckgo", "native"]


@dataclass(frozen=True)
class ProviderChoice:
    """A provider, and a sentence for people that says why it is this one."""

    name: ProviderName
    reason: str


def choose_provider(wanted: str, *, tavily_key: str | None, model: Model | None) -> ProviderChoice:
    """Return the provider of that name; with `auto` the best one that there is.

    `auto` goes by Tavily's key, then by a model that searches by itself, then to the corpus;
    `model` is the one that would search, None where there is no language model.
    Raises: ConfigurationInvalid (an unknown name, or what the named provider needs is missing).
    """
    if wanted == "auto":
        return _best(tavily_key, model)
    if wanted not in get_args(ProviderName):
        names = ", ".join(("auto", *get_args(ProviderName)))
        raise ConfigurationInvalid(
            f"The search provider {wanted[:80]!r} does not exist; one of {names} was expected."
        )
    if lack := _lack(wanted, tavily_key, model):
        raise ConfigurationInvalid(lack)
    return ProviderChoice(wanted, "it was asked for by name")  # type: ignore[arg-type]


def _best(tavily_key: str | None, model: Model | None) -> ProviderChoice:
    if tavily_key and tavily_key.strip():
        return ProviderChoice("tavily", "TAVILY_API_KEY is set")
    if model is not None and searches_by_itself(model):
        return ProviderChoice("native", f"no key, and {model.model_name} searches by itself")
    return ProviderChoice("corpus", "no key and no model that searches by itself")


def _lack(wanted: str, tavily_key: str | None, model: Model | None) -> str | None:
    """Return what is missing for the provider as a message, None where nothing is."""
    if wanted == "tavily" and not (tavily_key or "").strip():
        return "The search provider 'tavily' needs a key; set TAVILY_API_KEY, or choose 'corpus'."
    if wanted == "duckduckgo" and find_spec("ddgs") is None:
        return (
            "The search provider 'duckduckgo' needs a package that is not installed; install "
            "`agent-app[duckduckgo]`."
        )
    if wanted == "native" and (model is None or not searches_by_itself(model)):
        name = "the offline model" if model is None else repr(model.model_name)
        return (
            f"The search provider 'native' needs a model that searches the web by itself, and "
            f"{name} does not; choose another model, or another provider."
        )
    return None


def searches_by_itself(model: Model) -> bool:
    """Say whether the model's provider offers its own web search, as its profile says.

    Models of functions and for tests claim all native tools and have none (pydantic-ai 2.68).
    """
    if isinstance(model, FallbackModel):
        return all(map(searches_by_itself, model.models))
    if isinstance(model, WrapperModel):
        return searches_by_itself(model.wrapped)
    if isinstance(model, (FunctionModel, TestModel)):
        return False
    return WebSearchTool in model.profile.get("supported_native_tools", frozenset())
