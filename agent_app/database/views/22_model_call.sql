-- What: one row per finished model request: who asked which model, what came back, what it took.
-- For:  agent_app.message; "which requests are slow, long, dear, cut off?"
-- From: dbos.operation_outputs and dbos.workflow_status (DBOS 3.4), where Pydantic AI 2.68 writes the
--       answer; agent_app.expense.
create or replace view agent_app.model_call as
select step.workflow_uuid as run_id, step.function_id as step_number,
    split_part(step.function_name, '.', 1) as agent,
    stored.answer ->> 'model_name' as model,
    stored.answer ->> 'provider_name' as provider,
    case when step.error is null then 'SUCCESS' else 'ERROR' end as status,
    to_timestamp(step.started_at_epoch_ms / 1000.0) as started_at,
    to_timestamp(step.completed_at_epoch_ms / 1000.0) as finished_at,
    step.completed_at_epoch_ms - step.started_at_epoch_ms as duration_ms,
    (select count(*) from agent_app.attempt as try
     where try.run_id = step.workflow_uuid and try.step_number = step.function_id) as attempt_count,
    spent.input_tokens, spent.output_tokens, spent.cost_usd,
    stored.answer ->> 'finish_reason' as finish_reason,
    stored.answer,
    agent_app.error_text(step.error, step.serialization, step.output) as error
from dbos.operation_outputs as step
join dbos.workflow_status as status using (workflow_uuid)
cross join lateral (
    select agent_app.as_json(step.output, step.serialization) -> 'value' as answer
    offset 0) as stored -- parsed once
left join lateral (
    select sum(expense.input_tokens)::bigint as input_tokens,
        sum(expense.output_tokens)::bigint as output_tokens, sum(expense.cost_usd) as cost_usd
    from agent_app.expense
    where expense.run_id = step.workflow_uuid and expense.step_number = step.function_id
) as spent on true
where step.function_name ~ '^[^.]+[.]model$' and agent_app.is_run(status.name);

comment on view agent_app.model_call is 'finished model requests: the answer, and what all their tries took';
comment on column agent_app.model_call.agent is 'whose request it was; a workflow''s steps have its agents'' names';
comment on column agent_app.model_call.model is 'as the answer names it; null for an error';
comment on column agent_app.model_call.provider is 'as the answer names it';
comment on column agent_app.model_call.attempt_count is 'its tries, the failed ones included';
comment on column agent_app.model_call.input_tokens is 'of all its tries';
comment on column agent_app.model_call.output_tokens is 'of all its tries';
comment on column agent_app.model_call.cost_usd is 'of all its tries; null where no price is known';
comment on column agent_app.model_call.finish_reason is 'stop, length, tool_call and others; null where the model says none';
comment on column agent_app.model_call.answer is 'the answer as it is stored: parts, usage, and the rest';
