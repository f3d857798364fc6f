-- What: what was spent: one row per try that used tokens or money, failed ones included.
-- For:  agent_app.model_call and the views of costs; its sums count nothing twice.
-- From: agent_app.attempt; where its ledger has lost the try that made a checkpoint, the answer in
--       dbos.operation_outputs (DBOS 3.4). Those are found before any payload is read.
create or replace view agent_app.expense as
select try.run_id, try.step_number, try.step_name, try.started_at as spent_at,
    coalesce(try.model, (
        select agent_app.as_json(step.output, step.serialization) #>> '{value,model_name}'
        from dbos.operation_outputs as step
        where step.workflow_uuid = try.run_id and step.function_id = try.step_number
            and step.function_name ~ '^[^.]+[.]model$')) as model,
    try.input_tokens, try.output_tokens, try.cost_usd
from agent_app.attempt as try
where try.input_tokens is not null or try.output_tokens is not null or try.cost_usd is not null
union all
select step.workflow_uuid, step.function_id, step.function_name,
    to_timestamp(step.started_at_epoch_ms / 1000.0),
    stored.answer ->> 'model_name',
    agent_app.as_amount(stored.answer #> '{usage,input_tokens}')::bigint,
    agent_app.as_amount(stored.answer #> '{usage,output_tokens}')::bigint,
    agent_app.as_amount(stored.answer #> '{usage,cost}')
from (
    select distinct answered.workflow_uuid, answered.function_id
    from dbos.operation_outputs as answered
    where answered.function_name ~ '^[^.]+[.]model$' and answered.output is not null
        and not exists (
            select from agent_app.attempt as try
            where try.run_id = answered.workflow_uuid and try.step_number = answered.function_id
                and try.outcome = 'success')
) as lost
join dbos.operation_outputs as step using (workflow_uuid, function_id)
cross join lateral (
    select agent_app.as_json(step.output, step.serialization) -> 'value' as answer
    offset 0) as stored;

comment on view agent_app.expense is 'what every try of a step has spent; its sums count nothing twice';
comment on column agent_app.expense.spent_at is 'when the try began';
comment on column agent_app.expense.model is 'as the answer names it; null where there is none';
comment on column agent_app.expense.input_tokens is 'null where nothing says how many';
comment on column agent_app.expense.output_tokens is 'null where nothing says how many';
comment on column agent_app.expense.cost_usd is 'null where no price is known';
