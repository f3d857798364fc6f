"""A research in the launched engine: rounds, budgets, checked quotes, failures, follow-ups."""

import asyncio
from typing import Any

import pytest
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolReturnPart,
)
from pydantic_ai.models.function import AgentInfo, FunctionModel

from agent_app.agents.deep_research import workflow
from agent_app.agents.deep_research.models import (
    Finding,
    Plan,
    PlannedSearch,
    Quote,
    Reflection,
    ResearchResult,
)
from agent_app.agents.deep_research.searching import SEARCH
from agent_app.database.retention import drop_uncited_sources
from agent_app.durability.catalog import Catalog
from agent_app.durability.storage import storage
from agent_app.errors import NothingFound, RunNotFollowable
from agent_app.operations.control import Executor
from agent_app.operations.fork import Fork, fork_run
from agent_app.operations.start import wait_for_run
from agent_app.sources.corpus import remove_from_corpus
from agent_app.sources.document import source_id_of
from agent_app.sources.retrieval import find_passages
from tests.durability.researching import CORPUS, POTATO, QUESTION, YAM, answer, draft, fill, seat
from tests.durability.running import Engine, call, scripted

ANDES = "It was first grown in the Andes about 8,000 years ago."
AFRICA = "More than 90 percent of the yams of the world are grown there."
GOOD = draft(
    ("The potato comes from the Andes.", source_id_of(POTATO), ANDES),
    ("Of all yams, 90 percent are grown in West Africa.", source_id_of(YAM), AFRICA),
)


async def research(
    engine: Engine, models: dict[str, str] | None = None, **fields: Any
) -> ResearchResult:
    """Return the result of a research over the small corpus; a replay must give it again."""
    async with engine:
        await fill(CORPUS)
        value = {"question": QUESTION, "search": "corpus", **fields}
        record = await engine.record(workflow.NAME, value, models=models or {})
        assert await engine.replay() == record
    return ResearchResult.model_validate(record["output"])


def plan(*queries: str) -> Any:
    """Return a planner that plans these searches."""
    return scripted(answer(Plan(searches=[PlannedSearch(query=query) for query in queries])))


async def test_offline_every_quote_stands_in_its_source(engine: Engine, catalog: Catalog) -> None:
    """Without a key: planned, searched in parallel child runs, and quoted word by word."""
    result = await research(engine, seat(catalog))
    assert result.rates.verified_count == result.rates.quote_count > 0
    texts = {source_id_of(text): text for text in CORPUS.values()}
    for claim in result.claims:
        for quote in claim.quotes:
            assert texts[quote.source_id][quote.start : quote.stop] == quote.words
    assert {source_id_of(POTATO), source_id_of(YAM)} <= {s.source_id for s in result.sources}
    assert "no language model" in result.model
    assert "no language model" in result.summary
    assert result.provider == "corpus"
    children = engine.sql(
        "select workflow_uuid, queue_name from dbos.workflow_status where name = %s", SEARCH
    )
    assert len(children) >= 2
    assert {queue for _, queue in children} == {"agent_app_search"}


async def test_a_wrong_quote_goes_back_once_and_is_then_shown(
    engine: Engine, catalog: Catalog
) -> None:
    """The model hears of it one time; what it does not mend is unverified, with the reason."""
    wrong = draft(("It is old.", source_id_of(POTATO), "It was first grown in the Alps."))
    complaints: list[str] = []

    def note(messages: list[ModelMessage]) -> None:
        last = messages[-1]
        assert isinstance(last, ModelRequest)
        returns = (part for part in last.parts if isinstance(part, ToolReturnPart))
        complaints.extend(str(part.content) for part in returns if part.outcome == "retried")

    analyst = scripted(answer(wrong, "a1"), answer(wrong, "a2"), seen=note)
    result = await research(engine, seat(catalog, analyst=analyst), max_searches=2)
    quote = result.claims[0].quotes[0]
    assert (quote.status, quote.start) == ("unverified", None)
    assert quote.reason
    assert result.rates.unverified_count == 1
    said = set(complaints)  # a replay asks no model
    assert len(complaints) == len(said) == 1
    assert "first grown in the Alps" in complaints[0]
    assert engine.names().count("deep-research.check") == 2


async def test_a_mended_quote_is_verified(engine: Engine, catalog: Catalog) -> None:
    """A model that hears of a wrong quote can put it right."""
    wrong = draft(("It is old.", source_id_of(POTATO), "It was first grown in the Alps."))
    analyst = scripted(answer(wrong, "a1"), answer(GOOD, "a2"))
    result = await research(engine, seat(catalog, analyst=analyst), max_searches=2)
    assert [q.status for claim in result.claims for q in claim.quotes] == ["verified"] * 2
    assert [claim.unsupported_numbers for claim in result.claims] == [[], []]


