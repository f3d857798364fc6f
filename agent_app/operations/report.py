"""The report of a finished research, made anew from what is stored of it."""

from pydantic import ValidationError

from agent_app.agents.deep_research.models import ResearchResult
from agent_app.agents.deep_research.rendering import Format, render
from agent_app.database.connect import Database
from agent_app.database.pool import open_pool
from agent_app.errors import ReportUnavailable
from agent_app.operations.cancel import UNFINISHED
from agent_app.operations.follow import finished_record
from agent_app.operations.read import get_run
from agent_app.sources.store import read_sources

AGENT = "deep-research"


async def make_report(database: Database, run_id: str, form: Format) -> str:
    """Return the report; quotes of sources that are not stored any more stand by themselves.

    Raises: RunNotFound; ReportUnavailable (unfinished, or no research); RunCancelled; RunFailed;
    PayloadRefused; DatabaseError.
    """
    run = get_run(database, run_id)
    if run.agent != AGENT:
        raise ReportUnavailable(run_id, f"it is a run of {run.agent!r}")
    if run.status in UNFINISHED:
        raise ReportUnavailable(run_id, f"it is {run.status}")
    try:
        result = ResearchResult.model_validate(finished_record(database, run_id)["output"])
    except ValidationError as error:
        raise ReportUnavailable(run_id, "its output is that of another version") from error
    cited = {quote.source_id for claim in result.claims for quote in claim.quotes}
    async with open_pool(database, max_size=1) as pool:
        stored = await read_sources(pool, cited)
    texts = {source_id: source.text for source_id, source in stored.items()}
    return render(result, form, texts=texts)
