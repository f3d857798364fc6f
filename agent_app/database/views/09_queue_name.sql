-- What: a queue's name as the settings have it, and the key of the advisory lock that a process
--       holds, shared with others, while it takes runs from the queue.
-- For:  agent_app.served_queue, agent_app.queue, agent_app.queued_run.
-- From: agent_app.durability.queues, which stores `runs` as `agent_app_runs`; agent_app.failover.lease.
create or replace function agent_app.queue_name(stored_name text) returns text
language sql immutable parallel safe as $$
    select regexp_replace(stored_name, '^agent_app_', '')
$$;
comment on function agent_app.queue_name is 'a queue''s name, from the one under which it is stored';

create or replace function agent_app.queue_key(stored_name text) returns bigint
language sql immutable parallel safe as $$
    select hashtextextended('agent_app.queue:' || stored_name, 0)
$$;
comment on function agent_app.queue_key is 'key of the advisory locks of those who serve a queue';
