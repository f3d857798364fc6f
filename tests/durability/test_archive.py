"""Runs as files: what comes back is what was there, and a file that is none changes nothing."""

import json
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from pydantic_ai import Agent

from agent_app.agents.twenty_questions import workflow as game
from agent_app.database.connect import Database
from agent_app.database.read import read_messages, read_run, read_steps
from agent_app.durability.catalog import Catalog, durable
from agent_app.durability.delegation import delegate
from agent_app.durability.storage import storage
from agent_app.errors import (
    AgentAppError,
    ArchiveInvalid,
    PayloadRefused,
    ReplayDiverged,
    RunExists,
    RunIdInvalid,
    RunNotExportable,
    RunNotFound,
)
from agent_app.operations import archive
from agent_app.operations.archive import digest_document
from agent_app.operations.attributes import IMPORTED
from agent_app.operations.control import Executor, resolve_call, resume_run
from agent_app.operations.delete import delete_runs
from agent_app.operations.export import export_run
from agent_app.operations.fork import Fork, fork_run
from agent_app.operations.import_run import Imported, import_run
from agent_app.operations.redaction import REDACTED, Redaction
from agent_app.operations.report import make_report
from agent_app.operations.retry import retry_run
from agent_app.operations.start import start_run, wait_for_run
from agent_app.sources.retrieval import find_passages
from tests.database.rows import PICKLE, plant_run, plant_step
from tests.database.test_archive import all_rows, plant_family
from tests.durability.researching import CORPUS, fill
from tests.durability.researching import seat as seat_research
from tests.durability.running import Engine, call, echoing, scripted
from tests.durability.takeover import eventually, recover_own_runs
from tests.durability.test_external import PAY, Bank, undecided
from tests.durability.test_twenty_questions import MODELS, asks, guess, seat

EXECUTOR = Executor("me", "1")


def to_file(database: Database, run_id: str, redaction: Redaction | None = None) -> bytes:
    """Return what `agent-app export` would write."""
    document = export_run(database, run_id, redaction=redaction).document
    return json.dumps(document, indent=2, ensure_ascii=False).encode()


