-- What: what a step is, by its name.
-- For:  agent_app.step and the views of model and tool calls.
-- From: the names that steps are given ("{agent}.{kind}…"; no agent has a dot in its name), and
--       those of DBOS 3.4's own steps ("DBOS.sleep").
create or replace function agent_app.step_kind(step_name text) returns text
language sql immutable parallel safe as $$
    select case
        when starts_with(step_name, 'DBOS.') then 'dbos'
        when split_part(step_name, '.', 2)
            in ('model', 'tool', 'mcp', 'dynamic', 'delegate', 'capability', 'event')
            then split_part(step_name, '.', 2)
        else 'other'
    end
$$;
comment on function agent_app.step_kind is
    'model, tool, mcp, dynamic, delegate, capability, event, dbos or other, by a step''s name';
