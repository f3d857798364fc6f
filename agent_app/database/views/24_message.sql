-- What: one row per part of a run's conversation: what went in, what the model said, what tools
--       returned. System prompts and instructions are code, and are not stored.
-- For:  GET /api/runs/{run_id}/messages, the console's page of a run, `agent-app sql`.
-- From: agent_app.run, agent_app.model_call, agent_app.tool_call.
create or replace view agent_app.message as
select part.run_id,
    row_number() over (partition by part.run_id order by part.step_number, part.place) as position,
    part.step_number, part.role, part.kind, part.tool, part.tool_call_id, part.text, part.arguments,
    part.tokens
from (
    select run.run_id, 0 as step_number, 0::bigint as place, 'user' as role, 'input' as kind,
        null as tool, null as tool_call_id, agent_app.as_text(run.input) as text,
        null::jsonb as arguments, null::bigint as tokens
    from agent_app.run
    union all
    select call.run_id, call.step_number, said.place, 'assistant', said.part ->> 'part_kind',
        said.part ->> 'tool_name', said.part ->> 'tool_call_id',
        agent_app.as_text(said.part -> 'content'), agent_app.as_arguments(said.part -> 'args'),
        case said.place when 1 then agent_app.as_amount(call.answer #> '{usage,output_tokens}') end
            ::bigint
    from agent_app.model_call as call
    cross join lateral jsonb_path_query(call.answer, '$.parts[*]')
        with ordinality as said (part, place)
    union all
    select call.run_id, call.step_number, 0, 'tool', call.outcome, call.tool, call.tool_call_id,
        coalesce(call.error, agent_app.as_text(call.result)), null, null
    from agent_app.tool_call as call
) as part;

comment on view agent_app.message is 'every run''s conversation, part by part';
comment on column agent_app.message.position is 'counted from 1, in the order of the steps';
comment on column agent_app.message.step_number is 'the step whose checkpoint holds it; 0 for the input';
comment on column agent_app.message.role is 'user, assistant or tool';
comment on column agent_app.message.kind is
    'input; text, thinking, tool-call and others of the model; tool-return, model-retry, error and others of a tool';
comment on column agent_app.message.tool is 'name of the tool that is called, or that answers';
comment on column agent_app.message.tool_call_id is 'what joins an answer to its call';
comment on column agent_app.message.text is 'what was said; a result that is no text as JSON';
comment on column agent_app.message.arguments is 'of a tool call';
comment on column agent_app.message.tokens is 'output tokens of an answer, at its first part';
