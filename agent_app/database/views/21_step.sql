-- What: one row per finished step of a run: its checkpoint, which is never executed again.
-- For:  `agent-app steps`, GET /api/runs/{run_id}/steps, the console's page of a run.
-- From: dbos.operation_outputs (DBOS 3.4: a row is written when a step ends; times in epoch
--       milliseconds). DBOS's own steps ("DBOS.sleep") hold a plain value and are portable_json.
create or replace view agent_app.step as
select
    step.workflow_uuid as run_id,
    step.function_id as step_number,
    step.function_name as name,
    agent_app.step_kind(step.function_name) as kind,
    case when step.error is null then 'SUCCESS' else 'ERROR' end as status,
    to_timestamp(step.started_at_epoch_ms / 1000.0) as started_at,
    to_timestamp(step.completed_at_epoch_ms / 1000.0) as finished_at,
    step.completed_at_epoch_ms - step.started_at_epoch_ms as duration_ms,
    (select count(*) from agent_app.attempt as try
     where try.run_id = step.workflow_uuid and try.step_number = step.function_id) as attempt_count,
    case when agent_app.as_json(step.output, tag.serialization) ? '$checkpoint'
        then agent_app.as_json(step.output, tag.serialization) -> 'value'
        else agent_app.as_json(step.output, tag.serialization) end as output,
    agent_app.error_text(step.error, tag.serialization, step.output) as error,
    coalesce(
        agent_app.as_json(step.output, tag.serialization) ->> '$checkpoint',
        agent_app.as_json(step.error, tag.serialization) ->> '$checkpoint',
        agent_app.as_json(step.error, tag.serialization) #>> '{$error,state,checkpoint_of}')
        as checkpoint_of,
    step.child_workflow_id as child_run_id
from dbos.operation_outputs as step
join dbos.workflow_status as status using (workflow_uuid)
cross join lateral (select case
    when step.serialization = 'portable_json' and starts_with(step.function_name, 'DBOS.')
        then 'agent_app_json' else step.serialization end as serialization) as tag
where agent_app.is_run(status.name);

comment on view agent_app.step is 'the finished steps of every run';
comment on column agent_app.step.step_number is 'order of the call; a gap is a step that was reserved only';
comment on column agent_app.step.kind is
    'model, tool, mcp, dynamic, delegate, capability, event, dbos or other';
comment on column agent_app.step.status is 'SUCCESS if it returned, ERROR if it raised';
comment on column agent_app.step.attempt_count is 'its tries, the failed ones included; 0 for DBOS''s own';
comment on column agent_app.step.output is 'what the step returned, as replays get it';
comment on column agent_app.step.error is 'Class: message; null if there is none';
comment on column agent_app.step.checkpoint_of is 'the call that this is the checkpoint of';
comment on column agent_app.step.child_run_id is 'the run that the step started, where DBOS knows it';
