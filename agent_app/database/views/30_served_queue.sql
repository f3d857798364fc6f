-- What: one row per queue and living process that takes runs from it.
-- For:  agent_app.queue, agent_app.stranded_run, agent_app.enqueue_run; "who serves this queue?"
-- From: dbos.queues (DBOS 3.4), pg_locks: one session holds an executor's lock and its queues'.
create or replace view agent_app.served_queue as
select agent_app.queue_name(queue.name) as queue, living.executor_id, living.application_version,
    living.host, living.process_id, living.started_at
from dbos.queues as queue
join agent_app.executor_lock as serving on serving.key = agent_app.queue_key(queue.name)
join agent_app.executor_lock as own using (server_process_id)
join agent_app.living_executor as living on agent_app.executor_key(living.executor_id) = own.key;

comment on view agent_app.served_queue is 'living processes by the queues that they take runs from';
comment on column agent_app.served_queue.queue is 'its name in the settings';
