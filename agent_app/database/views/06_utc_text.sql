-- What: a moment as text, in UTC whatever the session's time zone.
-- For:  agent_app.waiting_run, whose words have moments in them.
create or replace function agent_app.utc_text(moment timestamptz) returns text
language sql stable parallel safe as $$
    select to_char(moment at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
$$;
comment on function agent_app.utc_text is 'a moment as text in UTC: 2026-01-31T12:00:00Z';
