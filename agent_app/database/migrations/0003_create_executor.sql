-- What: one row per process that executes runs, from its start to its clean exit.
-- For:  agent_app.stranded_run: which application versions are served.
-- From: agent_app.failover.lease. Whether a row's process lives says its advisory lock, and that
--       alone: the row of a killed one stays.
create table agent_app.executor (
    executor_id text primary key,
    application_version text not null,
    host text not null,
    process_id integer not null,
    started_at timestamptz not null default now()
);
comment on table agent_app.executor is 'processes that execute runs; agent_app.living_executor says which live';
comment on column agent_app.executor.application_version is 'what its recoveries stay within';

-- What: the model that answered a try.
-- For:  agent_app.cost_by_model, which would otherwise read every checkpoint for it.
alter table agent_app.attempt add column model text;
comment on column agent_app.attempt.model is 'as the answer names it; null where there is none';

-- What: runs by the time that agent_app.run shows, and by agent or status and that time.
-- For:  "the newest 50", time ranges and pages, in any client: DBOS's own index is on milliseconds,
--       and does not serve `order by created_at` over a view that shows a timestamp.
-- From: dbos.workflow_status (DBOS 3.4). Who does not own it gets no index and slower lists.
do $$
begin
    create index if not exists agent_app_run_created_at
        on dbos.workflow_status (to_timestamp(created_at / 1000.0));
    create index if not exists agent_app_run_agent_created_at
        on dbos.workflow_status (name, to_timestamp(created_at / 1000.0));
    create index if not exists agent_app_run_status_created_at
        on dbos.workflow_status (status, to_timestamp(created_at / 1000.0));
exception when insufficient_privilege then
    raise notice 'dbos.workflow_status belongs to another role: no index on it was created';
end
$$;
