-- What: one row per run, finished or not.
-- For:  `agent-app list`, `agent-app sql`, GET /api/runs, the console's first page.
-- From: dbos.workflow_status, dbos.workflow_input, dbos.workflow_output (DBOS 3.4: times in epoch
--       milliseconds; payloads of older rows stand in workflow_status itself).
create or replace view agent_app.run as
select
    status.workflow_uuid as run_id,
    status.name as agent,
    status.status,
    to_timestamp(status.created_at / 1000.0) as created_at,
    case when status.status in ('SUCCESS', 'ERROR', 'CANCELLED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED')
        then to_timestamp(status.completed_at / 1000.0) end as finished_at,
    coalesce(status.parent_workflow_id, status.attributes ->> 'parent_run_id') as parent_run_id,
    agent_app.as_json(coalesce(input.inputs, status.inputs), status.serialization)
        #> '{args,0,input}' as input,
    agent_app.as_json(coalesce(output.output, status.output), status.serialization)
        -> 'output' as output,
    agent_app.error_text(
        coalesce(output.error, status.error), status.serialization,
        coalesce(output.output, status.output), coalesce(input.inputs, status.inputs)) as error,
    status.executor_id,
    status.application_version,
    to_timestamp(status.updated_at / 1000.0) as updated_at
from dbos.workflow_status as status
left join dbos.workflow_input as input using (workflow_uuid)
left join dbos.workflow_output as output using (workflow_uuid)
where agent_app.is_run(status.name);

comment on view agent_app.run is 'every run of an agent: what went in, what came out, where it stands';
comment on column agent_app.run.agent is 'name of the agent or workflow';
comment on column agent_app.run.status is
    'ENQUEUED DELAYED PENDING SUCCESS ERROR CANCELLED MAX_RECOVERY_ATTEMPTS_EXCEEDED';
comment on column agent_app.run.finished_at is 'null while it is unfinished';
comment on column agent_app.run.parent_run_id is 'the run that delegated to this one';
comment on column agent_app.run.error is 'Class: message; null if there is none';
