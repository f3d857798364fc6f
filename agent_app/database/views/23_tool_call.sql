-- What: one row per finished tool call: the arguments that the model gave, and what came of it.
-- For:  agent_app.message; "which tools fail, are slow, are called how?"
-- From: dbos.operation_outputs and dbos.workflow_status (DBOS 3.4). What a checkpoint is of says the
--       tool, the call's ID and a digest; the arguments stand in the model's answer before it.
create or replace view agent_app.tool_call as
select step.workflow_uuid as run_id, step.function_id as step_number,
    split_part(step.function_name, '.', 1) as agent,
    call.tool,
    case when agent_app.step_kind(step.function_name) <> 'tool'
        then split_part(step.function_name, '.', 3) end as toolset,
    call.tool_call_id,
    case when step.error is null then 'SUCCESS' else 'ERROR' end as status,
    coalesce(replace(stored.value ->> 'kind', '_', '-'), 'error') as outcome,
    to_timestamp(step.started_at_epoch_ms / 1000.0) as started_at,
    to_timestamp(step.completed_at_epoch_ms / 1000.0) as finished_at,
    step.completed_at_epoch_ms - step.started_at_epoch_ms as duration_ms,
    (select count(*) from agent_app.attempt as try
     where try.run_id = step.workflow_uuid and try.step_number = step.function_id) as attempt_count,
    (select agent_app.as_arguments(part.part -> 'args')
     from dbos.operation_outputs as asked
     cross join lateral jsonb_path_query(
        agent_app.as_json(asked.output, asked.serialization), '$.value.parts[*]') as part (part)
     where asked.workflow_uuid = step.workflow_uuid and asked.function_id < step.function_id
        and asked.function_name ~ '^[^.]+[.]model$'
        and part.part ->> 'tool_call_id' = call.tool_call_id
     order by asked.function_id desc limit 1) as arguments,
    coalesce(
        case when stored.value #>> '{result,kind}' = 'tool-return' -- a ToolReturn
            then stored.value #> '{result,return_value}' end,
        stored.value -> 'result', stored.value -> 'message', stored.value -> 'metadata',
        stored.value -> 'errors') as result,
    agent_app.error_text(step.error, step.serialization, step.output) as error
from dbos.operation_outputs as step
join dbos.workflow_status as status using (workflow_uuid)
cross join lateral (
    select agent_app.as_json(coalesce(step.output, step.error), step.serialization) as payload
    offset 0) as checkpoint -- parsed once
cross join lateral (
    select checkpoint.payload -> 'value' as value, coalesce(checkpoint.payload ->> '$checkpoint',
        checkpoint.payload #>> '{$error,state,checkpoint_of}') as made_of) as stored
cross join lateral (
    select coalesce(substring(step.function_name from '^[^.]+[.]tool[.](.*)$'),
            substring(stored.made_of from '^([^ ]+) .* ')) as tool, -- not a list of tools
        substring(stored.made_of from ' (.*) ') as tool_call_id) as call
where agent_app.step_kind(step.function_name) in ('tool', 'mcp', 'dynamic')
    and call.tool is not null and agent_app.is_run(status.name);

comment on view agent_app.tool_call is 'finished tool calls: arguments, outcome, and how long they took';
comment on column agent_app.tool_call.agent is 'whose call it was; a workflow''s steps have its agents'' names';
comment on column agent_app.tool_call.toolset is 'the MCP server or dynamic toolset; null for the agent''s own';
comment on column agent_app.tool_call.status is 'SUCCESS if it returned, ERROR if it raised';
comment on column agent_app.tool_call.outcome is
    'tool-return; model-retry, tool-failed, approval-required and others that the agent handles; error';
comment on column agent_app.tool_call.attempt_count is 'its tries, the failed ones included';
comment on column agent_app.tool_call.arguments is 'as the model gave them';
comment on column agent_app.tool_call.result is 'what the model gets, or what was raised for it';
