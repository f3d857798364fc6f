"""What is to be run and what is to happen to it, refused before anything starts if it cannot be."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from agent_app.durability.catalog import Catalog
from agent_app.errors import ConfigurationInvalid
from agent_app.operations.start import choose_models, new_run_id
from agent_app.settings import Settings


@dataclass(frozen=True)
class ChaosPlan:
    """A run, the faults that it is to meet and the kills."""

    agent: str
    text: str | None
    """The input as typed, None for none."""
    run_id: str
    models: Mapping[str, str]
    """Model strings by agent name, `*` for every shipped agent."""
    rate: float
    """Share of the tries that meet a fault, 0 to 1."""
    kill_count: int
    seed: int
    patience_s: float
    """Seconds without any sign of work after which a process counts as hung."""

    @property
    def version(self) -> str:
        """Return the application version of the run's processes: nobody else takes it over."""
        return f"chaos-{self.run_id}"

    @property
    def first_command(self) -> list[str]:
        """Return the arguments that start the run, or attach to it; they read standard input."""
        chaos = [f"--chaos={self.rate}", f"--seed={self.seed}"]
        models = [f"--model={agent}={model}" for agent, model in self.models.items()]
        options = ["run", "--json", "--id", self.run_id, *chaos, *models]
        return [*options, "--", self.agent, *([] if self.text is None else ["-"])]

    @property
    def next_command(self) -> list[str]:
        """Return the arguments that go on with the run once it is recorded."""
        return ["resume", "--json", self.run_id]


def plan_chaos(
    agent: str,
    text: str | None,
    *,
    models: Mapping[str, str],
    rate: float,
    kill_count: int,
    seed: int | None,
    patience_s: float,
) -> ChaosPlan:
    """Return a plan with a run ID that nobody has; without a seed, one is drawn.

    Raises: ConfigurationInvalid (a seed for nothing).
    """
    if seed is not None and rate == 0 and kill_count == 0:
        raise ConfigurationInvalid(
            "--seed chooses faults and kills; with --rate 0 and --kills 0 there are none."
        )
    drawn = secrets.randbelow(1_000_000) if seed is None else seed
    return ChaosPlan(agent, text, new_run_id(), models, rate, kill_count, drawn, patience_s)


def check_chaos(catalog: Catalog, settings: Settings, plan: ChaosPlan) -> None:
    """Refuse what cannot be run.

    Raises: AgentNotFound; InputInvalid; ConfigurationInvalid (a model).
    """
    runnable = catalog.find(plan.agent)
    models = choose_models(catalog, settings, plan.models)
    runnable.parse(runnable.read_text(plan.text), models)
