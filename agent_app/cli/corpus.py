"""`corpus add | list | search | remove`: the documents that every research may find."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from agent_app.operations.corpus import Addition, Match

_JSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def add_commands(app: typer.Typer) -> None:
    """Add this file's commands."""
    corpus = typer.Typer(
        help="Documents that every research may find.", no_args_is_help=True, rich_markup_mode=None
    )
    for name, command in (("add", add), ("list", list_), ("search", search), ("remove", remove)):
        corpus.command(name)(command)
    app.add_typer(corpus, name="corpus")


def add(
    target: Annotated[
        list[str] | None, typer.Argument(help="Files, folders with all below them, or URLs.")
    ] = None,
    installed: Annotated[
        bool,
        typer.Option(
            "--installed", help="Add the READMEs of installed packages and Python's own topics."
        ),
    ] = False,
) -> None:
    """Add documents; adding again what has not changed changes nothing."""
    from agent_app.cli.opening import reading
    from agent_app.operations.corpus import add_installed_to_corpus, add_to_corpus, list_targets

    targets = list_targets(target or [])
    if not target and not installed:
        raise typer.BadParameter("files, folders, URLs or --installed were expected.")
    counts: Counter[str] = Counter()
    with reading() as database:
        if targets:
            with _telling(counts, len(targets)) as tell:
                asyncio.run(add_to_corpus(database, targets, tell))
        if installed:
            with _telling(counts, None) as tell:
                asyncio.run(add_installed_to_corpus(database, tell))
    _print_counts(counts)
    if counts["unreadable"]:
        raise typer.Exit(1)


@contextmanager
def _telling(counts: Counter[str], total: int | None) -> Iterator[Callable[["Addition"], None]]:
    """Yield what counts additions, draws a bar on a terminal, and prints what was not readable."""
    from rich.console import Console
    from rich.progress import Progress

    from agent_app.cli.printing import notice

    screen = Console(stderr=True)
    with Progress(console=screen, transient=True, disable=not screen.is_terminal) as progress:
        task = progress.add_task("Adding", total=total)

        def tell(addition: "Addition") -> None:
            counts[addition.change or "unreadable"] += 1
            progress.advance(task)
            if addition.change is None:
                notice(addition.reason)

        yield tell


def _print_counts(counts: Counter[str]) -> None:
    if not counts:
        print("There is nothing to add: no file with an ending that is read.")
        return
    names = [name for name in ("added", "replaced", "unchanged", "unreadable") if counts[name]]
    changes = ", ".join(f"{counts[name]} {name}" for name in names)
    print(f"{changes}.")


def list_(json: _JSON = False) -> None:
    """List what is in the corpus, by URL."""
    from agent_app.cli.opening import reading
    from agent_app.cli.printing import notice, print_json, print_table, shorten
    from agent_app.operations.corpus import read_corpus

    with reading() as database:
        entries = asyncio.run(read_corpus(database))
    if json:
        print_json(entries)
    elif entries:
        rows = (
            (e.source_id, e.passage_count, e.added_at, shorten(e.title, 50), e.url) for e in entries
        )
        print_table(("SOURCE", "PASSAGES", "ADDED", "TITLE", "URL"), rows)
    else:
        notice(_EMPTY)


_EMPTY = (
    "The corpus is empty. `agent-app corpus add PATH` fills it, and `agent-app corpus add "
    "--installed` with what this machine has."
)


def search(
    query: Annotated[str, typer.Argument(help="Words to look for.")],
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Sources to print at most.")] = 5,
    json: _JSON = False,
) -> None:
    """Print the best passage of each source that has words of the query, best first."""
    from agent_app.cli.opening import reading
    from agent_app.cli.printing import notice, print_json
    from agent_app.operations.corpus import search_corpus

    with reading() as database:
        matches = asyncio.run(search_corpus(database, query, max_count=limit))
    if json:
        print_json([m.passage.model_dump(mode="json") | {"words": m.words} for m in matches or []])
    elif matches is None:
        notice(_EMPTY)
    elif not matches:
        notice("No source of the corpus has a word of that.")
    else:
        for match in matches:
            _print_match(match)


def _print_match(match: "Match") -> None:
    import re

    from rich.text import Text

    from agent_app.cli.printing import console, printable, shorten

    target, passage = console(), match.passage
    text = Text(printable(passage.text))
    for word in match.words:
        text.highlight_regex(rf"(?<!\w){re.escape(printable(word))}(?!\w)", "bold yellow")
    target.print(Text(f"{passage.score:.2f}  {shorten(passage.title, 100)}", "bold"))
    target.print(Text(f"{passage.source_id}  {printable(passage.url)}"))
    target.print(Text(f"words: {printable(', '.join(match.words))}\n"))
    target.print(text, "\n")


def remove(
    source: Annotated[list[str], typer.Argument(help="IDs, URLs, or paths of files or folders.")],
) -> None:
    """Take documents out of the corpus; what a stored run has stays stored for that run."""
    from agent_app.cli.opening import reading
    from agent_app.operations.corpus import remove_sources

    with reading() as database:
        removed = asyncio.run(remove_sources(database, source))
    print(f"{removed.url_count} removed.")
    if removed.cited_count:
        print(f"{removed.cited_count} stay stored for the runs that have them.")
