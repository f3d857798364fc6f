-- What: puts a run into a queue, in the caller's own transaction, and returns its ID; the same run
--       again attaches to the one that is there.
-- For:  starting a run together with one's own rows, from psql, a trigger, any client.
-- From: dbos.workflow_status, dbos.workflow_input (DBOS 3.4), in the JSON of our own serializer:
--       `dbos.enqueue_workflow` writes another one, which agent_app does not read. Nobody has shown
--       the input to the agent yet: the worker does, and the run ends with InputInvalid if it has to.
create or replace function agent_app.enqueue_run(
    agent text, input jsonb, run_id text default null, models jsonb default '{}',
    queue text default 'runs', priority integer default 100, key text default 'default',
    delay interval default null, deduplication_id text default null,
    attributes jsonb default null, application_version text default null
) returns text
language plpgsql volatile as $$
#variable_conflict use_variable
declare
    new_id text := coalesce(run_id, substr(replace(gen_random_uuid()::text, '-', ''), 1, 16));
    stored_queue text := 'agent_app_' || queue;
    now_ms bigint := (extract(epoch from clock_timestamp()) * 1000)::bigint;
    request text := jsonb_build_object('args', jsonb_build_array(jsonb_build_object(
        'input', coalesce(input, 'null'), 'models', models, 'is_unchecked', true)),
        'kwargs', jsonb_build_object())::text;
    holder text;
begin
    perform agent_app.check_enqueue(agent, request, new_id, models, queue, priority, key, delay, attributes);
    insert into dbos.workflow_status (
        workflow_uuid, status, name, queue_name, priority, queue_partition_key, deduplication_id,
        delay_until_epoch_ms, attributes, serialization, recovery_attempts, created_at, updated_at,
        application_version)
    values (
        new_id, case when delay is null then 'ENQUEUED' else 'DELAYED' end, agent, stored_queue,
        priority, key, deduplication_id,
        (extract(epoch from clock_timestamp() + delay) * 1000)::bigint, attributes,
        'agent_app_json', 0, now_ms, now_ms,
        coalesce(application_version, agent_app.version_for(agent, queue)))
    on conflict (workflow_uuid) do nothing;
    if found then
        insert into dbos.workflow_input (workflow_uuid, inputs, retention_timestamp)
        values (new_id, request, now_ms);
    elsif not exists (
        select from dbos.workflow_status as status
        join dbos.workflow_input as stored using (workflow_uuid)
        where status.workflow_uuid = new_id and status.name = agent
            and agent_app.as_json(stored.inputs, status.serialization) #- '{args,0,is_unchecked}'
                = request::jsonb #- '{args,0,is_unchecked}') then
        raise exception 'Run % exists, with another agent, input or model.', quote_literal(new_id)
            using errcode = 'integrity_constraint_violation';
    end if;
    return new_id;
exception when unique_violation then
    select status.workflow_uuid into holder from dbos.workflow_status as status
    where status.queue_name = stored_queue and status.deduplication_id = deduplication_id;
    if holder is null then raise; end if;
    raise exception 'Run % of queue % is unfinished and holds the deduplication ID %.',
        quote_literal(holder), quote_literal(queue), quote_literal(deduplication_id)
        using errcode = 'unique_violation';
end
$$;
comment on function agent_app.enqueue_run is 'put a run into a queue and return its ID';
