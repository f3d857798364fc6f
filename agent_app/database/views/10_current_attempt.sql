-- What: one row per try that is being made at this moment.
-- For:  "what is it doing right now?"
-- From: agent_app.attempt, whose rows of a dead process stay open until its run goes on, and
--       dbos.workflow_status (DBOS 3.4), which says who executes a run.
create or replace view agent_app.current_attempt as
select
    attempt.run_id, attempt.step_number, attempt.attempt_number, attempt.step_name,
    attempt.executor_id, attempt.started_at, attempt.heartbeat_at,
    extract(epoch from clock_timestamp() - attempt.started_at)::double precision as running_s
from agent_app.attempt
join dbos.workflow_status as status
    on status.workflow_uuid = attempt.run_id and status.executor_id = attempt.executor_id
where attempt.outcome is null and status.status = 'PENDING';

comment on view agent_app.current_attempt is 'the tries that are being made at this moment';
comment on column agent_app.current_attempt.running_s is 'seconds since it began';
