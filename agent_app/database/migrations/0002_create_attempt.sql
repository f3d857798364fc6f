-- What: one row for each try of a step, written when the try starts and closed when it ends.
-- For:  "what is it doing right now?", "what did the failures cost?", retries that outlive a crash.
-- From: agent_app.database.attempt_ledger, which writes behind the step: a crash can lose the rows
--       of its last moments, except where a try is waited after (`retry_at`).
create table agent_app.attempt (
    run_id text not null,
    step_number integer not null,
    attempt_number integer not null check (attempt_number > 0),
    step_name text not null,
    executor_id text not null,
    started_at timestamptz not null,
    heartbeat_at timestamptz,
    finished_at timestamptz,
    outcome text check (outcome in ('success', 'error', 'cancelled', 'lost', 'unknown')),
    error_type text,
    error_message text,
    http_status integer,
    retry_after_s double precision,
    retry_at timestamptz,
    input_tokens bigint,
    output_tokens bigint,
    cost_usd numeric,
    primary key (run_id, step_number, attempt_number)
);
create index attempt_unfinished on agent_app.attempt (started_at) where outcome is null;
create index attempt_started_at on agent_app.attempt (started_at);
comment on table agent_app.attempt is 'every try of every step, the failed ones and the running ones too';
comment on column agent_app.attempt.attempt_number is 'counted from 1 over all lives of the run';
comment on column agent_app.attempt.heartbeat_at is 'last sign of life that a tool gave by heartbeat()';
comment on column agent_app.attempt.finished_at is 'null while it runs, and for what a crash cut short';
comment on column agent_app.attempt.outcome is
    'null while it runs; lost: its process died; unknown: an external call that may have been made';
comment on column agent_app.attempt.retry_after_s is 'seconds that the other side asked to wait';
comment on column agent_app.attempt.retry_at is 'when the next try begins; null if none follows';
comment on column agent_app.attempt.cost_usd is 'null where no price is known';

-- What: until when no request may be sent to a model, since one of them met its rate limit.
-- For:  every process, which reads it in the statement that precedes each step.
create table agent_app.rate_limit (
    provider text not null,
    model text not null,
    closed_until timestamptz not null,
    run_id text not null,
    step_number integer not null,
    updated_at timestamptz not null default now(),
    primary key (provider, model)
);
comment on table agent_app.rate_limit is 'models whose provider asked to wait, for all runs of all processes';
comment on column agent_app.rate_limit.run_id is 'the run whose request was refused last';

-- What: one row for each call of a tool whose second execution does harm, committed before it.
-- For:  a recovery, which makes no call that an earlier life may have made.
create table agent_app.intent (
    run_id text not null,
    step_number integer not null,
    step_name text not null,
    call text not null,
    arguments jsonb,
    idempotency_key text not null,
    executor_id text not null,
    intended_at timestamptz not null default now(),
    unknown_since timestamptz,
    decision text check (decision in ('done', 'retry', 'fail')),
    decided_value text,
    decided_at timestamptz,
    primary key (run_id, step_number)
);
create index intent_unknown on agent_app.intent (unknown_since)
    where unknown_since is not null and decision is null;
comment on table agent_app.intent is 'external calls, each committed before it is made';
comment on column agent_app.intent.call is 'the call, as its checkpoint names it';
comment on column agent_app.intent.unknown_since is
    'since when nobody knows whether the call was made; null while it is made for the first time';
comment on column agent_app.intent.decision is 'what a person said by `agent-app resolve`';
comment on column agent_app.intent.decided_value is 'JSON of the result for done, a reason for fail';

-- What: one row for each transactional tool call, committed together with what the tool wrote.
-- For:  a recovery, which takes the result from here instead of writing a second time.
create table agent_app.committed_call (
    run_id text not null,
    step_number integer not null,
    call text not null,
    result text not null,
    committed_at timestamptz not null default now(),
    primary key (run_id, step_number)
);
comment on table agent_app.committed_call is 'results of transactional tools, committed with their rows';
