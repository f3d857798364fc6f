-- What: a stored payload as jsonb; null for what is not our JSON, whatever it holds instead.
-- For:  every view that shows an input, an output or an error.
-- From: payload columns of DBOS 3.4 with the name of the serializer that wrote them. DBOS leaves
--       the name empty on rows of its own. Nothing but JSON is ever parsed: a row that is broken,
--       planted or pickled must not make a view fail.
create or replace function agent_app.as_json(payload text, serialization text) returns jsonb
language plpgsql immutable parallel restricted as $$
begin
    if payload is null or coalesce(serialization, 'agent_app_json') <> 'agent_app_json' then
        return null;
    end if;
    return payload::jsonb;
exception
    when untranslatable_character then
        -- jsonb cannot hold U+0000, which JSON can; an escape is one after an even run of backslashes.
        begin
            return regexp_replace(
                payload, '(?<!\\)((?:\\\\)*)\\u0000', '\1\\ufffd', 'g')::jsonb;
        exception when others then return null;
        end;
    when others then
        return null;
end
$$;
comment on function agent_app.as_json is 'a stored payload as jsonb; null for what is not our JSON';
