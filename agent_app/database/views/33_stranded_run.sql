-- What: one row per unfinished run of an application version that no living executor serves.
-- For:  "what did the last deploy leave behind?"; with no process alive, every unfinished run.
-- From: dbos.workflow_status (DBOS 3.4: a run without a version goes to any executor of the newest),
--       agent_app.living_executor; a run that its own executor still executes is served.
create or replace view agent_app.stranded_run as
select status.workflow_uuid as run_id, status.name as agent, status.status,
    status.application_version, status.executor_id,
    to_timestamp(status.created_at / 1000.0) as created_at
from dbos.workflow_status as status
where status.status in ('PENDING', 'ENQUEUED', 'DELAYED') and agent_app.is_run(status.name)
    and not pg_is_in_recovery()
    and status.application_version not in (
        select living.application_version from agent_app.living_executor as living)
    and (status.status <> 'PENDING' or agent_app.executor_key(status.executor_id)
        not in (select key from agent_app.executor_lock));

comment on view agent_app.stranded_run is 'unfinished runs whose application version nobody serves';
