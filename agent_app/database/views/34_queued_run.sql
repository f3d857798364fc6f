-- What: one row per unfinished run of a queue, waiting or running.
-- For:  "what is next, and whose runs hold the places?"
-- From: dbos.workflow_status (DBOS 3.4, times in epoch milliseconds). A run started at once, as
--       `agent-app run` does it, is in no queue. Workers take the lowest priority first, then the
--       oldest run.
create or replace view agent_app.queued_run as
select agent_app.queue_name(status.queue_name) as queue, status.workflow_uuid as run_id,
    status.name as agent, status.status, status.queue_partition_key as key, status.priority,
    status.deduplication_id, to_timestamp(status.created_at / 1000.0) as created_at,
    case when status.status = 'DELAYED'
        then to_timestamp(status.delay_until_epoch_ms / 1000.0) end as delayed_until,
    to_timestamp(status.started_at_epoch_ms / 1000.0) as started_at,
    status.application_version, status.executor_id
from dbos.workflow_status as status
where status.status in ('ENQUEUED', 'DELAYED', 'PENDING') and starts_with(status.queue_name, 'agent_app_')
    and agent_app.is_run(status.name);

comment on view agent_app.queued_run is 'unfinished runs of queues, by place';
comment on column agent_app.queued_run.key is 'what limits per key count together';
comment on column agent_app.queued_run.priority is '1 goes first, 100 is the default; of equals the oldest';
comment on column agent_app.queued_run.deduplication_id is 'held until the run has ended: no other run of the queue gets it';
comment on column agent_app.queued_run.delayed_until is 'null unless it is DELAYED';
comment on column agent_app.queued_run.started_at is 'when a worker took it; null while it waits';
