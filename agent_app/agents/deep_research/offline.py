"""The research's model that needs no key: it plans by clauses and quotes sentences."""

from collections.abc import Sequence
from typing import TypeVar

from pydantic import BaseModel
from pydantic_ai.messages import ModelMessage, ModelResponse, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from agent_app.agents.conversation import prompts_of
from agent_app.agents.deep_research.evidence import (
    EXTRA_SEARCH,
    READ,
    MetPassage,
    extra_searches,
    met_passages,
)
from agent_app.agents.deep_research.extract import (
    Sentence,
    choose,
    clauses,
    content_words,
    split_sentences,
    stems,
    weight_of,
)
from agent_app.agents.deep_research.models import (
    AnalysisTask,
    Claim,
    Draft,
    Finding,
    Plan,
    PlannedSearch,
    PlanTask,
    Progress,
    Quote,
    Reflection,
    ReviewTask,
    SearchTask,
)

WRITER = "offline writer: extractive, no language model"
"""How it calls itself wherever its output shows."""
_MAX_READ = 3
"""Pages that it reads after one search."""
_MAX_QUOTES, _MAX_CLAIMS = 6, 8
_MIN_OPENING = 4
"""Words of a line that can be quoted though it is no sentence."""
TaskT = TypeVar("TaskT", bound=BaseModel)


def _plan(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    task = _task(PlanTask, messages)
    head, *others = clauses(task.question) or [task.question.split()]
    whole = PlannedSearch(query=_query(content_words(task.question) or head), reason="all of it")
    parts = [
        PlannedSearch(query=_query([*head, *clause]), reason=" ".join(clause)) for clause in others
    ]
    planned = {search.query: search for search in (whole, *parts)}
    return _answer(info, Plan(searches=list(planned.values())[: task.max_searches]))


def _search(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    task = _task(SearchTask, messages)
    tools = {tool.name for tool in info.function_tools}
    if len(messages) == 1 and "search" in tools:
        return ModelResponse([ToolCallPart("search", {"query": task.query}, "search")])
    passages = met_passages(messages)
    unread = [found.url for found in passages if found.source_id is None][:_MAX_READ]
    if unread and len(messages) == 3:
        return ModelResponse(
            [
                ToolCallPart(READ, {"source": url, "about": task.query}, f"read-{number}")
                for number, url in enumerate(unread, 1)
            ]
        )
    sentences = [
        Sentence(found.source_id, words, found.title, weight_of(rank))
        for rank, found in enumerate(passages)
        if found.source_id
        for words in (*_opening(found), *split_sentences(found.text))
    ]
    return _answer(info, _finding(sentences, f"{task.query} {task.reason}"))


def _opening(found: MetPassage) -> list[str]:
    """Return what a text begins with if it says what the text is about, as its title does."""
    first = found.text.partition("\n")[0].strip()
    return [first] if len(first.split()) >= _MIN_OPENING and first in found.title else []


def _finding(sentences: Sequence[Sentence], about: str) -> Finding:
    chosen = choose(sentences, about, max_count=_MAX_QUOTES)
    return Finding(
        summary=" ".join(sentence.words for sentence in chosen[:2]),
        quotes=[Quote(source_id=each.source_id, words=each.words) for each in chosen],
    )


def _review(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    task = _task(ReviewTask, messages)
    missing = _missing(task.question, task.searches)
    head = (clauses(task.question) or [[]])[0]
    query = _query([*head, *missing])
    if not missing or query in {search.query for search in task.searches}:
        return _answer(info, Reflection())
    wanted = PlannedSearch(query=query, reason=", ".join(missing))
    return _answer(info, Reflection(missing=", ".join(missing), searches=[wanted]))


def _missing(question: str, searches: Sequence[Progress]) -> list[str]:
    """Return the question's words that no quote has."""
    found = stems(" ".join(quote.words for each in searches for quote in each.finding.quotes))
    return [word for word in content_words(question) if not stems(word) & found]


def _analyse(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    task = _task(AnalysisTask, messages)
    extra = [Progress(query=e.query, finding=e.outcome.finding) for e in extra_searches(messages)]
    missing = _query(_missing(task.question, task.searches))
    asked = {search.query for search in (*task.searches, *extra)}
    if missing and not extra and task.max_searches > 0 and missing not in asked:
        return ModelResponse([ToolCallPart(EXTRA_SEARCH, {"query": missing}, "extra-1")])
    sentences = [
        Sentence(quote.source_id, words, weight=weight_of(rank))
        for search in (*task.searches, *extra)
        for rank, quote in enumerate(search.finding.quotes)
        for words in split_sentences(quote.words) or [quote.words]
    ]
    return _answer(info, _draft(task.question, sentences))


def _draft(question: str, sentences: Sequence[Sentence]) -> Draft:
    chosen = choose(sentences, question, max_count=_MAX_CLAIMS)
    if not chosen:
        text = "The sources that were found have no sentence about the question."
        return Draft(summary=f"{text} ({WRITER})")
    claims = [
        Claim(text=each.words, quotes=[Quote(source_id=each.source_id, words=each.words)])
        for each in chosen
    ]
    nearest = "\n\n".join(each.words for each in chosen[:2])
    summary = (
        f"{nearest}\n\nThese are the sentences of the sources that share most words with the "
        f"question. Nobody has weighed them ({WRITER})."
    )
    return Draft(summary=summary, claims=claims)


def _query(words: Sequence[str]) -> str:
    return " ".join(dict.fromkeys(words))[:400]


def _task(kind: type[TaskT], messages: Sequence[ModelMessage]) -> TaskT:
    """Return the task of a conversation: its first prompt, which is JSON."""
    return kind.model_validate_json(prompts_of(messages)[0])


def _answer(info: AgentInfo, value: BaseModel) -> ModelResponse:
    arguments = value.model_dump(mode="json")
    return ModelResponse([ToolCallPart(info.output_tools[0].name, arguments, "answer")])


PLANNER_MODEL = FunctionModel(_plan, model_name="offline")
SEARCHER_MODEL = FunctionModel(_search, model_name="offline")
REVIEWER_MODEL = FunctionModel(_review, model_name="offline")
ANALYST_MODEL = FunctionModel(_analyse, model_name="offline")
