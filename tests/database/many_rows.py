"""A database of the size that the limits are stated for, planted by SQL in a minute or two."""

from concurrent.futures import ThreadPoolExecutor
from typing import LiteralString

from agent_app.database.connect import Database

RUNS = 100_000
RARE = 20
"""Runs of the agent `auditor`, all over the time."""
_PREPARE: LiteralString = """
-- No index is kept up while rows come in; those that no view of ours uses stay away.
alter table dbos.operation_outputs set unlogged;
alter table agent_app.attempt set unlogged;
alter table dbos.operation_outputs drop constraint operation_outputs_pkey;
drop index dbos.idx_operation_outputs_completed_at_function_name_v2;
drop index dbos.idx_operation_outputs_retention;
alter table agent_app.attempt drop constraint attempt_pkey;
drop index agent_app.attempt_started_at;
"""
_RUNS: LiteralString = """
-- A run a minute; a fifth came through a queue, a quarter are children, the newest are under way.
insert into dbos.workflow_status (workflow_uuid, name, status, created_at, updated_at, completed_at,
    executor_id, application_version, priority, serialization, queue_name, started_at_epoch_ms,
    attributes)
select run_id, agent, status, at, at + 90000, case when status <> 'PENDING' then at + 90000 end,
    'executor-' || n % 7, '1', 0, 'agent_app_json',
    case when n % 5 = 0 then 'nightly' end, case when n % 5 = 0 then at + 40 end,
    case when n % 4 = 0 then jsonb_build_object('parent_run_id', md5((n - 1)::text))
        when n % 2 = 1 then jsonb_build_object('team', 'team-' || n % 50, 'ticket', 'T-' || n) end
from (
    select n, md5(n::text) as run_id, 1767225600000 + n * 60000::bigint as at,
        case when n % 5000 = 0 then 'auditor'
            else (array['researcher', 'researcher', 'writer', 'answerer'])[1 + n % 4] end as agent,
        case when n > 100000 - 200 and n % 2 = 0 then 'PENDING' when n % 25 = 0 then 'ERROR'
            when n % 101 = 0 then 'CANCELLED' else 'SUCCESS' end as status
    from generate_series(1, 100000) as n) as run;

insert into dbos.workflow_input (workflow_uuid, inputs)
select md5(n::text), jsonb_build_object('args', jsonb_build_array(jsonb_build_object(
    'input', jsonb_build_object('depth', 3, 'question',
        format('Question %s: what do owls eat in the winter of %s?', n, 1000 + n % 1000)),
    'models', jsonb_build_object('*', 'openai:gpt-5.2'))), 'kwargs', jsonb_build_object())
from generate_series(1, 100000) as n;

insert into dbos.workflow_output (workflow_uuid, output, error)
select workflow_uuid,
    case status when 'SUCCESS' then jsonb_build_object('output', jsonb_build_object(
        'answer', repeat('Owls eat mice. ', 20)), 'cost_usd', null) end,
    case status when 'ERROR'
        then '{"$error":{"type":"builtins:ConnectionError","message":"lost"}}' end
from dbos.workflow_status where status in ('SUCCESS', 'ERROR');
"""
_STEPS: LiteralString = """
-- Forty of each run, model requests and tool calls by turns; ten runs are under way at a time.
insert into dbos.operation_outputs (workflow_uuid, function_id, function_name, output,
    started_at_epoch_ms, completed_at_epoch_ms, serialization, application_name)
select md5(n::text), number,
    (array['researcher', 'researcher', 'writer', 'answerer'])[1 + n % 4]
        || case when number % 2 = 1 then '.model' else '.tool.search' end,
    case when number % 2 = 1 then
            '{"$checkpoint":"' || number || ' messages 0123456789ab","value":{"parts":[{"content":"'
            || repeat('I look for owls in winter. ', 8) || '","part_kind":"text"},'
            '{"tool_name":"search","args":"{\\"query\\":\\"owls\\"}","tool_call_id":"call-'
            || number || '","part_kind":"tool-call"}],"usage":{"input_tokens":1200,'
            '"cache_write_tokens":0,"cache_read_tokens":0,"output_tokens":120,"details":{},'
            '"output_reasoning_tokens":0,"cost":null},"model_name":"gpt-5.2-2025-12-11",'
            '"timestamp":"2026-01-01T00:00:00Z","kind":"response","provider_name":"openai",'
            '"provider_response_id":"resp-0123456789","finish_reason":"tool_call"}}'
        else '{"$checkpoint":"search call-' || number - 1 || ' 0123456789ab","value":{"result":"'
            || repeat('An owl was seen eating a mouse. ', 12) || '","kind":"tool_return"}}' end,
    1767225600000 + n * 60000::bigint + number * 2000,
    1767225600000 + n * 60000::bigint + number * 2000 + 1500, 'agent_app_json', 'agent_app'
from generate_series(0, 9999) as ten
cross join lateral generate_series(ten * 0 + 1, 40) as number -- the order of the loops, pinned
cross join lateral generate_series(ten * 10 + number * 0 + 1, ten * 10 + 10) as n
"""
_ATTEMPTS: LiteralString = """
insert into agent_app.attempt (run_id, step_number, attempt_number, step_name, executor_id,
    started_at, finished_at, outcome, model, input_tokens, output_tokens, cost_usd)
select md5(n::text), number, 1,
    (array['researcher', 'researcher', 'writer', 'answerer'])[1 + n % 4]
        || case when is_model then '.model' else '.tool.search' end,
    'executor-' || n % 7, moment, moment + interval '1.5 s', 'success',
    case when is_model then 'gpt-5.2-2025-12-11' end,
    case when is_model then 1200 end, case when is_model then 120 end,
    case when is_model then 0.0031 end
from generate_series(0, 9999) as ten
cross join lateral generate_series(ten * 0 + 1, 40) as number -- the order of the loops, pinned
cross join lateral generate_series(ten * 10 + number * 0 + 1, ten * 10 + 10) as n
cross join lateral (select number % 2 = 1 as is_model,
    to_timestamp(1767225600 + n * 60 + number * 2) as moment) as try
"""
_STEPS_KEY: LiteralString = """
alter table dbos.operation_outputs add primary key (workflow_uuid, function_id)
"""
_ATTEMPTS_KEY: LiteralString = """
alter table agent_app.attempt add primary key (run_id, step_number, attempt_number)
"""
_PARTS: tuple[tuple[LiteralString, ...], ...] = (
    (_STEPS, _STEPS_KEY, "vacuum (analyze) dbos.operation_outputs"),
    (_ATTEMPTS, _ATTEMPTS_KEY, "vacuum (analyze) agent_app.attempt"),
    (
        _RUNS,
        "vacuum (analyze) dbos.workflow_status",
        "vacuum (analyze) dbos.workflow_input",
        "vacuum (analyze) dbos.workflow_output",
    ),
)


def plant_many(database: Database) -> None:
    """Fill a migrated database with 100,000 runs, 4 million steps and their tries: 4 GB."""
    _execute(database, (_PREPARE,))
    with ThreadPoolExecutor(len(_PARTS)) as pool:
        list(pool.map(lambda part: _execute(database, part), _PARTS))


def _execute(database: Database, statements: tuple[LiteralString, ...]) -> None:
    with database.connect() as connection:
        connection.execute("set maintenance_work_mem = '256MB'")
        for statement in statements:
            connection.execute(statement)
