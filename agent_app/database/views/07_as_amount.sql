-- What: a count or a price out of a stored answer; somebody else may have written any JSON there.
-- For:  agent_app.expense, agent_app.message, agent_app.model_call.
-- From: Pydantic AI 2.68: counts are numbers, a price is text ("0.0012").
create or replace function agent_app.as_amount(amount jsonb) returns numeric
language sql immutable parallel safe as $$
    select case
        when amount #>> '{}' ~ '^[0-9]{1,15}([.][0-9]{1,30})?$' then (amount #>> '{}')::numeric
    end
$$;
comment on function agent_app.as_amount is 'a number that is stored as one, or as text; else null';
