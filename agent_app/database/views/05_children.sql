-- What: the runs that one run has delegated to, by two index look-ups.
-- For:  agent_app.waiting_run, agent_app.child_run, agent_app.database.read.
-- From: dbos.workflow_status (DBOS 3.4): its own link, and ours where it records none.
create or replace function agent_app.children(of_run_id text)
returns table (run_id text, agent text, status text, created_at timestamptz)
language sql stable as $$
    select workflow_uuid, name, status, to_timestamp(created_at / 1000.0)
    from dbos.workflow_status
    where parent_workflow_id = of_run_id and agent_app.is_run(name)
    union all
    select workflow_uuid, name, status, to_timestamp(created_at / 1000.0)
    from dbos.workflow_status
    where attributes @> jsonb_build_object('parent_run_id', of_run_id)
        and parent_workflow_id is null and agent_app.is_run(name)
$$;
comment on function agent_app.children is 'the runs that one run has delegated to';
