-- What: BM25 of each passage that has a word of a query; k1 is 1.2, b is 0.75.
-- For:  agent_app.find_passage(), agent_app.find_source().
-- From: postings of the corpus and of what the run has besides. How rare a lexeme is, is counted
--       among those alone: what other runs have fetched changes no score.
-- Source: Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond (2009).
create or replace function agent_app.passage_score(
    query text, run_id text default null, source_id text default null)
returns table (passage_id bigint, score double precision)
language sql stable parallel safe as $$
    with wanted as materialized (
        select coalesce(tsvector_to_array(to_tsvector('english', $1)), '{}') as lexemes
    ), besides as materialized (
        select source.source_id, source.passage_count, source.length
        from agent_app.source
        where not source.in_corpus and (source.source_id = $3 or source.source_id in (
            select had.source_id from agent_app.run_source as had where had.run_id = $2))
    ), size as materialized (
        select sum(part.passage_count)::float8 as passage_count,
            (sum(part.length) / nullif(sum(part.passage_count), 0))::float8 as average_length
        from (
            select corpus.passage_count, corpus.length
            from agent_app.source as corpus where corpus.in_corpus
            union all select besides.passage_count, besides.length from besides
        ) as part
    ), hit as materialized (
        select posting.lexeme, posting.passage_id, posting.frequency, posting.length
        from agent_app.posting
        where posting.lexeme = any ((select lexemes from wanted)::text[]) and posting.in_corpus
        union all
        select posting.lexeme, posting.passage_id, posting.frequency, posting.length
        from besides join agent_app.passage as own using (source_id)
        join agent_app.posting using (passage_id)
        where posting.lexeme = any ((select lexemes from wanted)::text[]) and not posting.in_corpus
    ), rarity as (
        select hit.lexeme,
            ln(1 + (size.passage_count - count(*) + 0.5) / (count(*) + 0.5)) as idf
        from hit cross join size group by hit.lexeme, size.passage_count
    )
    select hit.passage_id, sum(rarity.idf * hit.frequency * 2.2
        / (hit.frequency + 1.2 * (0.25 + 0.75 * hit.length / size.average_length)))
    from hit join rarity using (lexeme) cross join size
    where $3 is null or hit.passage_id in (
        select own.passage_id from agent_app.passage as own where own.source_id = $3)
    group by hit.passage_id
$$;
comment on function agent_app.passage_score is 'BM25 of the passages that have a word of a query';