def unmarked(rows: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return the rows without the label that an import adds."""
    runs = [json.loads(row) for row in rows["dbos.workflow_status"]]
    for run in runs:
        run["attributes"] = {k: v for k, v in (run["attributes"] or {}).items() if k != IMPORTED}
    return {**rows, "dbos.workflow_status": [json.dumps(run, sort_keys=True) for run in runs]}


def there_and_back(engine: Engine, run_id: str, clear: str = "select 1") -> None:
    """Export a run that has ended, delete it, import it, and compare every row of its family.

    The engine is down: it writes its ledger behind the steps.
    """
    content = to_file(engine.database, run_id)
    family = [run["status"]["run_id"] for run in json.loads(content)["runs"]]
    before = all_rows(engine.database, *family)
    assert before["dbos.workflow_status"]
    delete_runs(engine.database, [run_id])
    assert not any(all_rows(engine.database, *family).values())
    engine.sql(clear)
    imported = import_run(engine.database, content)
    assert imported == Imported(family, {}, is_new=True)
    after = all_rows(engine.database, *family)
    assert unmarked(after) == unmarked(before)
    labels = [json.loads(row)["attributes"] for row in after["dbos.workflow_status"]]
    assert all(label[IMPORTED] == "true" for label in labels)
    assert import_run(engine.database, content) == Imported(family, {}, is_new=False)


async def test_game_comes_back_with_its_children(engine: Engine, catalog: Catalog) -> None:
    """A game is the same after the way through a file: rows, views, and a whole replay."""
    seat(catalog, scripted(*asks([0, 1]), guess("potato"), "It is a potato."))
    async with engine:
        record = await engine.record(game.NAME, "potato", models=MODELS)
    shown = read_steps(engine.database, "r"), read_messages(engine.database, "r")
    there_and_back(engine, "r")
    assert (read_steps(engine.database, "r"), read_messages(engine.database, "r")) == shown
    async with engine:
        assert await engine.replay() == record
        content = to_file(engine.database, "r")
        imported = import_run(engine.database, content, new_id="copy")
        assert imported.run_ids == ["copy", "copy:q0", "copy:q1"]
        assert read_steps(engine.database, "copy:q1")[0].output is not None
        assert await engine.replay("copy") == record
        row = read_run(engine.database, "copy:q1")
        assert row is not None
        assert row.parent_run_id == "copy"


async def test_research_comes_back_with_its_texts(engine: Engine, catalog: Catalog) -> None:
    """Sources that only the run had are stored again: its report, a replay, and no corpus."""
    value = {"question": "Where are most yams grown?", "search": "corpus", "max_searches": 1}
    models = seat_research(catalog)
    async with engine:
        await fill(CORPUS)
        record = await engine.record("deep-research", value, models=models)
    html = await make_report(engine.database, "r", "html")
    engine.sql("update agent_app.source set in_corpus = false, fetched_at = '2026-01-02 03:04Z'")
    kept = stored_sources(engine)
    there_and_back(engine, "r", clear="delete from agent_app.source")
    assert stored_sources(engine) == [row for row in kept if row[0] in html]
    assert await make_report(engine.database, "r", "html") == html
    async with engine:
        assert await engine.replay() == record
        assert await find_passages(storage().pool, "yams") == []
        (found,) = await find_passages(storage().pool, "Africa yams", run_id="r")
        assert "West Africa" in found.text
        imported = import_run(engine.database, to_file(engine.database, "r"), new_id="copy")
        assert imported.is_new
        assert await find_passages(storage().pool, "Africa yams", run_id="copy") == [found]


def stored_sources(engine: Engine) -> list[tuple[Any, ...]]:
    """Return the texts with their URLs, and whether they can be found."""
    return engine.sql(
        "select source_id, sha256, source.url, title, text, media_type, origin, fetched_at,"
        " fetched_by, in_corpus, passage_count, length,"
        " array(select met.url from agent_app.source_url as met"
        " where met.source_id = source.source_id) from agent_app.source order by 1"
    )


async def test_text_with_a_secret_is_left_out(engine: Engine, catalog: Catalog) -> None:
    """With the secret taken out it would be another text; the rest comes back, and says why not."""
    value = {"question": "Where are most yams grown?", "search": "corpus", "max_searches": 1}
    models = seat_research(catalog)
    async with engine:
        await fill({"yam": f"{CORPUS['yam']} The yams of {KEY} are grown elsewhere."})
        await engine.record("deep-research", value, models=models)
    exported = export_run(engine.database, "r", redaction=Redaction())
    assert list(exported.left_out) == ["file:yam.txt"]
    content = json.dumps(exported.document).encode()
    assert KEY.encode() not in content
    delete_runs(engine.database, ["r"])
    engine.sql("delete from agent_app.source")
    assert import_run(engine.database, content).is_new
    assert stored_sources(engine) == []
    assert "90 percent of the yams" in await make_report(engine.database, "r", "html")


async def test_failed_run_comes_back_and_can_be_retried(engine: Engine) -> None:
    """An error survives the file as what it is: a retry begins at the step that failed."""
    calls: Counter[str] = Counter()
    agent = durable(Agent(echoing(call("fetch", "a")), name="writer"))

    @agent.tool_plain(metadata={"step": {"max_attempts": 2}})
    async def fetch() -> str:
        calls["fetch"] += 1
        if calls["fetch"] <= 2:
            raise ConnectionError("line is cut")
        return "text"

    async with engine:
        with pytest.raises(ConnectionError, match="line is cut"):
            await engine.run("writer", "go")
    there_and_back(engine, "r")
    async with engine:
        retry_run(engine.database, "r", EXECUTOR)
        assert (await wait_for_run("r"))["output"] == "a=text"
        assert calls == {"fetch": 3}


async def test_intents_come_back(engine: Engine) -> None:
    """An external call, what nobody knew of it, and what a person decided are in the file."""
    bank = Bank(ConnectionResetError("peer"))
    bank.employ(PAY, "done")
    async with engine:
        handle = await engine.start("payer", "go")
        await eventually(lambda: undecided(engine))
        resolve_call(engine.database, "r", 2, "done", '"paid"')
        assert (await handle.get_result())["output"] == "done"
    assert all_rows(engine.database, "r")["agent_app.intent"]
    there_and_back(engine, "r")
    async with engine:
        assert await engine.replay("r") == await wait_for_run("r")
        assert len(bank.keys) == 1


async def test_fork_comes_back(engine: Engine) -> None:
    """A fork says where it is from, and an imported run can be forked without a body before N."""
    calls: Counter[str] = Counter()
    agent = durable(Agent(echoing(call("count", "a")), name="counter"))

    @agent.tool_plain
    async def count() -> int:
        calls["count"] += 1
        return calls["count"]

    async with engine:
        assert await engine.run("counter", "go") == "a=1"
        fork_run(engine.database, engine.catalog, Fork("r", "f", 2), EXECUTOR)
        assert (await wait_for_run("f"))["output"] == "a=2"
    there_and_back(engine, "f")
    row = read_run(engine.database, "f")
    assert row is not None
    assert row.forked_from == "r"
    async with engine:
        fork_run(engine.database, engine.catalog, Fork("f", "g", results={2: 7}), EXECUTOR)
        assert (await wait_for_run("g"))["output"] == "a=7"
        assert calls == {"count": 2}


async def test_executing_run_is_imported_as_cancelled(engine: Engine, database: Database) -> None:
    """A run in flight is exported as it is; its copy is executed by nobody until it is resumed."""
    gate = threading.Event()
    calls: Counter[str] = Counter()
    agent = durable(Agent(echoing(call("wait", "a"), call("ask", "b")), name="waiter"))
    durable(Agent(scripted("yes"), name="helper"))

    @agent.tool_plain
    def wait() -> str:
        calls["wait"] += 1
        gate.wait(60)
        return "went on"

    @agent.tool_plain
    async def ask() -> str:
        answer: str = await delegate("helper", "go")
        return answer

    async with engine:
        await start_run(engine.catalog, "waiter", "go", run_id="r", models={})
        await eventually(lambda: calls["wait"] and engine.status("r:b") == "SUCCESS")
        await eventually(lambda: len(engine.steps()) == 2)
        exported = export_run(database, "r", redaction=None)
        assert exported.unfinished == {"r": "PENDING"}
        imported = import_run(database, json.dumps(exported.document).encode(), new_id="c")
        assert imported == Imported(["c", "c:b"], {"c": "PENDING"}, is_new=True)
        row = read_run(database, "c")
        assert row is not None
        assert (row.status, row.waiting_for, row.step_count) == ("CANCELLED", None, 2)
        recover_own_runs(engine)
        gate.set()
        assert (await wait_for_run("r"))["output"] == "a=went on b=yes"
        assert engine.status("c") == "CANCELLED"
        await resume_run(database, "c", EXECUTOR)
        assert (await wait_for_run("c"))["output"] == "a=went on b=yes"
        assert calls == {"wait": 2}


# -- redaction

KEY = "sk-" + "proj-" + "Ab3dEf9Gh2JkAb3dEf9Gh2Jk"


async def test_redacted_run_replays_as_far_as_nothing_is_missing(engine: Engine) -> None:
    """A replay over a redacted run ends where a call was made with what is gone, and says so."""
    talker = durable(Agent(scripted(call("fetch", "a"), "done"), name="talker"))
    teller = durable(Agent(scripted(call("login", "a", user="ann", password="x1"), "in"), name="t"))

    @talker.tool_plain
    async def fetch() -> dict[str, str]:
        return {"text": f"key: {KEY}", "api_key": "short"}

    @teller.tool_plain
    async def login(user: str, password: str) -> str:
        return "welcome"

    async with engine:
        await engine.run("talker", "go", "r")
        await engine.run("t", "go", "s")
        for run_id, count in (("r", 2), ("s", 1)):
            redaction = Redaction()
            content = to_file(engine.database, run_id, redaction)
            assert redaction.count == count == json.loads(content)["redacted_count"]
            assert KEY.encode() not in content
            import_run(engine.database, content, new_id=f"{run_id}2")
        result = read_steps(engine.database, "r2")[1].output["result"]
        assert result == {"text": f"key: {REDACTED}", "api_key": REDACTED}
        arguments = read_steps(engine.database, "s2")[0].output["parts"][0]["args"]
        assert arguments == {"user": "ann", "password": REDACTED}
        with pytest.raises(ReplayDiverged, match="3 messages"):
            await engine.replay("r2")  # the second request would be made with another result
        with pytest.raises(ReplayDiverged, match="login a"):
            await engine.replay("s2")
        assert (await engine.replay("r2", 3))["output"] == "done"  # and can be asked anew


def test_every_part_of_a_run_is_redacted(database: Database) -> None:
    """A secret is found in payloads, labels, messages, intents, tries, events and streams."""
    text = json.dumps({"x": KEY})
    labels = json.dumps({"team": KEY, "parent_run_id": "gone"})
    plant_run(database, "r", inputs=text, output=text, attributes=labels)
    plant_step(database, "r", 1, error=text)
    for statement in (
        "insert into dbos.workflow_events values ('r', 'k', '{0}', 'agent_app_json')",
        "insert into dbos.streams values ('r', 'k', '{0}', 0, 1, 'agent_app_json')",
        "insert into dbos.notifications (destination_uuid, message) values ('r', '{0}')",
        "insert into agent_app.attempt (run_id, step_number, attempt_number, step_name,"
        " executor_id, started_at, error_message) values ('r', 1, 1, 's', 'e', now(), '{0}')",
        "insert into agent_app.intent (run_id, step_number, step_name, call, idempotency_key,"
        " executor_id, arguments, decided_value) values ('r', 1, 's', 'c', 'k', 'e', '{0}', '{0}')",
        "insert into agent_app.committed_call values ('r', 1, 'c', '{0}')",
    ):
        with database.connect() as connection:
            connection.execute(statement.format(text).encode())
    exported = export_run(database, "r", redaction=Redaction())
    assert KEY not in json.dumps(exported.document)
    assert exported.redacted_count == 11
    assert exported.document["runs"][0]["status"]["attributes"]["parent_run_id"] == "gone"


# -- what is refused


def refused(database: Database, content: bytes, **options: Any) -> AgentAppError:
    """Return the error of an import that must change nothing in any table."""
    before = all_rows(database, "r", "r:c", "rest", "n")
    with pytest.raises(AgentAppError) as caught:
        import_run(database, content, **options)
    assert all_rows(database, "r", "r:c", "rest", "n") == before
    return caught.value


def changed(content: bytes, change: Callable[[dict[str, Any]], object], *, seal: bool) -> bytes:
    """Return the file with a change, and with a digest that fits it again if `seal`."""
    document = json.loads(content)
    change(document)
    if seal:
        document["digest"] = digest_document(document)
    return json.dumps(document).encode()


def status(document: dict[str, Any]) -> dict[str, Any]:
    """Return the first run's own row."""
    row: dict[str, Any] = document["runs"][0]["status"]
    return row


def labelled(document: dict[str, Any], **labels: Any) -> None:
    """Give the first run other labels."""
    status(document).pop("attributes_text")
    status(document)["attributes"] = labels


@pytest.fixture
def file(database: Database) -> bytes:
    """Return the file of a run with a child run, which are gone from the database."""
    plant_family(database)
    content = to_file(database, "r")
    delete_runs(database, ["r"])
    return content


@pytest.mark.parametrize(
    "change",
    [
        lambda document: status(document).update(agent="other"),
        lambda document: document["runs"].pop(),
        lambda document: document["runs"].reverse(),
        lambda document: document.pop("digest"),
        lambda document: document.update(exported_at="2026-01-01T00:00:00+00:00"),
        lambda document: document["runs"][0]["steps"].pop(),
        lambda document: document.update(more=1),
    ],
)
def test_edited_file_is_refused(
    database: Database, file: bytes, change: Callable[[dict[str, Any]], object]
) -> None:
    """Whatever was changed by hand, the digest tells."""
    error = refused(database, changed(file, change, seal=False))
    assert isinstance(error, ArchiveInvalid)
    assert "does not fit its digest" in str(error)


def test_blanks_may_change(database: Database, file: bytes) -> None:
    """A file that was formatted in another way, or has got a byte order mark, is the same file."""
    assert import_run(database, json.dumps(json.loads(file)).encode("utf-8-sig")).is_new


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: d.update(format_version=2), "its format has version 2, and this build knows 1"),
        (lambda d: d.update(format_version=True), "its format has version True"),
        (lambda d: d.update(format="other"), "not made by `agent-app export`"),
        (lambda d: d["schema_versions"].update(agent_app=9999), "'agent_app' at 9999"),
        (lambda d: d["schema_versions"].update(dbos=9999), "'dbos' at 9999"),
        (lambda d: d["schema_versions"].update(other=1), "schema 'other' at 1"),
        (lambda d: d.update(schema_versions=3), "schema_versions: "),
        (lambda d: d.update(sources=[]), "it has no text of source"),
        (lambda d: d["sources"].append(d["sources"][0]), "it holds a source twice"),
        (lambda d: d["sources"][0].update(text="Other words."), "is another one"),
        (lambda d: d["sources"][0].update(sha256="0" * 64), "is another one"),
        (lambda d: d["sources"][0].update(source_id="0" * 16), "is another one"),
        (lambda d: d["sources"][0].update(text="\0"), "sources.0.text: it holds a character"),
        (lambda d: d["sources"][0].update(origin="mars"), "sources.0.origin: "),
        (lambda d: d["sources"][0].pop("title"), "sources.0.title: Field required"),
        (lambda d: d["sources"][0].update(in_corpus=True), "sources.0.in_corpus: Extra inputs"),
        (lambda d: d.update(runs=[]), "its first run is not 'r'"),
        (lambda d: d.update(run_id="x"), "its first run is not 'x'"),
        (lambda d: d["runs"].append(d["runs"][0]), "it holds a run twice"),
        (
            lambda d: d["runs"].append({"status": status(d) | {"run_id": "n"}}),
            "'n' is not below 'r'",
        ),
        (lambda d: status(d).update(status="DONE"), "runs.0.status.status: Input should be"),
        (lambda d: d["runs"][0]["steps"][0].update(step_number=3), "has two rows (3,)"),
        (lambda d: d["runs"][0].update(more=[]), "runs.0.more: Extra inputs"),
        (lambda d: status(d).update(run_id=["r"]), "runs.0.status.run_id: "),
        (lambda d: status(d).update(attributes_text='{"a": "\\u0000"}'), "Unicode escape sequence"),
        (lambda d: d.update(runs="r"), "runs: Input should be a valid list"),
        (lambda d: labelled(d, parent_run_id=["x"]), "its attribute parent_run_id is no run's ID"),
        (lambda d: d["runs"][0].update({"x" * 9999: 1}), "x: Extra inputs"),
    ],
)
def test_contradiction_is_refused_though_the_digest_fits(
    database: Database, file: bytes, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    """A file that somebody made with care is checked all the same, and named by its place."""
    status_row = json.loads(file)["runs"][0]["status"]
    assert "attributes_text" in status_row
    error = refused(database, changed(file, change, seal=True))
    assert isinstance(error, ArchiveInvalid)
    assert reason in str(error)
    assert len(str(error)) < 500


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not JSON"),
        (b"not JSON", "not JSON"),
        (b"\xff\xfe\xff", "not JSON"),
        (b"[1]", "not made by"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"format": "agent_app.run", "format_version": 1, "x": NaN}', "JSON has no NaN"),
        (b'{"format": "agent_app.run", "format_version": 1, "x": 1e999}', "a number that is none"),
        (
            b'{"format": "agent_app.run", "format_version": 1, "x": ' + b"9" * 5000 + b"}",
            "not JSON",
        ),
        (b'{"format": "agent_app.run", "format_version": 1, "x":' + b"[" * 900, "not JSON"),
        (
            b'{"format": "agent_app.run", "format_version": 1, "x":'
            + b"[" * 900
            + b"]" * 900
            + b"}",
            "does not fit its digest",
        ),
    ],
    ids=lambda value: value[:50].decode(errors="replace") if isinstance(value, bytes) else None,
)
def test_what_is_no_export_is_refused(database: Database, content: bytes, reason: str) -> None:
    """Other files, and JSON that is hostile, end with one sentence."""
    error = refused(database, content)
    assert isinstance(error, ArchiveInvalid)
    assert reason in str(error)


