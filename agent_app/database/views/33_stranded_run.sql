-- What: one row per unfinished run that no living executor serves: none has its application
--       version, or none with it takes runs from its queue.
-- For:  "what did the last deploy leave behind?", "what waits for a worker that is not there?"; with
--       no process alive, every unfinished run.
-- From: dbos.workflow_status (DBOS 3.4: a run without a version goes to any executor of the newest),
--       agent_app.living_executor, agent_app.served_queue; a run that its own executor still executes
--       is served. Recovered runs and searches are taken by whoever needs them.
create or replace view agent_app.stranded_run as
with living as materialized (
    select distinct application_version from agent_app.living_executor
), served as materialized (
    select distinct application_version, queue from agent_app.served_queue
)
select status.workflow_uuid as run_id, status.name as agent, status.status,
    status.application_version, status.executor_id,
    to_timestamp(status.created_at / 1000.0) as created_at,
    agent_app.queue_name(status.queue_name) as queue
from dbos.workflow_status as status
where status.status in ('PENDING', 'ENQUEUED', 'DELAYED') and agent_app.is_run(status.name)
    and not pg_is_in_recovery()
    and (
        not exists (
            select from living
            where living.application_version
                = coalesce(status.application_version, living.application_version))
        or starts_with(status.queue_name, 'agent_app_')
            and status.queue_name not in ('agent_app_recovery', 'agent_app_search')
            and not exists (
                select from served
                where served.queue = agent_app.queue_name(status.queue_name)
                    and served.application_version
                        = coalesce(status.application_version, served.application_version)))
    and (status.status <> 'PENDING' or agent_app.executor_key(status.executor_id)
        not in (select key from agent_app.executor_lock));

comment on view agent_app.stranded_run is 'unfinished runs whose application version or queue nobody serves';
comment on column agent_app.stranded_run.queue is 'the queue that it waits in, or came from; null for a run started at once';
