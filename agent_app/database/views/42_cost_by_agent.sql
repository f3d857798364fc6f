-- What: one row per agent that spent tokens or money.
-- For:  "which agent does it cost?"
-- From: agent_app.expense: the agent is the one that made the call, whoever's run it was in.
create or replace view agent_app.cost_by_agent as
select split_part(step_name, '.', 1) as agent,
    count(*) as try_count,
    sum(input_tokens)::bigint as input_tokens, sum(output_tokens)::bigint as output_tokens,
    sum(cost_usd) as cost_usd,
    count(*) filter (where cost_usd is null) as unpriced_count
from agent_app.expense
group by 1;

comment on view agent_app.cost_by_agent is 'tokens and money by agent, failed tries included';
comment on column agent_app.cost_by_agent.agent is 'who made the calls, whoever''s run it was in';
comment on column agent_app.cost_by_agent.try_count is 'tries that spent something';
comment on column agent_app.cost_by_agent.cost_usd is 'of those with a known price; null if there is none';
comment on column agent_app.cost_by_agent.unpriced_count is 'tries without a known price';
