-- What: what one run has tried and spent by itself, by three index look-ups; always one row.
-- For:  agent_app.run, of which a page is read more often than anything else; agent_app.expense says
--       the same of every try.
-- From: agent_app.attempt; for answers whose try the ledger lost, dbos.operation_outputs (DBOS 3.4).
create or replace function agent_app.ledger_of(of_run_id text)
returns table (attempt_count bigint, input_tokens bigint, output_tokens bigint, cost_usd numeric)
language sql stable as $$
    select coalesce(max(ledger.attempt_count), 0),
        (coalesce(max(ledger.input_tokens), 0) + coalesce(sum(lost.input_tokens), 0))::bigint,
        (coalesce(max(ledger.output_tokens), 0) + coalesce(sum(lost.output_tokens), 0))::bigint,
        case when max(ledger.cost_usd) is not null or sum(lost.cost_usd) is not null
            then coalesce(max(ledger.cost_usd), 0) + coalesce(sum(lost.cost_usd), 0) end
    from (
        select count(*) as attempt_count, sum(try.input_tokens) as input_tokens,
            sum(try.output_tokens) as output_tokens, sum(try.cost_usd) as cost_usd,
            coalesce(array_agg(try.step_number) filter (where try.outcome = 'success'), '{}')
                as step_numbers
        from agent_app.attempt as try where try.run_id = of_run_id) as ledger
    cross join lateral ( -- from the index alone; nearly always nothing is left
        select array_agg(step.function_id) as step_numbers
        from dbos.operation_outputs as step
        where step.workflow_uuid = of_run_id
            and step.function_id <> all (ledger.step_numbers)) as unknown
    left join lateral (
        select agent_app.as_amount(answer.usage -> 'input_tokens') as input_tokens,
            agent_app.as_amount(answer.usage -> 'output_tokens') as output_tokens,
            agent_app.as_amount(answer.usage -> 'cost') as cost_usd
        from dbos.operation_outputs as step
        cross join lateral (
            select agent_app.as_json(step.output, step.serialization) #> '{value,usage}' as usage
            offset 0) as answer
        where step.workflow_uuid = of_run_id and step.function_id = any (unknown.step_numbers)
            and step.function_name ~ '^[^.]+[.]model$' and step.output is not null) as lost on true
$$;
comment on function agent_app.ledger_of is
    'tries, tokens and money of one run; its children''s are theirs';
