-- What: JSON as a person reads it, and a tool's arguments as JSON, which some models send as text.
-- For:  agent_app.message, agent_app.tool_call.
create or replace function agent_app.as_text(content jsonb) returns text
language sql immutable parallel safe as $$
    select nullif(content, 'null') #>> '{}'
$$;
comment on function agent_app.as_text is 'JSON as text, a string without its quotation marks';

create or replace function agent_app.as_arguments(arguments jsonb) returns jsonb
language sql immutable parallel restricted as $$
    select case jsonb_typeof(arguments)
        when 'null' then null
        when 'string' then coalesce(
            agent_app.as_json(arguments #>> '{}', 'agent_app_json'), arguments)
        else arguments
    end
$$;
comment on function agent_app.as_arguments is 'a tool call''s arguments as JSON, also where a model sent text';
