"""SQL that tries to reach beyond the lake's tables, or never ends; and SQL that does no harm."""

import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from lakehouse.core.errors import Exit
from lakehouse.explorer.allowed import CLOSED_FUNCTIONS, TABLE_FUNCTIONS, SqlRejected
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.report import views
from lakehouse.explorer.sql import QueryTimedOut, Reader
from lakehouse.products.registry import load_settings
from tests.conftest import encode, sale
from tests.unit.test_publish import Lake

ROOT = Path(__file__).parents[2]
SECRET = "c4n4ry-of-the-environment"
STOLEN = Path("/tmp/stolen-by-sql")

FILES = [
    *[f"SELECT * FROM {reader}('/etc/passwd')" for reader in (
        "read_csv", "read_csv_auto", "read_text", "read_blob", "read_json", "read_json_auto",
        "read_json_objects", "read_ndjson", "read_ndjson_objects", "read_parquet", "parquet_scan",
        "read_duckdb", "sniff_csv", "glob", "parquet_metadata", "parquet_schema",
        "parquet_kv_metadata", "parquet_file_metadata", "parquet_full_metadata",
    )],
    "FROM read_csv(['/etc/passwd', '/etc/hostname'])",
    "SELECT (SELECT content FROM read_text('/etc/passwd')) AS x",
    "SELECT 1 WHERE EXISTS (FROM read_text('/etc/passwd'))",
    "WITH x AS (FROM read_text('/etc/passwd')) FROM x",
    "SELECT * FROM silver.sales_by_country, LATERAL (FROM read_text('/etc/' || country))",
    "FROM silver.sales_by_country JOIN read_text('/etc/passwd') ON true",
    "SELECT 1 UNION ALL SELECT content FROM read_text('/etc/passwd')",
    "SELECT list_transform([1], lambda x: (SELECT content FROM read_text('/etc/passwd')))",
    "SELECT 1 ORDER BY (SELECT content FROM read_text('/etc/passwd'))",
    "FROM parquet_bloom_probe('/etc/passwd', 'a', 1)",
    "SELECT * FROM glob('/*')",
    "FROM glob('{root}/**')",
    "FROM read_parquet('{root}/bronze/sales/*/*.parquet')",
    "FROM '{root}/bronze/sales/_delta_log/00000000000000000000.json'",
    "SELECT * FROM '/etc/passwd'",
    'FROM "/etc/passwd"',
    "FROM '/etc/*.conf'",
    "FROM '~/.ssh/id_rsa'",
    "FROM '{root}/../../etc/passwd'",
    "FROM 'file:///etc/passwd'",
    "FROM '/proc/self/environ'",
    "FROM read_text('/proc/self/environ')",
    "FROM read_blob('/proc/self/fd/0')",
    "SELECT * FROM read_csv('/dev/stdin')",
    'WITH x AS (SELECT 1) FROM "/etc/passwd", x',
    'WITH "/etc/passwd" AS (SELECT 1) SELECT 1 FROM "/etc/hostname"',
    "DESCRIBE '/etc/passwd'",
    "DESCRIBE FROM read_csv('/etc/passwd')",
    "SUMMARIZE '/etc/passwd'",
    "SHOW '/etc/passwd'",
    "EXPLAIN FROM read_text('/etc/passwd')",
    "EXPLAIN ANALYZE FROM '/etc/passwd'",
    "PIVOT '/etc/passwd' ON a IN (1) USING count(*)",
    "UNPIVOT '/etc/passwd' ON a, b",
    "SELECT file_row_number, filename FROM bronze.sales",
    'FROM silver."../bronze/sales"',
    'FROM bronze."sales/../../etc"',
]  # fmt: skip
NETWORK = [
    *[f"FROM '{scheme}://127.0.0.1:1/x.parquet'"
      for scheme in ("http", "https", "s3", "gs", "hf", "az", "ftp")],
    "SELECT * FROM read_parquet('http://127.0.0.1:1/x')",
    "ATTACH 'http://127.0.0.1:1/x' AS y",
    "INSTALL httpfs",
    "INSTALL x FROM 'http://127.0.0.1:1'",
    "FORCE INSTALL httpfs",
    "LOAD httpfs",
    "LOAD '/tmp/x.so'",
    "UPDATE EXTENSIONS",
    "CREATE SECRET (TYPE s3)",
    "FROM which_secret('s3://x', 's3')",
    "FROM duckdb_secrets()",
]  # fmt: skip
SETTINGS = [
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "SET GLOBAL memory_limit = '1TB'",
    "SET VARIABLE x = 1",
    "RESET lock_configuration",
    "RESET ALL",
    "PRAGMA enable_external_access",
    "PRAGMA database_list",
    "PRAGMA enable_profiling",
    "PRAGMA json_execute_serialized_sql('x')",
    "CALL pragma_version()",
    "CALL enable_logging()",
    "CALL duckdb_settings()",
    "FROM enable_logging()",
    "FROM duckdb_settings()",
    "FROM duckdb_settings",
    "FROM pg_catalog.pg_settings",
    "SELECT current_setting('allowed_paths')",
    "SELECT current_setting('home_directory')",
    "SELECT x.y FROM (SELECT current_setting('secret_directory') AS y) x",
    "SELECT * FROM silver.sales_by_country WHERE country = current_setting('temp_directory')",
    "SELECT 'allowed_paths'.current_setting()",
    "SELECT getenv('HOME')",
    "SELECT list_transform(['CANARY'], lambda x: getenv(x))",
    "SELECT getvariable('x')",
    "SHOW VARIABLES",
    "SHOW DATABASES",
]
INSIDE = [
    *[f"FROM duckdb_{what}()" for what in (
        "views", "tables", "columns", "databases", "temporary_files", "extensions", "functions",
        "logs", "memory", "variables", "external_file_cache", "prepared_statements",
    )],
    "FROM duckdb_views",
    "FROM memory.main.duckdb_views",
    "FROM pragma_database_list",
    "FROM pragma_storage_info('bronze.sales')",
    "FROM sqlite_master",
    "FROM main.sqlite_master",
    "FROM system.information_schema.views",
    "FROM information_schema.views",
    "FROM INFORMATION_SCHEMA.\"VIEWS\"",
    "FROM pg_catalog.pg_views",
    "FROM pg_views",
    "SELECT pg_get_viewdef(1)",
    "SELECT current_query()",
    "FROM query('SELECT * FROM read_text(''/etc/passwd'')')",
    "FROM query('SELECT 1')",
    "FROM query_table('/etc/passwd')",
    "FROM query_table('silver.sales_by_country')",
    "FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "SELECT json_serialize_sql('SELECT 1')",
    "FROM arrow_scan(1, 2, 3)",
    "FROM pandas_scan(1)",
    "FROM python_map_function(1)",
    "FROM checkpoint()",
    "FROM statement",
    "FROM catalogue",
    "SELECT write_log('x')",
    "SELECT sleep_ms(1)",
    "SELECT nextval('x')",
]  # fmt: skip
WRITES = [
    f"COPY (SELECT 1) TO '{STOLEN}'",
    f"COPY silver.sales_by_country TO '{STOLEN}' (FORMAT parquet)",
    "COPY silver.sales_by_country FROM '/etc/passwd'",
    f"EXPLAIN ANALYZE COPY (SELECT 1) TO '{STOLEN}'",
    "EXPLAIN (ANALYZE, FORMAT json) DROP VIEW silver.sales_by_country",
    "/* a */ EXPLAIN -- b\n ANALYZE CREATE TABLE x AS SELECT 1",
    "EXPLAIN (SELECT 1) COPY (SELECT 1) TO 'x'",
    f"EXPORT DATABASE '{STOLEN}'",
    f"IMPORT DATABASE '{STOLEN}'",
    f"ATTACH '{STOLEN}'",
    "ATTACH ':memory:' AS x",
    "DETACH memory",
    "USE silver",
    "CREATE TABLE x AS SELECT 1",
    "CREATE TEMP TABLE x AS SELECT 1",
    "CREATE VIEW x AS SELECT 1",
    "CREATE MACRO f(x) AS x",
    "CREATE TYPE t AS ENUM ('a')",
    "CREATE SEQUENCE s",
    "CREATE OR REPLACE FUNCTION f() AS TABLE FROM '/etc/passwd'",
    "INSERT INTO silver.sales_by_country SELECT * FROM silver.sales_by_country",
    "WITH x AS (SELECT 1) INSERT INTO y SELECT * FROM x",
    "UPDATE silver.sales_by_country SET orders = 0",
    "DELETE FROM silver.sales_by_country",
    "TRUNCATE silver.sales_by_country",
    "MERGE INTO x USING y ON true WHEN MATCHED THEN DELETE",
    "ALTER TABLE silver.sales_by_country RENAME TO x",
    "COMMENT ON TABLE x IS 'y'",
    "DROP VIEW silver.sales_by_country",
    "PIVOT silver.sales_by_country ON country USING sum(lines)",
    "FROM (PIVOT silver.sales_by_country ON country USING sum(lines))",
    "BEGIN",
    "ROLLBACK",
    "VACUUM",
    "ANALYZE",
    "CHECKPOINT",
    "FORCE CHECKPOINT",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "DEALLOCATE p",
]
SHAPES = [
    "SELECT 1; SELECT 2",
    f"SELECT 1; COPY (SELECT 1) TO '{STOLEN}'",
    f"SELECT 1;--x\nCOPY (SELECT 1) TO '{STOLEN}'",
    f"SELECT 1 /* ; */; /* */ COPY (SELECT 1) TO '{STOLEN}' --",
    f"/* /* */ SELECT 1 */ COPY (SELECT 1) TO '{STOLEN}'",
    "SELECT 1;\u00a0SET x = 1",
    "\ufeffSET x = 1",
    "ＳＥＬＥＣＴ 1",
    "SELECT\u200b1 FROM '/etc/passwd'",
    "SELECT 'a' FROM ‘/etc/passwd’",
    "SELECT \ud800",
    "FROM '\udcff/etc/passwd'",
    'SELECT 1 FROM "/etc/passwd\x00"',
    "FROM '/etc/passwd\x00.parquet'",
    "SELECT \x1b[31m",
    "EXPLAIN",
    "EXPLAIN EXPLAIN SELECT 1",
    "EXPLAIN (",
    "",
    ";",
    "-- nothing",
    "/*",
    "'",
    "not sql",
    "SELECT " + "(SELECT " * 400 + "1" + ")" * 400,
    "SELECT " + "abs(" * 900 + "1" + ")" * 900,
    "SELECT " + "(" * 100_000,
    "SELECT " + "[" * 5_000 + "]" * 5_000,
    "SELECT $1",
    "SELECT ?",
    "SELECT error('/etc/passwd')",
    "SELECT CAST('x' AS INT)",
    "SELECT nowhere FROM silver.sales_by_country",
]
REJECTED = [*FILES, *NETWORK, *SETTINGS, *INSIDE, *WRITES, *SHAPES]

