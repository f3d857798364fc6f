-- What: the passages, and the sources by their best passage, that a query finds; best first.
-- For:  `agent-app corpus search`, deep research, psql: select * from agent_app.find_passage('…').
create or replace function agent_app.find_passage(
    query text, max_count integer default 10, run_id text default null, source_id text default null)
returns table (source_id text, url text, title text, start integer, stop integer, text text,
    score double precision)
language sql stable parallel safe as $$
    select source.source_id, source.url, source.title, passage.start, passage.stop,
        substr(source.text, passage.start + 1, passage.stop - passage.start), found.score
    from (
        select passage_score.passage_id, passage_score.score
        from agent_app.passage_score($1, $3, $4)
        order by passage_score.score desc, passage_score.passage_id limit $2
    ) as found
    join agent_app.passage using (passage_id)
    join agent_app.source on source.source_id = passage.source_id
    order by found.score desc, found.passage_id
$$;
comment on function agent_app.find_passage is 'passages of the corpus, and of a run, that a query finds';

create or replace function agent_app.find_source(
    query text, max_count integer default 10, run_id text default null)
returns table (source_id text, url text, title text, start integer, stop integer, text text,
    score double precision)
language sql stable parallel safe as $$
    select source.source_id, source.url, source.title, found.start, found.stop,
        substr(source.text, found.start + 1, found.stop - found.start), found.score
    from (
        select best.* from (
            select distinct on (passage.source_id)
                passage.source_id, passage.start, passage.stop, passage_score.score
            from agent_app.passage_score($1, $3) join agent_app.passage using (passage_id)
            order by passage.source_id, passage_score.score desc, passage.position
        ) as best
        order by best.score desc, best.source_id limit $2
    ) as found
    join agent_app.source on source.source_id = found.source_id
    order by found.score desc, found.source_id
$$;
comment on function agent_app.find_source is 'sources that a query finds, each by its best passage';