async def test_a_round_without_a_new_source_is_the_last(engine: Engine, catalog: Catalog) -> None:
    """The reviewer wants more; the same sources come again, and the search ends."""
    more = answer(Reflection(missing="more", searches=[PlannedSearch(query="potato again")]))
    models = seat(
        catalog,
        planner=plan("potato"),
        reviewer=scripted(more),
        analyst=scripted(answer(draft(("Old.", source_id_of(POTATO), ANDES)))),
    )
    result = await research(engine, models)
    assert result.stopped_by == "no_new_source"
    assert [(search.query, search.round) for search in result.searches] == [
        ("potato", 1),
        ("potato again", 2),
    ]


async def test_a_reviewer_that_is_content_ends_the_search(engine: Engine, catalog: Catalog) -> None:
    """Nothing is missing: no further round."""
    models = seat(
        catalog,
        planner=plan("potato", "yam"),
        reviewer=scripted(answer(Reflection())),
        analyst=scripted(answer(GOOD)),
    )
    result = await research(engine, models)
    assert (result.stopped_by, len(result.searches)) == ("complete", 2)


async def test_searches_are_counted_whoever_makes_them(engine: Engine, catalog: Catalog) -> None:
    """Two searches in all: a plan of three is cut, and the analyst gets none more."""
    analyst = scripted(call("extra_search", "x", query="star"), answer(GOOD))
    models = seat(catalog, planner=plan("potato", "yam", "star"), analyst=analyst)
    result = await research(engine, models, max_searches=2)
    assert result.stopped_by == "max_searches"
    assert [(s.query, s.round, s.error is None) for s in result.searches] == [
        ("potato", 1, True),
        ("yam", 1, True),
        ("star", 0, False),
    ]


async def test_an_extra_search_is_a_child_run_of_its_own(engine: Engine, catalog: Catalog) -> None:
    """What the analyst searches besides is found, counted and recorded like the others."""
    star = "Its light needs about eight minutes to reach the Earth."
    extra = call("extra_search", "x", query="light of the Sun")
    source_id = source_id_of(CORPUS["star"])
    analyst = scripted(extra, answer(draft(("Eight minutes.", source_id, star))))
    models = seat(
        catalog,
        planner=plan("potato"),
        reviewer=scripted(answer(Reflection())),
        analyst=analyst,
    )
    result = await research(engine, models)
    assert result.searches[-1].round == 0
    assert source_id in result.searches[-1].source_ids
    assert result.claims[0].quotes[0].status == "verified"
    assert engine.status("r:x") == "SUCCESS"


async def test_tokens_stop_the_search_and_not_the_report(engine: Engine, catalog: Catalog) -> None:
    """Over the limit nothing more is searched; what was found is written up."""
    models = seat(
        catalog,
        planner=plan("potato", "yam"),
        reviewer=scripted(answer(Reflection(searches=[PlannedSearch(query="never")]))),
        analyst=scripted(answer(GOOD)),
    )
    result = await research(engine, models, max_tokens=1)
    assert result.stopped_by == "max_tokens"
    assert len(result.claims) == 2
    assert result.input_tokens > 1


