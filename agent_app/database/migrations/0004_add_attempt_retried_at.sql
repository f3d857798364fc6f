-- What: when a person had the step of a failed run retried.
-- For:  the step's next tries: those before do not count.
-- From: `agent-app retry`.
alter table agent_app.attempt add column retried_at timestamptz;
comment on column agent_app.attempt.retried_at is
    'when a person had the run retried; a try from before that counts no longer';
