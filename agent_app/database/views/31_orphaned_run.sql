-- What: one row per PENDING run whose executor died: its advisory lock is free.
-- For:  "what will a living process take over?"; with none alive, what waits for `agent-app resume`.
-- From: dbos.workflow_status (DBOS 3.4), pg_locks. A standby has no locks of its own and cannot know.
create or replace view agent_app.orphaned_run as
select status.workflow_uuid as run_id, status.name as agent, status.executor_id,
    status.application_version,
    to_timestamp(status.created_at / 1000.0) as created_at,
    to_timestamp(status.updated_at / 1000.0) as updated_at
from dbos.workflow_status as status
where status.status = 'PENDING' and agent_app.is_run(status.name) and not pg_is_in_recovery()
    and (status.executor_id is null or agent_app.executor_key(status.executor_id)
        not in (select key from agent_app.executor_lock));

comment on view agent_app.orphaned_run is 'PENDING runs of executors that died';
comment on column agent_app.orphaned_run.executor_id is 'the one that died';
comment on column agent_app.orphaned_run.updated_at is 'when its status changed last';