async def test_a_failed_search_is_told_and_costs_nothing_else(
    engine: Engine, catalog: Catalog
) -> None:
    """One searcher never gives a valid answer; what the other one found is written up."""

    def half(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        if '"query":"yam"' in str(messages[0].parts[-1].content):  # type: ignore[union-attr]
            return ModelResponse([TextPart("I would rather not.")])
        turn = call("search", "s", query="potato") if len(messages) == 1 else answer(Finding())
        return ModelResponse([turn])

    models = seat(
        catalog,
        planner=plan("potato", "yam"),
        searcher=FunctionModel(half),
        analyst=scripted(answer(draft(("Old.", source_id_of(POTATO), ANDES)))),
    )
    result = await research(engine, models, max_searches=2)
    assert [search.error is None for search in result.searches] == [True, False]
    assert result.searches[1].source_ids == []
    assert result.rates.verified_count == 1


async def test_without_a_source_the_report_says_so(engine: Engine, catalog: Catalog) -> None:
    """An answer from nothing would be an invention: no model writes one, and nothing is claimed."""
    never = scripted()  # it has no answer to give
    result = await research(engine, seat(catalog, analyst=never), question="Xylophone zither?")
    assert (result.claims, result.sources) == ([], [])
    assert result.summary.startswith("No source was found by the search provider 'corpus'")
    assert result.rates.quote_count == 0


async def test_searches_that_all_fail_fail_the_research(engine: Engine, catalog: Catalog) -> None:
    """That nothing was found would be untrue: nothing could be searched."""
    models = seat(catalog, planner=plan("potato"), searcher=scripted(*["no output"] * 9))
    async with engine:
        value = {"question": QUESTION, "search": "corpus"}
        with pytest.raises(NothingFound, match="a search has failed with UnexpectedModelBehavior"):
            await engine.record(workflow.NAME, value, models=models)
    assert engine.status() == "ERROR"


async def test_quotes_of_unknown_sources_are_not_taken(engine: Engine, catalog: Catalog) -> None:
    """A searcher that makes a source up is not believed, and neither is an analyst."""
    made_up = Finding(summary="s", quotes=[Quote(source_id="0" * 16, words=ANDES)])
    models = seat(
        catalog,
        planner=plan("potato"),
        searcher=scripted(call("search", "s", query="potato"), answer(made_up)),
        reviewer=scripted(answer(Reflection())),
        analyst=scripted(
            answer(draft(("Old.", "0" * 16, ANDES)), "a1"),
            answer(draft(("Old.", "0" * 16, ANDES)), "a2"),
        ),
    )
    result = await research(engine, models)
    assert result.claims[0].quotes[0].status == "unverified"
    assert "0" * 16 not in {source.source_id for source in result.sources}


async def test_a_second_search_of_one_searcher_is_refused(engine: Engine, catalog: Catalog) -> None:
    """One planned search is one search: what the budget counts is what is made."""
    twice = [call("search", "s1", query="potato"), call("search", "s2", query="yam")]
    models = seat(
        catalog,
        planner=plan("potato"),
        searcher=scripted(twice, answer(Finding())),
        reviewer=scripted(answer(Reflection())),
        analyst=scripted(answer(draft(("Old.", source_id_of(POTATO), ANDES)))),
    )
    await research(engine, models)
    refused = [step.value for step in engine.steps("r:4") if "message" in (step.value or {})]
    assert [value["message"].partition(".")[0] for value in refused] == [
        "This search was the one there is"
    ]


async def test_a_follow_up_starts_from_the_stored_sources(engine: Engine, catalog: Catalog) -> None:
    """The second research knows the first one's answer and its sources before any search."""
    seen: list[str] = []

    def note(messages: list[ModelMessage]) -> None:
        seen.append(str(messages[0].parts[-1].content))  # type: ignore[union-attr]

    models = seat(catalog, analyst=scripted(answer(GOOD), seen=note))
    async with engine:
        await fill(CORPUS)
        first = {"question": QUESTION, "search": "corpus"}
        await engine.record(workflow.NAME, first, "one", models)
        second = {"question": "When did the potato come to Europe?", "follow": "one"}
        record = await engine.record(workflow.NAME, {**second, "search": "corpus"}, "two", models)
        with pytest.raises(RunNotFollowable, match="'gone'"):
            await engine.record(workflow.NAME, {**second, "follow": "gone"}, "three", models)
    result = ResearchResult.model_validate(record["output"])
    assert result.follow == "one"
    assert "Spanish ships brought the potato to Europe" in seen[-1]
    assert GOOD.summary in seen[-1]
    assert {source_id_of(POTATO), source_id_of(YAM)} <= {s.source_id for s in result.sources}


async def test_two_researches_at_once_do_not_meet(engine: Engine, catalog: Catalog) -> None:
    """Side by side in one process each has its own searches, and the same result as alone."""
    models = seat(catalog)
    value = {"question": QUESTION, "search": "corpus"}
    async with engine:
        await fill(CORPUS)
        alone = await engine.record(workflow.NAME, value, "alone", models)
        both = await asyncio.gather(
            engine.record(workflow.NAME, value, "one", models),
            engine.record(workflow.NAME, value, "two", models),
        )
    assert [record["output"] for record in both] == [alone["output"]] * 2
    children = engine.sql(
        "select split_part(workflow_uuid, ':', 1), count(*) from dbos.workflow_status"
        " where name = %s group by 1",
        SEARCH,
    )
    counts = dict(children)
    assert counts["one"] == counts["two"] == counts["alone"]


async def test_a_source_that_leaves_the_corpus_stays_the_runs(
    engine: Engine, catalog: Catalog
) -> None:
    """Removed and pruned after it was found, a text can still be read and quoted by the run."""
    source_id = source_id_of(POTATO)
    models = seat(
        catalog,
        planner=plan("potato"),
        reviewer=scripted(answer(Reflection())),
        analyst=scripted(
            call("read", "x", source=source_id, about="Andes"),
            answer(draft(("Old.", source_id, ANDES))),
        ),
    )
    async with engine:
        await fill(CORPUS)
        value = {"question": QUESTION, "search": "corpus"}
        await engine.record(workflow.NAME, value, models=models)
        await remove_from_corpus(storage().pool, source_ids=map(source_id_of, CORPUS.values()))
        await asyncio.to_thread(drop_uncited_sources, engine.database)
        assert await find_passages(storage().pool, "Andes") == []
        analysis = engine.names().index("research-analyst.model") + 1
        record = await engine.replay(steps=analysis)
    result = ResearchResult.model_validate(record["output"])
    assert [quote.status for quote in result.claims[0].quotes] == ["verified"]


async def test_a_fork_has_the_sources_from_the_start(engine: Engine, catalog: Catalog) -> None:
    """The run that it was made from may be deleted while the fork still writes its report."""
    models = seat(catalog)
    async with engine:
        await fill(CORPUS)
        value = {"question": QUESTION, "search": "corpus", "max_searches": 2}
        await engine.record(workflow.NAME, value, models=models)
        last = engine.names().index("deep-research.check") + 1
        fork_run(engine.database, engine.catalog, Fork("r", "f", last), Executor("me", "1"))
        own = "select source_id from agent_app.run_source where run_id = %s order by 1"
        assert engine.sql(own, "f") == engine.sql(own, "r") != []
        await wait_for_run("f")