HARMLESS = [
    "SELECT orders FROM silver.sales_by_country;",
    "FROM silver.sales_by_country SELECT orders",
    'WITH a AS (FROM "silver"."sales_by_country") SELECT orders FROM a',
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 5) FROM t",
    "VALUES (1), (2)",
    "TABLE silver.sales_by_country",
    "FROM clients",
    "FROM main.trends",
    "SELECT * FROM clients c JOIN silver.sales_by_client s USING (client_id, currency)",
    "FROM memory.silver.sales_by_country",
    "FROM bronze.sales SELECT count(*) FILTER (is_late), max(event_time)",
    "FROM quarantine.sales SELECT verdict",
    "DESCRIBE silver.sales_by_country",
    "DESCRIBE SELECT 1 AS a",
    "SUMMARIZE silver.sales_by_country",
    "SHOW ALL TABLES",
    "SHOW TABLES FROM silver",
    "FROM information_schema.tables",
    "FROM information_schema.columns WHERE table_name = 'sales'",
    "EXPLAIN ANALYZE SELECT orders FROM SILVER.Sales_By_Country",
    "EXPLAIN (FORMAT json) SELECT 1",
    "EXPLAIN (ANALYZE, FORMAT json) FROM bronze.sales",
    "-- a comment\nSELECT 1 /* ; */ -- ; COPY",
    "SELECT 'a;b', $$c;d$$, '--', 'read_csv(''/etc/passwd'')'",
    "SELECT 1;;;",
    "PIVOT silver.sales_by_country ON country IN ('Germany') USING sum(lines)",
    "UNPIVOT (SELECT 1 AS a, 2 AS b) ON a, b",
    "SELECT unnest([1, 2]), range FROM range(3), generate_series(1, 2)",
    "SELECT list_transform([1], lambda x: x + 1), {'a': 1}, [1, 2][1]",
    "SELECT row_number() OVER w, sum(lines) OVER w FROM silver.sales_by_country "
    "WINDOW w AS (ORDER BY country) QUALIFY row_number() OVER w = 1",
    "SELECT now(), today(), current_date, current_timestamp, random() < 2, uuid()",
    "SELECT strftime(event_time, '%Y'), date_trunc('hour', event_time) FROM bronze.sales",
    "SELECT regexp_replace('a', 'a', 'b'), printf('%d', 1), md5('x'), hash('x')",
    "SELECT typeof(1), version(), pg_typeof(1)",
    "SELECT COLUMNS('orders|lines') FROM silver.sales_by_country",
    "SELECT " + " + ".join(["1"] * 200),
    "SELECT " + " OR ".join(f"country = '{n}'" for n in range(900)) + " FROM bronze.sales",
    " UNION ALL ".join(["SELECT 1"] * 200),
    "SELECT product_name AS \"a;b\" FROM bronze.sales WHERE product_name <> '\u202e'",
]


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Settings of a small lake of this file's own."""
    made = load_settings(ROOT / "config.ini").with_root(tmp_path_factory.mktemp("s") / "lake")
    lake = Lake(made)
    lake.land([*encode(sale(), sale(event_id="b")), b"{"], 0)
    lake.silver.catch_up()
    return made


