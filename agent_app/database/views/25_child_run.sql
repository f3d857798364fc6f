-- What: one row per run with its place in the tree of runs that delegate to each other.
-- For:  "a run with everything below it", the cost of a whole tree.
-- From: dbos.workflow_status (DBOS 3.4); each run is followed up to its root by primary keys. A run
--       whose parent was deleted is a root; a planted circle has none, and ends where it closes.
create or replace view agent_app.child_run as
select status.workflow_uuid as run_id, tree.root_run_id,
    coalesce(status.parent_workflow_id, status.attributes ->> 'parent_run_id') as parent_run_id,
    tree.depth
from dbos.workflow_status as status
cross join lateral (
    with recursive ancestor as (
        select status.workflow_uuid as run_id, 0 as depth,
            coalesce(status.parent_workflow_id, status.attributes ->> 'parent_run_id') as parent_run_id
        union all
        select parent.workflow_uuid, child.depth + 1,
            coalesce(parent.parent_workflow_id, parent.attributes ->> 'parent_run_id')
        from ancestor as child
        join dbos.workflow_status as parent on parent.workflow_uuid = child.parent_run_id
        where child.depth < 100 and agent_app.is_run(parent.name)
    ) cycle run_id set is_circle using path
    select run_id as root_run_id, depth from ancestor
    where not is_circle order by depth desc limit 1
) as tree
where agent_app.is_run(status.name);
comment on view agent_app.child_run is 'the tree of runs: every run, its root, and how far below it';
comment on column agent_app.child_run.root_run_id is 'itself for a run that nobody delegated to';
comment on column agent_app.child_run.parent_run_id is 'the run that delegated to it; null for a root';
comment on column agent_app.child_run.depth is '0 for a root';