def test_deep_payload_is_refused(database: Database, file: bytes) -> None:
    """A payload that is nested more deeply than it could be read again is refused."""

    def nest(document: dict[str, Any]) -> None:
        document["runs"][0]["steps"][0].pop("output_text")
        document["runs"][0]["steps"][0]["output"] = json.loads("[" * 700 + "]" * 700)

    error = refused(database, changed(file, nest, seal=True))
    assert isinstance(error, ArchiveInvalid | PayloadRefused)


def test_file_over_the_limit_is_refused(
    database: Database, file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is too large is not even parsed."""
    monkeypatch.setattr(archive, "MAX_BYTES", len(file) - 1)
    assert "it has more than" in str(refused(database, file))


@pytest.mark.parametrize("section", ["steps", "events", "stream_entries", "messages", "status"])
def test_pickle_in_a_file_is_refused(database: Database, file: bytes, section: str) -> None:
    """A value that is tagged as pickle is neither decoded nor written, wherever it stands."""

    def plant(document: dict[str, Any]) -> None:
        rows = document["runs"][0][section]
        row = rows[0] if isinstance(rows, list) else rows
        row["serialization"] = "py_pickle"

    error = refused(database, changed(file, plant, seal=True))
    assert isinstance(error, PayloadRefused)
    assert "py_pickle" in str(error)


@pytest.mark.parametrize("text", [PICKLE, "NaN", '{"$error": 3}'])
def test_payload_that_is_not_our_json_is_refused(
    database: Database, file: bytes, text: str
) -> None:
    """A pickle that carries our tag, and JSON that decodes to nothing of ours, are refused."""

    def plant(document: dict[str, Any]) -> None:
        document["runs"][0]["steps"][0]["output_text"] = text

    assert isinstance(refused(database, changed(file, plant, seal=True)), PayloadRefused)


def test_id_of_another_run_is_refused(database: Database, file: bytes) -> None:
    """A run of the ID with another content stays what it is; so does one of a child's ID."""
    plant_run(database, "r", inputs="{}")
    assert isinstance(refused(database, file), RunExists)
    delete_runs(database, ["r"])
    plant_run(database, "r:c")
    assert isinstance(refused(database, file), RunExists)
    assert isinstance(refused(database, file, new_id="rest"), RunExists)
    assert isinstance(refused(database, file, new_id="a/b"), RunIdInvalid)
    assert import_run(database, file, new_id="n").run_ids == ["n", "n:c"]


def test_changed_run_is_another_one(database: Database, file: bytes) -> None:
    """A run that has changed since its import is not there already."""
    assert import_run(database, file).is_new
    assert not import_run(database, file).is_new
    with database.connect() as connection:
        connection.execute("update dbos.operation_outputs set output = '2' where function_id = 3")
    assert isinstance(refused(database, file), RunExists)


def test_two_imports_at_once_write_it_once(database: Database, file: bytes) -> None:
    """Of two processes that import one file one writes it, and the other finds it there."""
    found: list[bool] = []
    threads = [
        threading.Thread(target=lambda: found.append(import_run(database, file).is_new))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [False, False, False, True]


def test_child_of_a_run_that_goes_on_is_refused(database: Database, file: bytes) -> None:
    """A run that an unfinished one would take for its own child is not planted under it."""
    plant_run(database, "n", status="PENDING")
    error = refused(database, file, new_id="n:c")
    assert "run 'n' is unfinished here" in str(error)


def test_child_alone_becomes_a_run_of_its_own_under_another_id(database: Database) -> None:
    """A child run's file keeps its parent's ID; under a new ID it has none."""
    plant_family(database)
    content = to_file(database, "r:c")
    delete_runs(database, ["r:c"])
    assert import_run(database, content).run_ids == ["r:c"]
    import_run(database, content, new_id="n")
    rows = [read_run(database, run_id) for run_id in ("r:c", "n")]
    assert [row.parent_run_id for row in rows if row] == ["r", None]


@pytest.mark.parametrize("state", ["PENDING", "ENQUEUED", "DELAYED"])
def test_unfinished_run_ends_when_it_was_exported(database: Database, state: str) -> None:
    """No queue and no recovery finds a run that was unfinished: it ends with its export."""
    plant_run(database, "r", status=state, queue_name="q", owner_xid="x", deduplication_id="d")
    content = to_file(database, "r")
    with database.connect() as connection:
        connection.execute("delete from dbos.workflow_status")
        connection.execute("delete from dbos.workflow_input; delete from dbos.workflow_output")
    assert import_run(database, content) == Imported(["r"], {"r": state}, is_new=True)
    assert import_run(database, content) == Imported(["r"], {}, is_new=False)
    (row,) = map(json.loads, all_rows(database, "r")["dbos.workflow_status"])
    gone = ("queue_name", "owner_xid", "deduplication_id", "started_at_epoch_ms")
    assert [row[name] for name in gone] == [None] * 4
    assert row["status"] == "CANCELLED"
    run = read_run(database, "r")
    assert run is not None
    exported_at = json.loads(content)["exported_at"]
    assert run.finished_at is not None
    assert run.finished_at.isoformat()[:23] == exported_at[:23]


def test_run_that_goes_on_here_is_there_already(database: Database) -> None:
    """The file of a run that is still executing here is found to be that run, which goes on."""
    plant_run(database, "r", status="PENDING", executor_id="e")
    plant_run(database, "r:c", attributes='{"parent_run_id": "r"}')
    imported = import_run(database, to_file(database, "r"))
    assert imported == Imported(["r", "r:c"], {}, is_new=False)
    row = read_run(database, "r")
    assert row is not None
    assert (row.status, row.attributes) == ("PENDING", None)


# -- what is not exported


def test_unknown_run_is_not_exported(database: Database) -> None:
    """A run that does not exist has no file."""
    with pytest.raises(RunNotFound):
        export_run(database, "nope", redaction=None)


def test_foreign_payload_is_not_exported(database: Database) -> None:
    """What cannot be read cannot be redacted either: a file with a pickle in it is never made."""
    plant_run(database, "r")
    plant_step(database, "r", 1, output=PICKLE, serialization="py_pickle")
    with pytest.raises(PayloadRefused, match="py_pickle"):
        export_run(database, "r", redaction=Redaction())


def test_row_of_somebody_else_is_not_exported(database: Database) -> None:
    """A row that could not be imported is named."""
    plant_run(database, "r", status="DONE")
    with pytest.raises(RunNotExportable, match=r"'r' cannot be exported: status\.status: Input"):
        export_run(database, "r", redaction=None)


def test_deep_payload_is_not_exported(database: Database) -> None:
    """A value that is nested too deeply for anybody to read is refused."""
    plant_run(database, "r", output="[" * 20_000 + "]" * 20_000)
    with pytest.raises(PayloadRefused):
        export_run(database, "r", redaction=Redaction())
