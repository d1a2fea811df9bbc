-- What the flow activity.postgres makes of the tables that are missing; whoever may not let it make
-- tables runs this first. tests/unit/test_activity_sinks.py keeps it what the flow does.

CREATE TABLE IF NOT EXISTS "page_view_counts" (
    "window_start" timestamp with time zone NOT NULL,
    "window_end" timestamp with time zone,
    "page_url" text NOT NULL,
    "window_date" date,
    "views" bigint,
    "is_final" boolean,
    PRIMARY KEY ("window_start", "page_url")
) WITH (fillfactor = 70);

CREATE INDEX IF NOT EXISTS "page_view_counts_page_url_window_start" ON "page_view_counts" ("page_url", "window_start");

CREATE TABLE IF NOT EXISTS "active_users" (
    "window_start" timestamp with time zone NOT NULL,
    "window_end" timestamp with time zone,
    "window_date" date,
    "events" bigint,
    "is_final" boolean,
    "users" bigint,
    "exact_users" bigint,
    PRIMARY KEY ("window_start")
) WITH (fillfactor = 70);

CREATE TABLE IF NOT EXISTS "user_sessions" (
    "user_id" text NOT NULL,
    "session_start" timestamp with time zone NOT NULL,
    "session_end" timestamp with time zone,
    "duration_seconds" numeric(18,3),
    "pages" bigint,
    "clicks" bigint,
    "ended" text,
    "is_final" boolean,
    "session_date" date,
    PRIMARY KEY ("user_id", "session_start")
) WITH (fillfactor = 70);

CREATE INDEX IF NOT EXISTS "user_sessions_session_start" ON "user_sessions" ("session_start");

CREATE INDEX IF NOT EXISTS "user_sessions_ended" ON "user_sessions" ("ended");

CREATE TABLE IF NOT EXISTS lakehouse_sink (
    table_name text PRIMARY KEY,
    sink text NOT NULL,
    bronze_id text NOT NULL,
    bronze_version bigint NOT NULL,
    silver_id text NOT NULL,
    silver_version bigint NOT NULL,
    silver_time bigint,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ahead_version bigint,
    ahead_time bigint
);

CREATE TABLE IF NOT EXISTS lakehouse_sink_ahead (
    table_name text NOT NULL,
    bronze_version bigint NOT NULL,
    key text[] NOT NULL
);