@pytest.fixture(scope="module")
def reader(settings):
    """A reader that has every table and view open."""
    statements = ["SHOW ALL TABLES"]
    with Reader(Catalogue(settings.lake.root), settings.explorer, statements, views()) as reader:
        yield reader


def places(settings):
    """What must stand in no message: where the lake and the user's home are."""
    return (settings.lake.root, str(Path.home()) + "/", "root:x:", SECRET)


@pytest.mark.parametrize("statement", REJECTED, ids=lambda s: ascii(s[:60]))
def test_what_is_not_one_read_of_the_lake_is_rejected(reader, settings, statement):
    given = statement.replace("{root}", settings.lake.root)
    with pytest.raises(SqlRejected) as caught:
        reader.ask(given)
    assert caught.value.exit_code == Exit.FAULT
    said = str(caught.value)
    assert said.startswith("SQL: ")
    assert "\n  fix: " in said
    assert all(c.isprintable() or c == "\n" for c in said)
    assert not [place for place in places(settings) if place in said and "{root}" not in statement]
    assert not STOLEN.exists()


@pytest.mark.parametrize("statement", HARMLESS, ids=lambda s: ascii(s[:60]))
def test_what_does_no_harm_is_answered(reader, settings, statement):
    answer = reader.ask(statement)
    assert answer.rows.num_rows
    shown = str(answer.rows.to_pylist())
    assert not [place for place in places(settings) if place in shown]


