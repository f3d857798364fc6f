-- What: our schema, and the two tables that say which files have been applied to it.
-- For:  agent_app.database.migrate.
create schema if not exists agent_app;
comment on schema agent_app is 'agent_app: views over what DBOS stores, and tables of our own';

create table agent_app.migration (
    number integer primary key,
    name text not null,
    applied_at timestamptz not null default now()
);
comment on table agent_app.migration is 'files of migrations/ that have been applied, each once';

create table agent_app.view_set (
    only_row boolean primary key default true check (only_row),
    digest text not null,
    applied_at timestamptz not null default now()
);
comment on table agent_app.view_set is 'digest of the files of views/ as they were applied last';
