-- What: one row per model whose answers took tokens or money.
-- For:  "which model does it cost?"
-- From: agent_app.expense: every try counts once, and a child run's for itself.
create or replace view agent_app.cost_by_model as
select model,
    count(*) as try_count,
    sum(input_tokens)::bigint as input_tokens, sum(output_tokens)::bigint as output_tokens,
    sum(cost_usd) as cost_usd,
    count(*) filter (where cost_usd is null) as unpriced_count
from agent_app.expense
group by 1;

comment on view agent_app.cost_by_model is 'tokens and money by model, failed tries included';
comment on column agent_app.cost_by_model.model is 'as its answers name it; null for tries that left no answer';
comment on column agent_app.cost_by_model.try_count is 'tries that spent something';
comment on column agent_app.cost_by_model.cost_usd is 'of those with a known price; null if there is none';
comment on column agent_app.cost_by_model.unpriced_count is 'tries without a known price';
