-- What: one row per process that executes runs and lives: its advisory lock is held.
-- For:  agent_app.stranded_run; "who is at work?"
-- From: agent_app.executor, pg_locks. A standby has no locks of its own: there it is empty.
create or replace view agent_app.living_executor as
select executor.executor_id, executor.application_version, executor.host, executor.process_id,
    executor.started_at
from agent_app.executor
where agent_app.executor_key(executor.executor_id) in (select key from agent_app.executor_lock);

comment on view agent_app.living_executor is 'processes that execute runs at this moment';
