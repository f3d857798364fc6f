-- What: one row per run, finished or not.
-- For:  `agent-app list`, `agent-app sql`, GET /api/runs, the console's first page.
-- From: dbos.workflow_status, workflow_input, workflow_output, operation_outputs (DBOS 3.4: times in
--       epoch milliseconds; payloads of older rows stand in workflow_status itself). created_at is
--       written as our index is (migration 0003), and what a query does not name is not computed.
create or replace view agent_app.run as
select status.workflow_uuid as run_id, status.name as agent, status.status,
    case when status.status in ('ENQUEUED', 'DELAYED', 'PENDING') then (
        select wait.waiting_for from agent_app.find_wait(status.workflow_uuid, status.status) as wait) end
        as waiting_for,
    to_timestamp(status.created_at / 1000.0) as created_at,
    to_timestamp(moment.started_ms / 1000.0) as started_at,
    to_timestamp(moment.finished_ms / 1000.0) as finished_at,
    moment.finished_ms - moment.started_ms as duration_ms,
    (select count(*) from dbos.operation_outputs as step
     where step.workflow_uuid = status.workflow_uuid) as step_count,
    ledger.attempt_count, ledger.input_tokens, ledger.output_tokens, ledger.cost_usd,
    (select agent_app.as_json(step.output, step.serialization) #>> '{value,model_name}'
     from dbos.operation_outputs as step
     where step.workflow_uuid = status.workflow_uuid and step.output is not null
        and step.function_name ~ '^[^.]+[.]model$'
     order by step.function_id limit 1) as model,
    coalesce(status.parent_workflow_id, status.attributes ->> 'parent_run_id') as parent_run_id,
    status.forked_from, status.executor_id, status.application_version,
    to_timestamp(status.updated_at / 1000.0) as updated_at,
    case when jsonb_typeof(status.attributes) = 'object'
        then nullif(status.attributes - 'parent_run_id', '{}') end as attributes,
    agent_app.as_json(coalesce(input.inputs, status.inputs), status.serialization)
        #> '{args,0,input}' as input,
    agent_app.as_json(coalesce(output.output, status.output), status.serialization)
        -> 'output' as output,
    case when status.status = 'MAX_RECOVERY_ATTEMPTS_EXCEEDED' then format(
        'RunGivenUp: its process died %s times in a row before it finished a step; '
        '`agent-app resume %s` goes on', status.recovery_attempts - 1, status.workflow_uuid)
    else agent_app.error_text(
        coalesce(output.error, status.error), status.serialization,
        coalesce(output.output, status.output), coalesce(input.inputs, status.inputs)) end as error
from dbos.workflow_status as status
left join dbos.workflow_input as input using (workflow_uuid)
left join dbos.workflow_output as output using (workflow_uuid)
cross join lateral (
    select
        case when status.queue_name is null then status.created_at
            else least(status.started_at_epoch_ms, (
                select step.started_at_epoch_ms from dbos.operation_outputs as step
                where step.workflow_uuid = status.workflow_uuid
                    and step.started_at_epoch_ms >= status.created_at -- a fork has older ones
                order by step.function_id limit 1)) end as started_ms,
        case when status.status in ('SUCCESS', 'ERROR', 'CANCELLED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED')
            then status.completed_at end as finished_ms) as moment
left join lateral agent_app.ledger_of(status.workflow_uuid) as ledger on true
where agent_app.is_run(status.name);

comment on view agent_app.run is 'every run of an agent: what went in, what came out, where it stands';
comment on column agent_app.run.agent is 'name of the agent or workflow';
comment on column agent_app.run.status is
    'ENQUEUED DELAYED PENDING SUCCESS ERROR CANCELLED MAX_RECOVERY_ATTEMPTS_EXCEEDED';
comment on column agent_app.run.waiting_for is 'what an unfinished run waits for, in words; null if it works';
comment on column agent_app.run.started_at is 'null while it waits in a queue';
comment on column agent_app.run.finished_at is 'null while it is unfinished';
comment on column agent_app.run.duration_ms is 'from its start to its end';
comment on column agent_app.run.step_count is 'finished steps';
comment on column agent_app.run.attempt_count is 'tries of steps, failed and running ones included';
comment on column agent_app.run.input_tokens is 'of its own tries; its children have theirs';
comment on column agent_app.run.output_tokens is 'of its own tries; its children have theirs';
comment on column agent_app.run.cost_usd is 'of its own tries with a known price; null if there is none';
comment on column agent_app.run.model is 'what its first model answer names; null before it';
comment on column agent_app.run.parent_run_id is 'the run that delegated to this one';
comment on column agent_app.run.forked_from is 'the run that this one was forked from';
comment on column agent_app.run.attributes is 'labels that it was started with; null for none';
comment on column agent_app.run.error is 'Class: message; null if there is none';
