-- What: whether a workflow's name is a run's; DBOS's own workflows are not.
-- For:  agent_app.run, agent_app.step, and queries that walk dbos.workflow_status by its indexes.
-- From: DBOS 3.4 names a step that is called outside of a workflow `<temp>.…`; other internals of
--       its begin with `_dbos`.
create or replace function agent_app.is_run(workflow_name text) returns boolean
language sql immutable parallel safe as $$
    select workflow_name is not null
        and not starts_with(workflow_name, '<temp>.') and not starts_with(workflow_name, '_dbos')
$$;
comment on function agent_app.is_run is 'whether a workflow of this name is a run';
