-- What is unfinished, for how long, and what it waits for
select run_id, agent, status, waiting_for, now() - created_at as age
from agent_app.run
where status in ('PENDING', 'ENQUEUED', 'DELAYED')
order by created_at;

-- What failed today, by error
select agent, split_part(error, ':', 1) as error, count(*)
from agent_app.run
where status = 'ERROR' and created_at > now() - interval '1 day'
group by 1, 2
order by 3 desc;

-- The runs that carry a label
select run_id, agent, status, created_at
from agent_app.run
where attributes @> '{"customer": "acme"}'
order by created_at desc
limit 50;

-- The dearest runs of the week
select run_id, agent, model, step_count, attempt_count, input_tokens, output_tokens, cost_usd
from agent_app.run
where created_at > now() - interval '7 days'
order by cost_usd desc nulls last
limit 20;

-- Which steps take the time
select name, count(*), round(avg(duration_ms)) as avg_ms, max(duration_ms) as max_ms
from agent_app.step
group by name
order by sum(duration_ms) desc;

-- Steps that took more than one try
select run_id, step_number, name, attempt_count, status, error
from agent_app.step
where attempt_count > 1
order by finished_at desc
limit 50;

-- The conversation of one run
select position, role, kind, tool, text, arguments
from agent_app.message
where run_id = 'game-1'
order by position;

-- Slow, long and cut-off answers
select run_id, step_number, model, duration_ms, output_tokens, finish_reason
from agent_app.model_call
where started_at > now() - interval '1 day'
order by duration_ms desc
limit 20;

-- What each model cost this month
select model, count(*) as calls, sum(input_tokens) as input_tokens,
    sum(output_tokens) as output_tokens, sum(cost_usd) as cost_usd
from agent_app.model_call
where started_at >= date_trunc('month', now())
group by model
order by cost_usd desc nulls last;

-- How each tool does
select tool, count(*) as calls, count(*) filter (where outcome <> 'tool-return') as other_outcomes,
    round(avg(duration_ms)) as avg_ms, max(duration_ms) as max_ms
from agent_app.tool_call
group by tool
order by calls desc;

-- What one run called, with arguments and results
select step_number, tool, arguments, outcome, result, duration_ms
from agent_app.tool_call
where run_id = 'game-1'
order by step_number;

-- A run with everything below it
select repeat('  ', depth) || run_id as run_id, agent, status, duration_ms
from agent_app.child_run join agent_app.run using (run_id)
where root_run_id = 'game-1'
order by depth, created_at;

-- What whole trees cost
select root_run_id, count(*) as runs, sum(cost_usd) as cost_usd, sum(output_tokens) as output_tokens
from agent_app.child_run join agent_app.run using (run_id)
where created_at > now() - interval '1 day'
group by root_run_id
order by cost_usd desc nulls last, output_tokens desc
limit 20;

-- Money and tokens by day
select day, try_count, input_tokens, output_tokens, cost_usd, unpriced_count
from agent_app.cost_by_day
order by day desc
limit 31;

-- Money and tokens by model
select model, try_count, input_tokens, output_tokens, cost_usd, unpriced_count
from agent_app.cost_by_model
order by cost_usd desc nulls last;

-- Money and tokens by agent
select agent, try_count, input_tokens, output_tokens, cost_usd, unpriced_count
from agent_app.cost_by_agent
order by cost_usd desc nulls last;

-- What one run spent, try by try
select step_number, step_name, spent_at, model, input_tokens, output_tokens, cost_usd
from agent_app.expense
where run_id = 'game-1'
order by spent_at;

-- Who waits for a person, the longest first
select run_id, agent, waiting_for, now() - waiting_since as waited
from agent_app.waiting_run
where waiting_for like 'decision%'
order by waiting_since;

-- What hangs
select run_id, agent, step_number, step_name, round(idle_s) as idle_s, executor_id
from agent_app.stuck_run
order by idle_s desc;

-- Runs of processes that died
select run_id, agent, executor_id, application_version, updated_at
from agent_app.orphaned_run
order by updated_at;

-- What the last deploy left behind
select application_version, queue, agent, status, count(*)
from agent_app.stranded_run
group by 1, 2, 3, 4
order by 5 desc;

-- Where work piles up
select queue, enqueued_count, running_count, worker_count, now() - oldest_enqueued_at as waits_for
from agent_app.queue
where enqueued_count > 0
order by oldest_enqueued_at;

-- Whose runs hold the places, and whose wait
select queue, key, count(*) filter (where status = 'PENDING') as running,
    count(*) filter (where status = 'ENQUEUED') as waiting
from agent_app.queued_run
group by 1, 2
order by waiting desc, running desc;

-- Who serves which queue
select queue, application_version, host, process_id, executor_id
from agent_app.served_queue
order by queue, started_at;

-- Who is at work, and on how much
select executor.executor_id, executor.host, executor.process_id, executor.application_version,
    count(run.workflow_uuid) as runs
from agent_app.living_executor as executor
left join dbos.workflow_status as run
    on run.executor_id = executor.executor_id and run.status = 'PENDING'
group by 1, 2, 3, 4
order by runs desc;

-- Locks of executors that have no row: older builds, or somebody else's
select held.key, held.server_process_id
from agent_app.executor_lock as held
where held.key not in (select agent_app.executor_key(executor_id) from agent_app.executor)
    and held.key not in (select agent_app.queue_key(queue.name) from dbos.queues as queue);

-- What is being done right now
select run_id, step_name, attempt_number, round(running_s) as running_s, heartbeat_at
from agent_app.current_attempt
order by running_s desc;

-- External calls of which nobody knows whether they were made
select run_id, step_number, step_name, arguments, idempotency_key, unknown_since
from agent_app.undecided_call
order by unknown_since;

-- What the failures cost: tries, time and money that came to nothing, by step and error
select step_name, error_type, http_status, count(*) as tries,
    sum(finished_at - started_at) as time_lost,
    sum(retry_at - finished_at) as time_waited,
    sum(input_tokens) as input_tokens, sum(cost_usd) as cost_usd
from agent_app.attempt
where outcome <> 'success' and started_at > now() - interval '1 day'
group by 1, 2, 3
order by tries desc;

-- What a model held up, and until when
select provider, model, closed_until, closed_until - now() as opens_in, run_id
from agent_app.rate_limit
where closed_until > now();
