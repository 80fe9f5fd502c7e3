"""Ask DuckDB about the latest run of a store: its rows as a table, as a Parquet file, and the store itself.

pip install 'nightsweep[frames]' duckdb
python docs/examples/duckdb_results.py nightsweep.db rows.parquet
"""

import sys
from typing import Any

import anyio
import duckdb

from engine import open_engine

RATES = """
    SELECT model, sum(failed) AS failed, sum(total) AS total, round(avg(seconds), 3) AS mean_s
    FROM {source} WHERE source <> 'missing' GROUP BY ALL ORDER BY model
"""
ATTEMPTS = """
    SELECT run.name, outcome, count(*) AS attempts
    FROM store.attempt JOIN store.run ON run.id = attempt.run_id GROUP BY ALL ORDER BY ALL
"""


async def read_rows(store: str, file: str) -> Any:
    """The rows of the latest run as an Arrow table; they are written to a Parquet file, too."""
    async with open_engine(store, read_only=True) as engine:
        run = await engine.run()
        await run.to_parquet(file)
        return await run.to_arrow()


store, file = sys.argv[1:]
rows = anyio.run(read_rows, store, file)
database = duckdb.connect()

print(database.sql(RATES.format(source="rows")))  # the variable of this name
print(database.sql(RATES.format(source=f"read_parquet('{file}')")))

# DuckDB downloads its extension for SQLite when it is first needed.
database.sql(f"ATTACH '{store}' AS store (TYPE sqlite, READ_ONLY)")
print(database.sql(ATTEMPTS))
