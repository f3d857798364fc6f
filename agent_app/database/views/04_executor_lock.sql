-- What: the advisory lock by which an executor shows that it lives, and those that are held now.
-- For:  agent_app.living_executor, agent_app.orphaned_run.
-- From: agent_app.failover.lease, which takes it; pg_locks shows a lock of one bigint as two halves.
create or replace function agent_app.executor_key(executor_id text) returns bigint
language sql immutable parallel safe as $$
    select hashtextextended('agent_app.executor:' || executor_id, 0)
$$;
comment on function agent_app.executor_key is 'key of an executor''s advisory lock';

create or replace view agent_app.executor_lock as
select (classid::bigint << 32) | objid::bigint as key, pid as server_process_id
from pg_locks
where locktype = 'advisory' and objsubid = 1 and granted
    and database = (select oid from pg_database where datname = current_database());

comment on view agent_app.executor_lock is 'advisory locks of one bigint that are held in this database';
comment on column agent_app.executor_lock.key is 'agent_app.executor_key of the executor that lives';
comment on column agent_app.executor_lock.server_process_id is 'the server''s process of its connection';
