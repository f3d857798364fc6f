-- What: what one unfinished run waits for, in words, and since when; no row if it works.
-- For:  agent_app.waiting_run, agent_app.run, agent_app.stuck_run. One question after the other: read
--       into the plan of a page of runs, all of them would be planned each time, and the estimate of
--       their costs would wake the JIT.
-- From: agent_app.undecided_call, agent_app.attempt; dbos.workflow_status and
--       dbos.operation_outputs (DBOS 3.4 records a sleep when it begins: its output is its end).
create or replace function agent_app.find_wait(of_run_id text, of_status text)
returns table (waiting_for text, waiting_since timestamptz)
language plpgsql stable rows 1 cost 300 set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
begin
    return query select format('decision on step %s', call.step_number), call.unknown_since
    from agent_app.undecided_call as call
    where call.run_id = of_run_id order by call.unknown_since limit 1;
    if found then return; end if;
    if of_status <> 'PENDING' then
        return query select case status.status when 'ENQUEUED' then 'queue'
                else 'delay until ' || agent_app.utc_text(
                    to_timestamp(status.delay_until_epoch_ms / 1000.0)) end,
            to_timestamp(status.updated_at / 1000.0)
        from dbos.workflow_status as status
        where status.workflow_uuid = of_run_id and status.status in ('ENQUEUED', 'DELAYED');
        return;
    end if;
    return query select format('retry of step %s at %s', try.step_number,
            agent_app.utc_text(try.retry_at)), try.finished_at
    from agent_app.attempt as try
    where try.run_id = of_run_id and try.retry_at > now() order by try.retry_at limit 1;
    if found then return; end if;
    return query select 'child ' || child.run_id, child.created_at
    from agent_app.children(of_run_id) as child
    where child.status in ('ENQUEUED', 'DELAYED', 'PENDING') order by child.created_at limit 1;
    if found then return; end if;
    return query select 'sleep until ' || agent_app.utc_text(sleep.ends_at), sleep.began_at
    from (
        select to_timestamp(last.started_at_epoch_ms / 1000.0) as began_at,
            case when last.function_name = 'DBOS.sleep' and last.output ~ '^\d{1,12}(\.\d+)?$'
                then to_timestamp(last.output::float8) end as ends_at
        from dbos.operation_outputs as last where last.workflow_uuid = of_run_id
        order by last.function_id desc limit 1) as sleep
    where sleep.ends_at > now();
end
$$;
comment on function agent_app.find_wait is 'what one unfinished run of this status waits for, and since when';

-- What: one row per unfinished run that waits.
-- For:  "why does it not go on?"
create or replace view agent_app.waiting_run as
select status.workflow_uuid as run_id, status.name as agent, status.status,
    wait.waiting_for, wait.waiting_since
from dbos.workflow_status as status
cross join lateral agent_app.find_wait(status.workflow_uuid, status.status) as wait
where status.status in ('ENQUEUED', 'DELAYED', 'PENDING') and agent_app.is_run(status.name);

comment on view agent_app.waiting_run is 'unfinished runs that wait for something, and for what';
comment on column agent_app.waiting_run.waiting_for is
    'decision on step 3, queue, delay until …, retry of step 3 at …, child …, sleep until …';
comment on column agent_app.waiting_run.waiting_since is 'since when it waits for that';
