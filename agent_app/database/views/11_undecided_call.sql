-- What: one row per external call of which nobody knows whether it was made, and nobody has decided.
-- For:  `agent-app resolve`, and whoever asks why a run does not go on.
-- From: agent_app.intent; dbos.operation_outputs and dbos.workflow_status (DBOS 3.4).
create or replace view agent_app.undecided_call as
select
    intent.run_id, intent.step_number, intent.step_name, intent.arguments,
    intent.idempotency_key, intent.intended_at, intent.unknown_since
from agent_app.intent
join dbos.workflow_status as status on status.workflow_uuid = intent.run_id
where intent.unknown_since is not null and intent.decision is null
    and status.status in ('PENDING', 'ENQUEUED', 'DELAYED')
    and not exists (
        select from dbos.operation_outputs as step
        where step.workflow_uuid = intent.run_id and step.function_id = intent.step_number);

comment on view agent_app.undecided_call is 'external calls that wait for `agent-app resolve`';
comment on column agent_app.undecided_call.intended_at is 'when the call was about to be made';
