-- What: one row per day, in UTC, on which tokens or money were spent.
-- For:  "what does it cost?"
-- From: agent_app.expense: every try counts once, and a child run's for itself.
create or replace view agent_app.cost_by_day as
select (spent_at at time zone 'UTC')::date as day,
    count(*) as try_count,
    sum(input_tokens)::bigint as input_tokens, sum(output_tokens)::bigint as output_tokens,
    sum(cost_usd) as cost_usd,
    count(*) filter (where cost_usd is null) as unpriced_count
from agent_app.expense
group by 1;

comment on view agent_app.cost_by_day is 'tokens and money by day, failed tries included';
comment on column agent_app.cost_by_day.day is 'in UTC, when the try began';
comment on column agent_app.cost_by_day.try_count is 'tries that spent something';
comment on column agent_app.cost_by_day.cost_usd is 'of those with a known price; null if there is none';
comment on column agent_app.cost_by_day.unpriced_count is 'tries without a known price';
