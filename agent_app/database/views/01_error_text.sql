-- What: why something failed, as `Class: message`, or why what is stored was not decoded.
-- For:  agent_app.run, agent_app.step.
-- From: the error of DBOS 3.4's workflow_status and operation_outputs as our serializer writes it,
--       and the other payloads of the same row, which may be somebody else's.
create or replace function agent_app.error_text(
    error text, serialization text, variadic payloads text[]
) returns text language sql immutable parallel restricted as $$
    select case
        when error is null and array_remove(payloads, null) = '{}' then null
        when serialization <> 'agent_app_json'
            then format('PayloadRefused: tagged %L, not decoded', left(serialization, 100))
        when error is not null then coalesce(
            (select concat_ws(': ', substring(e ->> 'type' from '[^.:]*$'), e ->> 'message')
                || case when jsonb_typeof(e #> '{state,step_attempts}') = 'array' then format(
                    ' (after %s attempts)', jsonb_array_length(e #> '{state,step_attempts}'))
                    else '' end
             from (select agent_app.as_json(error, serialization) -> '$error' as e) as stored
             where jsonb_typeof(e) = 'object'),
            'PayloadRefused: the error is not JSON of ours, not decoded')
        when exists (
            select from unnest(payloads) as payload
            where payload is not null and agent_app.as_json(payload, serialization) is null)
            then 'PayloadRefused: a payload is not JSON, not decoded'
    end
$$;
comment on function agent_app.error_text is 'Class: message of a stored error';
