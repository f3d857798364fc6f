"""Until when a model is not to be asked: said by whoever met its rate limit, read by all."""

from typing import LiteralString

from agent_app.database.pool import Pool

_CLOSE: LiteralString = """
insert into agent_app.rate_limit as old (provider, model, closed_until, run_id, step_number)
values (%(provider)s, %(model)s, clock_timestamp() + make_interval(secs => %(for_s)s),
    %(run_id)s, %(step_number)s)
on conflict (provider, model) do update set
    closed_until = greatest(old.closed_until, excluded.closed_until),
    run_id = excluded.run_id, step_number = excluded.step_number, updated_at = now()
"""


async def close_rate_limit(
    pool: Pool, provider: str, model: str, *, for_s: float, run_id: str, step_number: int
) -> None:
    """Keep every run of every process from asking this model for `for_s` seconds.

    By the server's clock; a limit that is closed for longer stays so.
    Raises: DatabaseError.
    """
    await pool.execute(
        _CLOSE,
        provider=provider,
        model=model,
        for_s=for_s,
        run_id=run_id,
        step_number=step_number,
    )