def test_the_plan_of_a_query_does_not_tell_where_the_lake_is(tmp_path):
    deep = tmp_path / ("long" * 30) / "lake"
    made = load_settings(ROOT / "config.ini").with_root(deep)
    Lake(made).land(encode(sale()), 0)
    with Reader(Catalogue(made.lake.root), made.explorer, ["bronze.sales"]) as reader:
        for form in ("ANALYZE", "(ANALYZE, FORMAT json)", "(ANALYZE, FORMAT yaml)"):
            plan = reader.ask(f"EXPLAIN {form} FROM bronze.sales").rows["explain_value"][0].as_py()
            flat = re.sub(r"\s*│\s*│\s*", "", plan.replace("\n", ""))
            assert "…/bronze/sales" in flat.replace("\\/", "/")
            assert "longlong" not in plan


def test_all_of_them_through_the_program(settings):
    """One process is asked them all: none ends it, prints a traceback, or tells a secret."""
    lines = [s for s in REJECTED if s.strip() and s.isprintable() and len(s) < 4_000]
    done = subprocess.run(
        [sys.executable, str(ROOT / "query_utils.py"), "--root", settings.lake.root],
        input="\n".join([*lines, "SELECT 1 + 1 AS two", "q"]), cwd=ROOT, check=False,
        env={**os.environ, "CANARY": SECRET}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout.split()[-1]) == (0, "2")
    assert len(done.stdout) < 200
    assert "Traceback" not in done.stderr
    assert done.stderr.count("fix: ") == len(lines)
    assert SECRET not in done.stderr
    assert not STOLEN.exists()


