-- What: refuses what agent_app.enqueue_run cannot store, with the reason.
-- For:  agent_app.enqueue_run.
-- From: agent_app.operations.start and enqueue, which refuse the same; agent_app.durability.serializer:
--       an object with one of its tags as a key would be read as something else than it is.
create or replace function agent_app.check_enqueue(
    agent text, request text, run_id text, models jsonb, queue text, priority integer, key text,
    delay interval, attributes jsonb
) returns void
language plpgsql immutable as $$
declare
    reason text := case
        when agent is null or not agent_app.is_run(agent) then 'agent has no name of one'
        when run_id !~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,199}$' then
            'run_id has signs other than letters, digits, -, _, . and :, or over 200 of them'
        when models is null or jsonb_typeof(models) <> 'object'
            or jsonb_path_exists(models, '$.* ? (@.type() != "string")') then
            'models is no object of model strings by agent, such as {"*": "openai:gpt-5.2"}'
        when request ~ '"[$](checkpoint|error|text|float|pairs)": ' then
            'input has a key that begins with $ and belongs to agent_app'
        when queue is null or queue !~ '^[a-z][a-z0-9_-]{0,49}$' or queue in ('recovery', 'search')
            then 'queue has no name of one'
        when priority is null or priority < 1 then 'priority is below 1'
        when key is null or key !~ '^.{1,200}$' then 'key has not 1 to 200 characters'
        when delay < interval '0' then 'delay is below 0'
        when jsonb_typeof(attributes) <> 'object' or attributes ? 'parent_run_id'
            or jsonb_path_exists(attributes, '$.* ? (@.type() != "string")') then
            'attributes is no object of texts, or has the key parent_run_id'
    end;
begin
    if reason is not null then
        raise exception 'The run cannot be enqueued: %.', reason using errcode = 'invalid_parameter_value';
    end if;
end
$$;
comment on function agent_app.check_enqueue is 'refuse what agent_app.enqueue_run cannot store';

-- What: the application version that a run gets which SQL enqueues without one.
-- For:  agent_app.enqueue_run. A run without any would go to the version that appeared last, and that
--       may be one of a single `agent-app chaos`.
create or replace function agent_app.version_for(of_agent text, of_queue text) returns text
language sql stable as $$
    select coalesce(
        (select served.application_version from agent_app.served_queue as served
         where served.queue = of_queue order by served.started_at desc limit 1),
        (select status.application_version from dbos.workflow_status as status
         where status.name = of_agent and status.application_version is not null
         order by to_timestamp(status.created_at / 1000.0) desc limit 1),
        '1')
$$;
comment on function agent_app.version_for is
    'version of the worker that serves the queue, else of the agent''s newest run, else 1';
