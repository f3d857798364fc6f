-- What: one row per PENDING run without progress for ten minutes, which is the time limit that a try
--       has by default; a run that waits (agent_app.waiting_run) is not stuck.
-- For:  "which runs hang?"
-- From: agent_app.attempt; dbos.workflow_status, dbos.operation_outputs (DBOS 3.4). A try makes
--       progress by its heartbeats, a run without an open try by its checkpoints.
create or replace view agent_app.stuck_run as
select status.workflow_uuid as run_id, status.name as agent, status.executor_id,
    try.step_number, try.step_name, try.attempt_number, progress.last_progress_at,
    extract(epoch from now() - progress.last_progress_at)::double precision as idle_s
from dbos.workflow_status as status
left join lateral (
    select attempt.step_number, attempt.step_name, attempt.attempt_number,
        coalesce(attempt.heartbeat_at, attempt.started_at) as seen_at
    from agent_app.current_attempt as attempt
    where attempt.run_id = status.workflow_uuid
    order by seen_at limit 1
) as try on true
cross join lateral (
    select coalesce(try.seen_at, greatest(
        to_timestamp(status.updated_at / 1000.0),
        (select max(ended.finished_at) from agent_app.attempt as ended
         where ended.run_id = status.workflow_uuid),
        (select to_timestamp(max(step.completed_at_epoch_ms) / 1000.0)
         from dbos.operation_outputs as step
         where step.workflow_uuid = status.workflow_uuid))) as last_progress_at
) as progress
where status.status = 'PENDING' and agent_app.is_run(status.name)
    and progress.last_progress_at < now() - interval '10 minutes'
    and not exists (select from agent_app.find_wait(status.workflow_uuid, status.status));

comment on view agent_app.stuck_run is 'PENDING runs without progress for ten minutes';
comment on column agent_app.stuck_run.step_number is 'the step of its oldest open try; null if none is open';
comment on column agent_app.stuck_run.last_progress_at is 'start or heartbeat of that try, else its last checkpoint';
comment on column agent_app.stuck_run.idle_s is 'seconds since then';