def test_functions_that_a_new_duckdb_brings_are_seen():
    """All that do more than compute from what they are given are closed, or are these."""
    harmless = {
        "current_date", "current_database", "current_schema",
        "current_schemas", "error", "gen_random_uuid", "get_current_time",
        "get_current_timestamp", "in_search_path", "now", "random", "today",
        "transaction_timestamp", "uuid", "uuidv4", "uuidv7",
    }  # fmt: skip
    found = duckdb.sql(
        "SELECT DISTINCT lower(function_name) FROM duckdb_functions() "
        "WHERE function_type = 'scalar' AND coalesce(stability, '') <> 'CONSISTENT'"
    ).fetchall()
    loose = {name for (name,) in found if not CLOSED_FUNCTIONS.fullmatch(name)}
    assert loose == harmless
    tables = duckdb.sql(
        "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'table'"
    ).fetchall()
    assert {name for (name,) in tables} >= TABLE_FUNCTIONS


ENDLESS = [
    "SELECT count(*) FROM range(10000000) a, range(1000000) b WHERE a.range + b.range = 7",
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t",
    "SELECT count(*) FROM range(1000000000000)",
    "FROM range(100000000000)",
    "FROM repeat_row(1, num_rows = 1000000000000)",
]


@pytest.mark.parametrize("statement", ENDLESS)
def test_what_never_ends_is_ended(settings, statement):
    quick = settings.explorer.model_copy(update={"timeout": timedelta(milliseconds=300)})
    with (
        Reader(Catalogue(settings.lake.root), quick, []) as reader,
        pytest.raises(QueryTimedOut) as caught,
    ):
        reader.ask(statement, 10)
    assert caught.value.exit_code == Exit.TIMEOUT


BOMBS = [
    "SELECT len(repeat('x', 3000000000))",
    "SELECT list_sum(range(3000000000))",
    "SELECT len(range(1000000000000))",
    "SELECT format('{:>2000000000}', 1)",
    "SELECT list(range) FROM range(10000000000)",
    "SELECT string_agg(repeat('x', 1000000), '') FROM range(100000)",
    "SELECT repeat('x', 4000000) FROM range(2000)",
]


@pytest.mark.parametrize("statement", BOMBS)
def test_what_would_fill_the_memory_is_refused_it(settings, tmp_path, statement):
    words = ["explore", "--root", settings.lake.root, "--sql", statement]
    limits = {"LAKEHOUSE_EXPLORER_MEMORY_LIMIT": "100 MB", "LAKEHOUSE_EXPLORER_TIMEOUT": "5 s"}
    with (tmp_path / "said").open("w+") as said:
        running = subprocess.Popen(
            [sys.executable, "-m", "lakehouse", *words],
            cwd=ROOT, env={**os.environ, **limits}, stdout=said, stderr=said,
        )  # fmt: skip
        _, status, used = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read()
    assert running.returncode in {Exit.FAULT, Exit.TIMEOUT}, text
    assert text.startswith("SQL: ")
    assert "fix: " in text
    assert "Traceback" not in text
    assert used.ru_maxrss * 1024 < 1.6e9
