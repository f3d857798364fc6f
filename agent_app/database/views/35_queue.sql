-- What: one row per queue of agent_app's that is registered or holds unfinished runs.
-- For:  `agent-app queues`; "does the work pile up, and is anybody there for it?"
-- From: dbos.queues (a worker registers those that it serves), dbos.workflow_status (DBOS 3.4, times
--       in epoch milliseconds), agent_app.served_queue.
create or replace view agent_app.queue as
with unfinished as (
    select status.queue_name as name,
        count(*) filter (where status.status = 'ENQUEUED') as enqueued_count,
        count(*) filter (where status.status = 'DELAYED') as delayed_count,
        count(*) filter (where status.status = 'PENDING') as running_count,
        min(greatest(status.created_at, status.delay_until_epoch_ms))
            filter (where status.status = 'ENQUEUED') as oldest_ms
    from dbos.workflow_status as status
    where status.status in ('ENQUEUED', 'DELAYED', 'PENDING')
        and starts_with(status.queue_name, 'agent_app_')
    group by status.queue_name
), begun as (
    select status.queue_name as name, count(*) as started_count
    from dbos.workflow_status as status
    where status.started_at_epoch_ms > (extract(epoch from now()) * 1000)::bigint - 60000
        and starts_with(status.queue_name, 'agent_app_')
    group by status.queue_name
)
select agent_app.queue_name(known.name) as queue,
    coalesce(unfinished.enqueued_count, 0) as enqueued_count,
    coalesce(unfinished.delayed_count, 0) as delayed_count,
    coalesce(unfinished.running_count, 0) as running_count,
    to_timestamp(unfinished.oldest_ms / 1000.0) as oldest_enqueued_at,
    coalesce(begun.started_count, 0) as started_last_minute_count,
    (select count(*) from agent_app.served_queue as served
     where served.queue = agent_app.queue_name(known.name)) as worker_count,
    registered.worker_concurrency as max_running_per_worker,
    registered.concurrency as max_running,
    registered.partition_concurrency as max_running_per_key,
    registered.rate_limit_max as max_starts,
    registered.partition_rate_limit_max as max_starts_per_key,
    coalesce(registered.rate_limit_period_sec, registered.partition_rate_limit_period_sec)
        as period_s,
    registered.polling_interval_sec as poll_s
from (
    select queue.name from dbos.queues as queue where starts_with(queue.name, 'agent_app_')
    union
    select unfinished.name from unfinished
) as known
left join unfinished using (name)
left join begun using (name)
left join dbos.queues as registered using (name);

comment on view agent_app.queue is 'queues: what waits, what runs, who serves them, their limits';
comment on column agent_app.queue.oldest_enqueued_at is 'since when the oldest run that may start waits; null if none does';
comment on column agent_app.queue.started_last_minute_count is 'runs that workers took within the last minute';
comment on column agent_app.queue.worker_count is 'living processes that take runs from it, but for recovery and search';
comment on column agent_app.queue.max_running is 'null is no limit, here and in the other limits';
